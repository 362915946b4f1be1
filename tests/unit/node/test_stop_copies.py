"""A clean stop beside owners that go on: what the next process takes over from the store is not
older than what they have acknowledged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.unit.node.shard_world import FakeCold, key, settings
from tests.unit.node.test_front_copies import World, put
from tiercluster.cluster.holders import holders
from tiercluster.cluster.ring import ring_of, slot_of
from tiercluster.cluster.wire import (
    Confirmed,
    Kind,
    OpKind,
    Replicate,
    Request,
    Status,
    Values,
)
from tiercluster.node.front import Front
from tiercluster.node.messages import (
    ColdClose,
    ColdOpen,
    ColdOpened,
    ColdRow,
    StopServing,
    UseMap,
    Withhold,
)
from tiercluster.node.stream import NO_CURSOR
from tiercluster.tiermap import (
    Command,
    CopiesApart,
    MapState,
    NodeFilled,
    NodeJoined,
    NodeStopped,
    TierMap,
    apply,
)

STINTS = {"n1": "boot#1", "n2": "i2", "n3": "i3"}


class Committed:
    """The log of a cluster of three, all of whom are filled."""

    def __init__(self) -> None:
        self.state = MapState()
        self._count = 0
        for node, stint in STINTS.items():
            self.join(node, stint)
        for member in self.map.members:
            if member.filling:
                known = self.map.version
                self.commit(NodeFilled, node=member.id, incarnation=member.incarnation, known=known)

    @property
    def map(self) -> TierMap:
        return self.state.map

    def commit(self, kind: type[Command], by: str = "", **fields: Any) -> TierMap:
        self._count += 1
        before = self.map.version
        self.state = apply(self.state, kind(id=str(self._count), by=by, **fields))
        assert self.map.version == before + 1, self.state.outcomes[-1]
        return self.map

    def join(self, node: str, stint: str, expected: str = "", keep: bool = False) -> TierMap:
        return self.commit(NodeJoined, node, node=node, cluster="c", address="a:1",
                           incarnation=stint, expected=expected, keep_cold=keep,
                           level=2, replicas=2)  # fmt: skip

    def stop(self, *nodes: str) -> None:
        for node in nodes:
            self.commit(NodeStopped, node, node=node, incarnation=STINTS[node])


class Stopping(World):
    """n1 with a disk; ``holds_close``: the store takes long to close."""

    def __init__(self, committed: Committed, holds_close: bool = False) -> None:
        self.disk, self._holds_close = FakeCold(), holds_close
        self.held: list[ColdClose] = []
        super().__init__(committed.map)

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.now += 0.01
            self.front.turn(self.now, self.now)
            self.front.tick(self.now)
            while self.cold:
                self._do(self.cold.pop(0))

    def _do(self, command: Any) -> None:
        if isinstance(command, ColdClose) and self._holds_close:
            self.held.append(command)
        elif not isinstance(command, ColdOpen):
            self.answer(command)

    def answer(self, command: Any) -> None:
        answer = self.disk.do(command)
        if answer is not None:
            self.front.cold_answered(answer, self.now, self.now)

    def told(self, seq: int, name: bytes, version: int, value: bytes) -> Confirmed:
        """By n3, which owns the key."""
        message = Replicate(
            "n3", "i3", "boot#1", 1, seq, False, bytes((OpKind.PUT,)), (name,), (version,),
            (len(value),), b"\0", (None,), b"", b"", NO_CURSOR, (slot_of(name),),
        )  # fmt: skip
        asked = Request(Kind.REPLICATE, seq, self.map.version, 0, bytes(8), False, message, value)
        self.front.request(b"n3", asked, self.now)
        fields = self.replies[b"n3", seq].fields
        assert isinstance(fields, Confirmed)
        return fields


def a_key(tier_map: TierMap, *kept_by: str) -> bytes:
    table = holders(ring_of(tier_map), tier_map)
    names = (key(f"k{i}") for i in range(2000))
    return next(k for k in names if table[slot_of(k)] == kept_by)


def found_after_a_start(committed: Committed, disk: FakeCold, name: bytes) -> bytes | None:
    """All have left, n1 last, and it is the first to come back: what it has of the key."""
    before, me = committed.map, committed.map.member("n1")
    assert me is not None
    after = committed.join("n1", "again#1", me.incarnation, disk.marker is not None)
    world = World.__new__(World)
    world.now, world.replies, world.sent, world.turns, world.cold = 1000.0, {}, [], [], []
    config = replace(settings(), on_quorum_loss="fence", peers=())
    world.front = Front(config, "again", world, world.now)
    world.front.obey(Withhold(frozenset(), True), world.now, world.now)
    world.front.start()
    world.front.obey(UseMap(MapState(before)), world.now, world.now)
    world.use(after)
    disk.closed = False
    rows = tuple(ColdRow(k, v, f, e, len(b)) for k, (v, f, b, e) in disk.rows.items())
    world.front.cold_answered(ColdOpened(0, disk.marker, rows), world.now, world.now)
    for _ in range(20):
        world.now += 0.1
        world.front.turn(world.now, world.now)
        world.front.tick(world.now)
    read = world.get(1, name)
    for command in world.cold:
        answer = disk.do(command)
        if answer is not None:
            world.front.cold_answered(answer, world.now, world.now)
    reply = read()
    assert reply is not None
    assert reply.status is Status.OK
    assert isinstance(reply.fields, Values)
    return reply.body if reply.fields.sizes[0] >= 0 else None


def test_what_was_this_node_s_own_is_there_after_a_clean_stop_and_a_start() -> None:
    """Without which the others would prove nothing."""
    committed = Committed()
    world = Stopping(committed)
    name = a_key(committed.map, "n1", "n2")
    stored = world.begin(1, put(name, b"mine"), b"mine")
    world.confirm()
    assert stored() is not None
    world.front.obey(StopServing(5.0), world.now, world.now)
    world.run(200)
    assert world.front.is_stopped
    committed.stop("n3", "n2", "n1")
    assert found_after_a_start(committed, world.disk, name) == b"mine"


def test_while_the_store_is_closed_nothing_is_confirmed() -> None:
    committed = Committed()
    world = Stopping(committed, holds_close=True)
    name = a_key(committed.map, "n3", "n1")
    assert world.told(1, name, 5, b"old").why == ""
    world.front.obey(StopServing(5.0), world.now, world.now)
    world.run(200)
    (closing,) = world.held
    assert world.told(2, name, 6, b"new").applied == 1
    world.answer(closing)
    world.run(2)
    assert world.front.is_stopped
    committed.stop("n3", "n2", "n1")
    assert found_after_a_start(committed, world.disk, name) is None


def test_what_an_owner_changed_without_a_node_that_stops_is_not_taken_over() -> None:
    committed = Committed()
    world = Stopping(committed)
    name = a_key(committed.map, "n3", "n1")
    assert world.told(1, name, 5, b"old").why == ""
    world.front.obey(StopServing(5.0), world.now, world.now)
    world.run(9)  # what memory holds is on its way to the disk
    world.use(committed.commit(CopiesApart, "n3", node="n1", incarnation="boot#1",
                               by_incarnation="i3"))  # fmt: skip
    world.run(200)
    assert world.front.is_stopped
    committed.stop("n3", "n2", "n1")
    assert found_after_a_start(committed, world.disk, name) is None


def test_the_store_of_a_node_that_was_called_apart_is_not_kept() -> None:
    """An owner may have called it apart after its store was closed."""
    committed = Committed()
    committed.commit(CopiesApart, "n3", node="n1", incarnation="boot#1", by_incarnation="i3")
    committed.stop("n3", "n2", "n1")
    before = committed.map.member("n1")
    committed.join("n1", "again#1", "boot#1", keep=True)
    after = committed.map.member("n1")
    assert before is not None
    assert after is not None
    assert after.tiers[2].generation == before.tiers[2].generation + 1
    assert after.apart_version == 0
