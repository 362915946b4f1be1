"""The shard's front with doors of paper: which requests reach the directory, and how often."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.node.shard_world import CLIENT, KINDS, key, settings
from tiercluster.cluster.wire import (
    CLIENT_ID_BYTES,
    Counter,
    DeletePrefix,
    Fields,
    Get,
    Incr,
    Kind,
    Mode,
    Peek,
    Pong,
    Propose,
    Refusal,
    Reply,
    Request,
    Status,
    Store,
)
from tiercluster.node import errands
from tiercluster.node.front import Front
from tiercluster.node.messages import ColdCommand, ShardReport, UseMap, Withhold
from tiercluster.node.writelog import Answered, WriteLog
from tiercluster.tiermap import MapState, Member, TierMap

TOKEN = "boot"
ALONE = TierMap("c", 1, 1, (Member("n1", "a:1", incarnation=f"{TOKEN}#1"),))
WITH_N2 = replace(
    ALONE, version=2, ring_version=2, members=(*ALONE.members, Member("n2", "a:2", incarnation="x"))
)


class FrontWorld:
    """n1 with a lease from n2 for as long as `granted` was called not long ago."""

    def __init__(self, tier_map: TierMap = WITH_N2, on_quorum_loss: str = "fence") -> None:
        self.now = 100.0
        self.replies: dict[tuple[bytes, int], Reply] = {}
        config = replace(settings(), on_quorum_loss=on_quorum_loss, peers=(("n2", "b:2"),))
        self.front = Front(config, TOKEN, self, self.now)
        self.front.obey(Withhold(frozenset(), True), self.now, self.now)
        self.use(tier_map)
        self.granted()

    def use(self, tier_map: TierMap) -> None:
        self.map = tier_map
        self.front.obey(UseMap(MapState(tier_map)), self.now, self.now)

    def granted(self) -> None:
        self.front.tick(self.now)
        version, sent_ms = self.map.version, int(self.now * 1000)
        pong = Pong("n2", "x", sent_ms, version, "", True)
        self.front.peer_reply("n2", Reply(Kind.PEER_PING, 0, version, 0, Status.OK, pong), self.now)

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        self.front.tick(self.now)

    # --- doors ----------------------------------------------------------------------------------

    def reply(self, identity: bytes, reply: Reply) -> bool:
        self.replies[identity, reply.rid] = reply
        return True

    def send_peer(self, node: str, kind: Kind, rid: int, version: int, fields: Fields,
                  body: bytes) -> bool:  # fmt: skip
        return True

    def link_peers(self, tier_map: TierMap) -> None:
        pass

    def tell_cold(self, command: ColdCommand) -> bool:
        return True

    def tell_control(self, report: ShardReport) -> None:
        pass

    # --- requests -------------------------------------------------------------------------------

    def ask(self, rid: int, fields: Fields, body: bytes = b"", *, client: bytes = CLIENT,
            retry: bool = False, version: int | None = None, deadline: float = 200.0,
            connection: bytes = b"new") -> Reply:  # fmt: skip
        kind, version = (
            KINDS[type(fields).__name__],
            self.map.version if version is None else version,
        )
        request = Request(kind, rid, version, int(deadline * 1000), client, retry, fields, body)
        self.front.request(connection, request, self.now)
        return self.replies[connection, rid]

    def value(self, name: str) -> bytes:
        return self.ask(1000, Get((key(name),), False), client=b"reader--").body


def store(value: bytes) -> Store:
    return Store(int(Mode.SET), (key("k"),), (len(value),), b"\0", (None,), ())


def test_a_copy_that_arrives_after_its_retry_was_refused_is_not_applied() -> None:
    """The first copy hangs in a connection that the client has given up. Its retry comes by a new
    one while the node has no lease and is refused, so the client stores under a new id and is told
    so; somebody else stores a newer value. Then the old connection's packets arrive."""
    world = FrontWorld()
    world.pass_by(1.0)  # no lease
    refused = world.ask(7, store(b"1"), b"1", retry=True)
    assert refused.status is Status.RETRY
    world.granted()
    assert world.ask(8, store(b"1"), b"1").status is Status.OK
    assert world.ask(1, store(b"2"), b"2", client=b"another-").status is Status.OK
    late = world.ask(7, store(b"1"), b"1", connection=b"old")
    assert late.status is Status.RETRY
    assert world.value("k") == b"2"


def test_a_retry_that_arrives_after_the_first_copy_was_refused_is_not_applied() -> None:
    """The refusal is slow on its way, so the client asks again under the same id. Then the refusal
    arrives, and the client counts under a new id: the retry must not have counted, too."""
    world = FrontWorld()
    counting = Incr(key("k"), 1, 1, None)
    world.pass_by(1.0)  # no lease
    assert world.ask(7, counting).status is Status.RETRY
    world.granted()
    assert world.ask(7, counting, retry=True).status is Status.RETRY
    counted = world.ask(8, counting)
    assert isinstance(counted.fields, Counter)
    assert counted.fields.value == 1


def test_an_answer_to_a_ping_that_was_never_sent_gives_no_lease_without_an_end() -> None:
    world = FrontWorld()
    pong = Pong("n2", "x", int(world.now * 1000) + 3_600_000, 2, "", True)
    world.front.peer_reply("n2", Reply(Kind.PEER_PING, 0, 2, 0, Status.OK, pong), world.now)
    assert world.ask(7, store(b"1"), b"1").status is Status.OK
    world.pass_by(1.0)
    assert world.ask(8, store(b"1"), b"1").status is Status.RETRY


