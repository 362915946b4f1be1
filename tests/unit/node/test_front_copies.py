"""The front where others keep copies: which answers wait, and what a retry is told elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.node.shard_world import CLIENT, KINDS, key, settings
from tests.unit.node.test_front import FrontWorld
from tiercluster.cluster.holders import holders
from tiercluster.cluster.ring import ring_of, slot_of
from tiercluster.cluster.wire import (
    VERSION,
    Confirmed,
    Counter,
    Delete,
    DeletePrefix,
    Fields,
    Get,
    Incr,
    Kind,
    Mode,
    OpKind,
    Peek,
    Pong,
    Replicate,
    Reply,
    Request,
    Status,
    Store,
    Stored,
)
from tiercluster.node.front import Front
from tiercluster.node.keeping import NEW_S
from tiercluster.node.messages import (
    ColdCommand,
    ColdDone,
    ColdPut,
    ShardReport,
    ShardTurn,
    Withhold,
)
from tiercluster.node.stream import COUNTED, MAX_BYTES, NO_CURSOR
from tiercluster.tiermap import Health, Member, NodeState, Tier, TierMap

N1 = Member("n1", "a:1", incarnation="boot#1", since_version=1, level=2)
N2, N3 = (Member(f"n{i}", "a:1", incarnation=f"i{i}", since_version=1, level=2) for i in (2, 3))


def map_of(version: int, *members: Member) -> TierMap:
    return TierMap("c", version, version, members, replicas=2)


ALL = map_of(1, N1, N2, N3)
TABLE = holders(ring_of(ALL), ALL)


def key_of(owner: str, copy: str, number: int = 0) -> bytes:
    names = (key(f"k{i}") for i in range(1000))
    return [k for k in names if TABLE[slot_of(k)] == (owner, copy)][number]


def down(who: Member, version: int) -> Member:
    return replace(who, state=NodeState.DOWN, since_version=version)


def put(name: bytes, value: bytes = b"v", mode: Mode = Mode.SET) -> Store:
    return Store(int(mode), (name,), (len(value),), b"\0", (None,), ())


class World(FrontWorld):
    """n1 of three. What it sends its peers is in ``sent``."""

    def __init__(self, tier_map: TierMap = ALL, on_quorum_loss: str = "fence") -> None:
        self.now = 100.0
        self.replies = {}
        self.sent: list[tuple[str, Fields]] = []
        self.turns: list[ShardTurn] = []
        self.cold: list[ColdCommand] = []
        peers = (("n2", "b:2"), ("n3", "b:3"))
        config = replace(settings(), on_quorum_loss=on_quorum_loss, peers=peers)
        self.front = Front(config, "boot", self, self.now)
        self.front.obey(Withhold(frozenset(), True), self.now, self.now)
        self.use(tier_map)
        self.granted()
        if any(m.state is not NodeState.UP for m in tier_map.members):
            self.now += 0.6  # a newcomer waits for the lease of who is gone
            self.granted()
            self.granted()

    def granted(self) -> None:
        version, sent_ms = self.map.version, int(self.now * 1000)
        for member in self.map.members:
            if member.id != "n1" and member.state is NodeState.UP:
                pong = Pong(member.id, member.incarnation, sent_ms, version, "", True)
                reply = Reply(Kind.PEER_PING, 0, version, 0, Status.OK, pong)
                self.front.peer_reply(member.id, reply, self.now)
        self.front.tick(self.now)

    def send_peer(self, node: str, kind: Kind, rid: int, version: int, fields: Fields,
                  body: bytes) -> bool:  # fmt: skip
        self.sent.append((node, fields))
        return True

    def tell_control(self, report: ShardReport) -> None:
        if isinstance(report, ShardTurn):
            self.turns.append(report)

    def tell_cold(self, command: ColdCommand) -> bool:
        self.cold.append(command)
        return True

    def puts(self) -> list[ColdPut]:
        return [command for command in self.cold if isinstance(command, ColdPut)]

    def confirm(self) -> None:
        """Whoever was sent a message confirms it, until there are no more."""
        self.front.flush(self.now)
        while any(isinstance(asked, Replicate) for _, asked in self.sent):
            sent, self.sent = self.sent, []
            for node, asked in sent:
                if isinstance(asked, Replicate):
                    confirmed = Confirmed(asked.to, asked.epoch, asked.seq, "")
                    reply = Reply(Kind.REPLICATE, 0, self.map.version, 0, Status.OK, confirmed)
                    self.front.peer_reply(node, reply, self.now)
            self.front.flush(self.now)

    def begin(self, rid: int, fields: Fields, body: bytes = b"", *, prior: int = 0,
              retry: bool = False) -> Callable[[], Reply | None]:  # fmt: skip
        """The answer, when there is one."""
        request = Request(KINDS[type(fields).__name__], rid, self.map.version,
                          int((self.now + 5.0) * 1000), CLIENT, retry or bool(prior), fields, body,
                          VERSION, prior)  # fmt: skip
        self.front.request(b"me", request, self.now)
        return lambda: self.replies.get((b"me", rid))

    def get(self, rid: int, name: bytes) -> Callable[[], Reply | None]:
        return self.begin(rid, Get((name,), False))


def status(answer: Callable[[], Reply | None]) -> Status | None:
    reply = answer()
    return None if reply is None else reply.status


# --- which answers wait ---------------------------------------------------------------------------


def test_a_write_and_a_read_of_it_are_answered_when_the_copy_is_there() -> None:
    world = World()
    name = key_of("n1", "n2")
    written, read = world.begin(1, put(name), b"v"), world.get(2, name)
    other = world.get(3, key_of("n1", "n2", 1))
    assert (written(), read(), status(other)) == (None, None, Status.OK)
    world.confirm()
    answers = written(), read()
    assert answers[0] is not None
    assert isinstance(answers[0].fields, Stored)
    assert answers[1] is not None
    assert answers[1].body == b"v"


def test_a_write_that_a_later_one_overtakes_is_answered_when_no_older_copy_is_left() -> None:
    """The later one is not stored yet, and may never be: should n1 die now, n2 must not have what
    was before both."""
    world = World()
    name = key_of("n1", "n2")
    world.begin(1, put(name), b"0")
    world.confirm()
    no_memory = tuple(
        t if t.tier is Tier.COLD else replace(t, health=Health.DOWN, since_version=2)
        for t in N1.tiers
    )
    world.use(map_of(2, replace(N1, tiers=no_memory), N2, N3))
    first, later = world.begin(2, put(name), b"1"), world.begin(3, put(name), b"2")
    earlier_put, later_put = world.puts()
    world.front.cold_answered(ColdDone(earlier_put.token, 0.001), world.now, world.now)
    world.front.flush(world.now)
    assert first() is None
    told = [op for _, f in world.sent if isinstance(f, Replicate) for op in f.kinds]
    assert told == [OpKind.DROP]
    world.confirm()
    assert (status(first), later()) == (Status.OK, None)
    world.front.cold_answered(ColdDone(later_put.token, 0.001), world.now, world.now)
    world.confirm()
    assert status(later) is Status.OK


def test_a_retry_of_what_waits_waits_and_then_both_are_told_the_same() -> None:
    world = World()
    written = world.begin(1, put(key_of("n1", "n2")), b"v")
    world.begin(1, put(key_of("n1", "n2")), b"v", retry=True)
    assert written() is None
    world.confirm()
    first = written()
    world.replies.clear()
    again = world.begin(1, put(key_of("n1", "n2")), b"v", retry=True)()
    assert first is not None
    assert again is not None
    assert again.fields == first.fields


def test_what_waits_is_answered_where_it_was_asked_last_too() -> None:
    """The connection by which it came first may be gone: the retry must not wait for another."""
    world = World()
    fields = put(key_of("n1", "n2"))
    world.begin(1, fields, b"v")
    retry = Request(Kind.STORE, 1, 1, int((world.now + 5.0) * 1000), CLIENT, True, fields, b"v")
    world.front.request(b"by another", retry, world.now)
    assert (b"by another", 1) not in world.replies
    world.confirm()
    assert world.replies[b"by another", 1].fields == world.replies[b"me", 1].fields
    assert not world.front._data._again


def test_when_the_copy_goes_down_the_answer_goes_out() -> None:
    world = World()
    written = world.begin(1, put(key_of("n1", "n2")), b"v")
    world.use(map_of(2, N1, down(N2, 2), N3))
    assert status(written) is Status.OK


def test_a_write_that_nobody_else_is_known_to_have_when_its_key_goes_has_moved() -> None:
    two = map_of(2, N1, N2, down(N3, 1))
    world = World(two)
    name = key_of("n3", "n1")
    written, read = world.begin(1, put(name), b"v"), world.get(2, name)
    world.use(map_of(3, N1, N2, replace(N3, incarnation="i3b", since_version=3)))
    assert status(written) is Status.MOVED
    assert status(read) is Status.RETRY


def test_a_whole_clear_that_has_moved_is_done_when_it_is_asked_again() -> None:
    """Its retry names the first request, and goes to the same node."""
    two = map_of(2, N1, N2, down(N3, 1))
    world = World(two)
    world.begin(9, put(key_of("n1", "n2")), b"v")
    world.confirm()
    cleared = world.begin(1, DeletePrefix(b"\0k", 0))
    assert cleared() is None
    world.use(map_of(3, N1, N2, replace(N3, incarnation="i3b", since_version=3)))
    assert status(cleared) is Status.MOVED
    world.granted()
    again = world.begin(2, DeletePrefix(b"\0k", 0), prior=1)
    world.confirm()
    assert status(again) is Status.OK


def test_what_may_be_done_twice_is_done_where_the_key_went_away_and_came_back() -> None:
    """n1's own memory of the write says only that it had moved."""
    two = map_of(2, N1, N2, down(N3, 1))
    world = World(two)
    name = key_of("n3", "n1")
    written = world.begin(1, put(name), b"v")
    counted = world.begin(2, Incr(key_of("n3", "n1", 1), 1, 1, None))
    world.use(map_of(3, N1, N2, replace(N3, incarnation="i3b", since_version=3)))
    assert (status(written), status(counted)) == (Status.MOVED, Status.MOVED)
    back = replace(N3, incarnation="i3b", since_version=4, state=NodeState.DOWN)
    world.use(map_of(4, N1, N2, back))
    for _ in range(3):
        world.now += 0.6
        world.granted()
    again = world.begin(3, put(name), b"v", prior=1)
    world.confirm()
    assert status(again) is Status.OK
    once = world.begin(4, Incr(key_of("n3", "n1", 1), 1, 1, None), prior=2)
    world.confirm()
    assert status(once) is Status.UNKNOWN_OUTCOME


