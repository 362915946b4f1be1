"""The front and near copies: what it tells whom, before what, and how long it lets them live."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.node.shard_world import CLIENT, key
from tests.unit.node.test_front import WITH_N2, FrontWorld
from tiercluster.cluster.wire import (
    MISS,
    Delete,
    DeletePrefix,
    Fields,
    Incr,
    Invalidated,
    Kind,
    Mode,
    NearGrant,
    NearLease,
    Reply,
    Request,
    Status,
    Store,
    Touch,
    Watched,
    WatchGet,
)
from tiercluster.node.announcer import NEAR_LEASE_S, Announcer, first_stint
from tiercluster.node.gate import Gate
from tiercluster.node.lease import Lease
from tiercluster.node.ownership import Ownership
from tiercluster.node.settings import DetectorSettings
from tiercluster.node.watches import Watches
from tiercluster.tiermap import Member, TierMap

NEAR = b"nearfeed"
FEED = b"feed"  # the connection that hears


class NearWorld(FrontWorld):
    def __init__(self, tier_map: TierMap = WITH_N2) -> None:
        self.sent: list[tuple[bytes, Reply]] = []
        super().__init__(tier_map)
        self.stint = self.lease().stint

    def reply(self, identity: bytes, reply: Reply) -> bool:
        self.sent.append((identity, reply))
        return super().reply(identity, reply)

    def lease(self, stint: int = 0) -> NearGrant:
        request = Request(Kind.NEAR_LEASE, 1, 0, 0, NEAR, False, NearLease(stint))
        self.front.request(FEED, request, self.now)
        grant = self.replies[FEED, 1].fields
        assert isinstance(grant, NearGrant)
        return grant

    def watch(self, *names: str, version: int | None = None) -> Reply:
        fields = WatchGet(tuple(map(key, names)), NEAR)
        version = self.map.version if version is None else version
        request = Request(Kind.WATCH_GET, 5, version, 0, CLIENT, False, fields)
        self.front.request(b"reader", request, self.now)
        return self.replies[b"reader", 5]

    def store(self, name: str, value: bytes, ttl: float | None = None) -> Reply:
        self.last_rid = getattr(self, "last_rid", 100) + 1
        fields = Store(int(Mode.SET), (key(name),), (len(value),), b"\0", (ttl,), ())
        return self.ask(self.last_rid, fields, value)

    def news(self) -> list[Invalidated]:
        return [r.fields for _, r in self.sent if isinstance(r.fields, Invalidated)]


def test_a_watched_read_says_what_a_copy_needs() -> None:
    world = NearWorld()
    world.store("k", b"12", ttl=30.0)
    reply = world.watch("k", "absent")
    watched = reply.fields
    assert isinstance(watched, Watched)
    assert (watched.sizes, reply.body) == ((2, MISS), b"12")
    assert watched.ttls == (30.0, None)
    assert watched.versions[0] > 0
    assert (watched.stint, watched.seq) == (world.stint, 0)


WRITES: list[tuple[Fields, bytes]] = [
    (Store(int(Mode.SET), (key("k"),), (1,), b"\0", (None,), ()), b"2"),
    (Store(int(Mode.REPLACE), (key("k"),), (1,), b"\0", (None,), ()), b"2"),
    (Delete((key("k"),)), b""),
    (Incr(key("k"), 1, None, None), b""),
    (Touch((key("k"),), 5.0), b""),
    (DeletePrefix(key("k"), 0), b""),
]


@pytest.mark.parametrize(("fields", "body"), WRITES, ids=lambda f: type(f).__name__)
def test_every_write_is_told_before_it_is_answered(fields: Fields, body: bytes) -> None:
    world = NearWorld()
    world.store("k", b"1")
    world.watch("k")
    world.sent.clear()
    assert world.ask(7, fields, body).status is Status.OK
    (first_to, told), (_, answer) = world.sent
    assert (first_to, told.rid, told.kind) == (FEED, 0, Kind.INVALIDATE)
    assert told.fields == Invalidated(world.stint, 1, (key("k"),), False)
    assert answer.rid == 7
    world.ask(8, fields, body)
    assert len(world.news()) == 1


@pytest.mark.parametrize(
    "fields",
    [Delete((key("k"),)), DeletePrefix(b"\0", 0),
     Store(int(Mode.ADD), (key("k"),), (1,), b"\0", (None,), ())],
    ids=lambda f: type(f).__name__,
)  # fmt: skip
def test_a_write_is_told_when_the_entry_was_evicted_since(fields: Fields) -> None:
    world = NearWorld()
    world.store("k", b"1")
    world.watch("k")
    holdings = world.front._shard._holdings
    entry = holdings.directory.get(key("k"))
    assert entry is not None
    holdings.forget(entry)
    assert world.news() == []  # the copy is the newest value still
    world.ask(7, fields, b"2" if isinstance(fields, Store) else b"")
    assert [told.keys for told in world.news()] == [(key("k"),)]


def test_a_write_that_changes_nothing_is_not_told() -> None:
    world = NearWorld()
    world.store("k", b"1")
    world.watch("k")
    cas = Store(int(Mode.CAS), (key("k"),), (1,), b"\0", (None,), (12345,))
    assert world.ask(7, cas, b"2").status is Status.OK
    assert world.news() == []


def test_what_was_not_found_is_not_told() -> None:
    world = NearWorld()
    world.watch("k")
    world.store("k", b"1")
    assert world.news() == []


def test_a_refused_read_is_not_watched() -> None:
    world = NearWorld()
    world.store("k", b"1")
    assert world.watch("k", version=99).status is Status.RETRY
    world.store("k", b"2")
    assert world.news() == []


def test_nobody_is_told_whose_lease_was_never_asked_for() -> None:
    world = NearWorld()
    world.store("k", b"1")
    fields = WatchGet((key("k"),), b"stranger")
    request = Request(Kind.WATCH_GET, 5, 2, 0, CLIENT, False, fields)
    world.front.request(b"reader", request, world.now)
    watched = world.replies[b"reader", 5].fields
    assert isinstance(watched, Watched)
    assert watched.stint == 0


def test_copies_live_no_longer_than_the_lease_of_the_node() -> None:
    world = NearWorld()
    assert world.lease(world.stint).valid_ms == int(NEAR_LEASE_S * 1000)
    world.pass_by(0.15)
    # The grant of n2 was of 0.15 s ago.
    assert 240 <= world.lease(world.stint).valid_ms <= 250
    world.pass_by(0.3)
    grant = world.lease(world.stint)
    assert (grant.stint, grant.valid_ms) == (world.stint, 0)
    world.granted()
    assert world.lease(world.stint).valid_ms == int(NEAR_LEASE_S * 1000)


def test_a_node_alone_grants_the_longest_lease_and_no_more() -> None:
    lease = Lease(DetectorSettings())
    lease.use_map(1, [], 0.0)
    announcer = Announcer(Watches(), Gate(Ownership("n1", "boot", 0.5), lease, "serve"), lease)
    asked = Request(Kind.NEAR_LEASE, 1, 0, 0, NEAR, False, NearLease(0))
    assert announcer.renew(asked, FEED, 0.0).valid_ms == 0
    announcer._gate.open = True
    assert announcer.renew(asked, FEED, 0.0).valid_ms == int(NEAR_LEASE_S * 1000)


def test_a_node_that_is_closed_lets_no_copy_live() -> None:
    world = NearWorld()
    world.front._gate.open = False
    assert world.lease(world.stint).valid_ms == 0


def test_another_ring_drops_everything() -> None:
    world = NearWorld()
    world.store("k", b"1")
    world.watch("k")
    world.use(replace(WITH_N2, version=3, digest="x"))
    assert world.news() == []
    joined = (*WITH_N2.members, Member("n3", "a:3", incarnation="y"))
    world.use(replace(WITH_N2, version=4, ring_version=4, members=joined))
    assert world.news() == [Invalidated(world.stint, 1, (), True)]
    assert world.lease(world.stint).seq == 1


def test_what_is_told_goes_out_before_the_lease_that_counts_it() -> None:
    world = NearWorld()
    world.store("k", b"1")
    world.watch("k")
    watches = world.front._shard._holdings.watches
    watches.drop_all()  # by another client that watches too much
    world.sent.clear()
    assert world.lease(world.stint).seq == 1
    assert [r.kind for _, r in world.sent] == [Kind.INVALIDATE, Kind.NEAR_LEASE]


def test_two_processes_number_their_stints_apart() -> None:
    assert first_stint("one") != first_stint("other")
    assert 0 <= first_stint("one") < 2**62