def test_a_node_stopped_in_the_middle_of_a_turn_is_not_alone_when_it_goes_on() -> None:
    """The signal comes between the start of a turn and its requests: the first of those after it
    must not be answered with what this node had, for the others may have voted it out."""
    world = FrontWorld(on_quorum_loss="serve")
    assert world.ask(1, store(b"1"), b"1").status is Status.OK
    world.front.turn(world.now, world.now)
    world.now += 5.0
    assert world.ask(2, Get((key("k"),), False)).status is Status.RETRY
    for _ in range(20):
        world.pass_by(0.1)
    assert world.ask(3, Get((key("k"),), False)).status is Status.OK


def test_a_request_that_was_refused_once_may_still_come_again_under_another_id() -> None:
    world = FrontWorld()
    world.pass_by(1.0)
    assert world.ask(7, store(b"1"), b"1").status is Status.RETRY
    world.granted()
    assert world.ask(8, store(b"1"), b"1").status is Status.OK
    assert world.ask(8, store(b"1"), b"1", retry=True).status is Status.OK
    assert len(CLIENT) == CLIENT_ID_BYTES


@pytest.mark.parametrize("has_lease", [True, False])
def test_of_a_write_that_may_be_forgotten_no_retry_is_told_that_it_was_refused(
    has_lease: bool,
) -> None:
    """It was counted and its answer was lost. Told that it was refused, the client would count once
    more, under a new id."""
    world = FrontWorld()
    world.front._data._writes = WriteLog(limit=1)
    counting = Incr(key("k"), 1, 1, None)
    assert world.ask(7, counting).status is Status.OK
    assert world.ask(1, store(b"2"), b"2", client=b"another-").status is Status.OK
    if not has_lease:
        world.pass_by(1.0)
    for _ in range(2):
        assert world.ask(7, counting, retry=True).status is Status.UNKNOWN_OUTCOME


def test_a_clear_by_an_old_map_learns_of_the_members_that_came_since() -> None:
    """Who clears asks every member of the map it knows. Refused, it learns of the others."""
    world = FrontWorld()
    fields = DeletePrefix(b"", 0)
    assert world.ask(1, fields, version=1).status is Status.STALE_MAP
    assert world.ask(2, fields, version=2).status is Status.OK


def test_admin_requests_that_were_lost_on_the_way_leave_room_for_others() -> None:
    """The control worker's inbox was full, so that no answer will come."""
    world = FrontWorld()
    request = Request(Kind.PROPOSE, 0, 2, 0, CLIENT, False, Propose(b"x"))
    for rid in range(1, errands.MOST + 2):
        world.front.request(b"new", request._replace(rid=rid), world.now)
    assert [r.status for r in world.replies.values()] == [Status.SHED]
    world.pass_by(errands.LONGEST_S)
    world.replies.clear()
    world.front.request(b"new", request, world.now)
    assert not world.replies


def test_that_this_process_refused_a_write_is_no_answer_to_who_asks_on_for_it() -> None:
    """Another process may have applied it; if nobody told of that, it is applied here."""
    world = FrontWorld()
    world.pass_by(1.0)  # no lease
    assert world.ask(7, store(b"1"), b"1", retry=True).status is Status.RETRY
    world.granted()
    again = Request(Kind.STORE, 8, world.map.version, 200_000, CLIENT, False, store(b"1"), b"1")
    world.front.request(b"new", again._replace(prior=7), world.now)
    assert world.replies[b"new", 8].status is Status.OK
    assert world.value("k") == b"1"


def test_that_the_keys_had_moved_is_said_once() -> None:
    """A clear that was answered so asks the same node on, for the keys that it has now."""
    world = FrontWorld()
    world.front._data._writes.begin(CLIENT, 7, 200.0, world.now)
    world.front._data._writes.finish(CLIENT, 7, Answered(Status.MOVED, Refusal("moved"), b""))
    clear = DeletePrefix(b"", 0)
    again = Request(Kind.DELETE_PREFIX, 8, world.map.version, 200_000, CLIENT, False, clear, b"")
    world.front.request(b"new", again._replace(prior=7), world.now)
    assert world.replies[b"new", 8].status is Status.OK


def test_in_a_minority_a_peer_is_not_told_what_it_has_no_copy_of() -> None:
    """It would take its copies for stale; a client is answered."""
    n3 = Member("n3", "a:3", incarnation="y")
    three = replace(WITH_N2, version=3, ring_version=3, members=(*WITH_N2.members, n3), replicas=2)
    world = FrontWorld(three, "serve")
    for node in ("n2", "n3"):
        world.front._ownership.confirm(node, {"n2": "x", "n3": "y"}[node], 3, world.now)
    for _ in range(12):
        world.pass_by(0.1)
    assert world.front._streams.is_let_go
    mine = next(k for k in map(key, map(str, range(99))) if world.front._streams.owns([k]))
    peek = Peek((mine,))
    assert world.ask(1, peek, client=bytes(CLIENT_ID_BYTES)).status is Status.RETRY
    assert world.ask(2, peek).status is Status.OK