def test_a_version_that_the_owner_has_evicted_is_deleted_where_it_is_kept() -> None:
    world = World()
    name = key_of("n1", "n2")
    stored = world.begin(1, put(name), b"v")
    world.confirm()
    reply = stored()
    assert reply is not None
    assert isinstance(reply.fields, Stored)
    entry = world.front._shard._holdings.directory.get(name)
    assert entry is not None
    world.front._shard._holdings.forget(entry)  # what eviction does
    world.sent.clear()
    deleted = world.begin(2, Delete((name,), reply.fields.versions[0]))
    world.front.flush(world.now)
    told = [kind for _, f in world.sent if isinstance(f, Replicate) for kind in f.kinds]
    assert (told, deleted()) == ([OpKind.DROP], None)


# --- what a node was told, and has dropped since --------------------------------------------------


def told_by(world: World, node: str, seq: int, name: bytes, value: bytes,
            names: bytes = b"", version: int = 5) -> None:  # fmt: skip
    """An owner says that this is all of its slot."""
    message = Replicate(
        node, "i" + node[1:], "boot#1", 1, seq, False, b"\0", (name,), (version,), (len(value),),
        b"\0", (None,), names, b"", NO_CURSOR, (slot_of(name),),
    )  # fmt: skip
    asked = Request(Kind.REPLICATE, seq, world.map.version, 0, b"peer-xx-", False, message, value)
    world.front.request(node.encode(), asked, world.now)
    fields = world.replies[node.encode(), seq].fields
    assert isinstance(fields, Confirmed)
    assert (fields.applied, fields.why) == (seq, "")


@pytest.mark.parametrize("counts", [False, True])
def test_a_write_that_this_node_was_told_of_and_has_dropped_since_is_not_said_to_be_done(
    counts: bool,
) -> None:
    """n1 fills. n3 tells it of a write that n2 misses, and dies; n2 owns the key, without it, and
    fills n1 with what was before. n1 owns the key at last, and is asked about the write."""
    fills = replace(N1, filling=True)
    first = map_of(1, fills, N2, N3)
    table = holders(ring_of(first), first)
    names = (key(f"k{i}") for i in range(2000))
    name = next(k for k in names if table[slot_of(k)] == ("n3", "n2", "n1"))
    world = World(first)
    told_by(world, "n3", 1, name, b"5")
    told_by(world, "n3", 2, name, b"6", named(70, counts=counts), 7)
    world.use(map_of(2, fills, N2, down(N3, 2)))
    told_by(world, "n2", 1, name, b"5")
    world.use(map_of(3, N1, N2, down(N3, 2)))
    for _ in range(3):
        world.now += 0.6
        world.granted()
    asked: Fields = Incr(name, 1, 1, None) if counts else put(name, b"6")
    answer = world.begin(1, asked, b"" if counts else b"6", prior=70)
    world.confirm()
    read = world.get(2, name)
    world.confirm()
    found = read()
    assert found is not None
    if counts:
        assert (status(answer), found.body) == (Status.UNKNOWN_OUTCOME, b"5")
    else:
        assert (status(answer), found.body) == (Status.OK, b"6")


def test_writes_are_shed_while_a_copy_lags_too_far_behind_and_refused_for_good() -> None:
    world = World()
    name = key_of("n1", "n2")
    value = bytes(64 * 2**10)
    for rid in range(1, MAX_BYTES // len(value) + 2):
        world.begin(rid, put(name, value), value)
    shed = world.begin(1000, put(name), b"v")
    assert status(shed) is Status.SHED
    assert status(world.get(1001, key_of("n1", "n2", 1))) is Status.OK
    world.confirm()
    assert status(world.begin(1000, put(name), b"v", retry=True)) is Status.RETRY
    second = world.begin(1002, put(name), b"v")
    world.confirm()
    assert status(second) is Status.OK


# --- in a minority --------------------------------------------------------------------------------


def test_in_a_minority_answers_wait_for_nobody_and_afterwards_the_peers_forget() -> None:
    world = World(on_quorum_loss="serve")
    name = key_of("n1", "n2")
    world.pass_by(0.1)
    written = world.begin(1, put(name), b"v")
    for _ in range(20):
        world.front.turn(world.now, world.now)
        world.pass_by(0.1)
    assert status(written) is Status.OK
    assert status(world.begin(2, put(name), b"w")) is Status.OK
    world.sent.clear()
    world.granted()
    world.pass_by(0.1)
    told = [f for _, f in world.sent if isinstance(f, Replicate)]
    assert {f.to for f in told} == {"i2", "i3"}
    assert all(f.anew for f in told)
    read = world.get(3, name)
    assert read() is None
    world.confirm()
    assert status(read) is Status.OK


def test_an_audit_that_waits_for_a_copy_is_not_answered_when_the_copies_are_let_go() -> None:
    """The peer would compare what it has with what it was never sent."""
    world = World(on_quorum_loss="serve")
    name = key_of("n1", "n2")
    world.pass_by(0.1)
    written, audit = world.begin(1, put(name), b"v"), world.begin(2, Peek((name,)))
    for _ in range(20):
        world.front.turn(world.now, world.now)
        world.pass_by(0.1)
    assert (status(written), status(audit)) == (Status.OK, Status.RETRY)


@pytest.mark.parametrize("mode", ["fence", "read_only"])
def test_where_a_minority_does_not_write_the_copies_are_not_let_go(mode: str) -> None:
    world = World(on_quorum_loss=mode)
    written = world.begin(1, put(key_of("n1", "n2")), b"v")
    for _ in range(20):
        world.front.turn(world.now, world.now)
        world.pass_by(0.1)
    assert written() is None


def test_the_control_worker_hears_who_confirms_nothing() -> None:
    world = World()
    world.begin(1, put(key_of("n1", "n2")), b"v")
    for _ in range(7):
        world.now += 0.1
        world.front.turn(world.now, world.now)
        world.granted()
    assert world.turns[-1].unreachable == {"n2"}
    assert not world.turns[-1].whole


# --- retries of what another node was asked -------------------------------------------------------


def replicated(world: World, name: bytes, value: bytes, names: bytes, seq: int = 1) -> None:
    message = Replicate(
        "n3", "i3", "boot#1", 1, seq, False, b"\0", (name,), (7,), (len(value),), b"\0", (None,),
        names, b"", NO_CURSOR, (),
    )  # fmt: skip
    request = Request(Kind.REPLICATE, seq, world.map.version, 0, b"peer-n3-", False, message, value)
    world.front.request(b"n3", request, world.now)
    reply = world.replies[b"n3", seq]
    assert isinstance(reply.fields, Confirmed)
    assert reply.fields.applied == seq


def named(rid: int, counts: bool = False) -> bytes:
    number = rid | (COUNTED << 56 if counts else 0)
    return CLIENT + number.to_bytes(8, "big") + (5000).to_bytes(4, "big")


def taken_over(world: World) -> None:
    world.use(map_of(2, N1, N2, down(N3, 2)))
    world.now += 0.1
    world.granted()


def test_the_next_owner_answers_the_retry_of_what_it_has_a_copy_of() -> None:
    world = World()
    counter, name = key_of("n3", "n1"), key_of("n3", "n1", 1)
    replicated(world, counter, b"5", named(70, counts=True))
    replicated(world, name, b"v", named(71), 2)
    taken_over(world)
    counted = world.begin(1, Incr(counter, 1, 1, None), prior=70)()
    assert counted is not None
    assert counted.fields == Counter(True, True, 5, 7)
    added = world.begin(2, put(name, mode=Mode.ADD), b"v", prior=71)()
    assert added is not None
    assert added.fields == Stored((7,))
    again = world.begin(1, Incr(counter, 1, 1, None), prior=70, retry=True)()
    assert again is not None
    assert again.fields == counted.fields


def test_what_it_was_not_told_of_is_done_if_it_was_told_of_all() -> None:
    world = World()
    counter = key_of("n3", "n1")
    replicated(world, counter, b"5", b"")
    world.now += NEW_S
    taken_over(world)
    counted = world.begin(1, Incr(counter, 1, 1, None), prior=70)
    world.confirm()
    reply = counted()
    assert reply is not None
    assert isinstance(reply.fields, Counter)
    assert reply.fields.value == 6


def test_what_it_keeps_since_too_short_a_time_it_cannot_tell() -> None:
    world = World()
    counter, name = key_of("n3", "n1"), key_of("n3", "n1", 1)
    replicated(world, counter, b"5", b"")
    taken_over(world)
    assert status(world.begin(1, Incr(counter, 1, 1, None), prior=70)) is Status.UNKNOWN_OUTCOME
    assert status(world.begin(2, put(name, mode=Mode.ADD), b"v", prior=71)) is (
        Status.UNKNOWN_OUTCOME
    )
    plain = world.begin(3, put(name), b"v", prior=72)
    world.confirm()
    assert status(plain) is Status.OK
