"""What a node takes of the writes of owners, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.unit.node.shard_world import CLIENT, key, settings
from tiercluster.cluster.ring import slot_of
from tiercluster.cluster.wire import (
    NAME_BYTES,
    Ack,
    Confirmed,
    Counter,
    Fill,
    Flags,
    Kind,
    OpKind,
    Refusal,
    Replicate,
    Request,
    Stored,
)
from tiercluster.node.copies import ASK_AGAIN_S, ASK_SOON_S
from tiercluster.node.effects import Origin, ToPeer
from tiercluster.node.shard import Shard
from tiercluster.node.stream import COUNTED, NO_CURSOR
from tiercluster.tiermap import Health, MapState, Member, NodeState, Tier, TierMap

N1, N2, N4 = (Member(f"n{i}", "a:1", incarnation=f"i{i}", since_version=1) for i in (1, 2, 4))
N3 = Member("n3", "a:1", incarnation="boot#1", since_version=1)


def map_of(version: int, *members: Member, replicas: int = 2) -> TierMap:
    return TierMap("c", version, version, members, replicas=replicas)


ALL = map_of(1, N1, N2, N3, N4)
OWNER_DOWN = map_of(2, replace(N1, state=NodeState.DOWN, since_version=2), N2, N3, N4)


class World:
    """The shard of n3. Messages of n1 are made by hand."""

    def __init__(self, tier_map: TierMap = ALL) -> None:
        self.now = 100.0
        self.shard = Shard(replace(settings(), id="n3"), "boot")
        self.use(tier_map)

    def use(self, tier_map: TierMap) -> None:
        self.map = tier_map
        me = tier_map.member("n3")
        assert me is not None
        self.shard.use_map(MapState(tier_map), self.now)
        self.shard.use_stint(tier_map, me.incarnation, True, self.now)
        self.asked()

    def key_of(self, *kept_by: str, number: int = 0) -> bytes:
        names = [key(f"k{i}") for i in range(3000)]
        return [k for k in names if self.shard.keeping.table[slot_of(k)] == kept_by][number]

    def take(self, seq: int, keys: Sequence[bytes] = (), value: bytes = b"v",
             kind: OpKind = OpKind.PUT, version: int | None = None,
             **fields: object) -> Confirmed:  # fmt: skip
        size = 0 if kind is not OpKind.PUT else len(value)
        count = len(keys)
        message = Replicate(
            node="n1", incarnation="i1", to="boot#1", epoch=1, seq=seq, anew=False,
            kinds=bytes([kind] * count), keys=tuple(keys), versions=(seq,) * count,
            sizes=(size,) * count, flags=bytes(count), ttls=(None,) * count, names=b"", prefix=b"",
            cursor=NO_CURSOR, filled=(),
        )  # fmt: skip
        message = replace(message, **fields)  # type: ignore[arg-type]
        version = self.map.version if version is None else version
        body = value * count if size else b""
        request = Request(Kind.REPLICATE, 1, version, 0, CLIENT, False, message, body)
        answered = self.shard.handle(request, Origin(b"", 1, Kind.REPLICATE), self.now)
        assert answered is not None
        assert isinstance(answered[1], Confirmed)
        return answered[1]

    def value(self, name: bytes) -> bytes | None:
        holdings = self.shard._holdings
        entry = holdings.visible(name, self.now)
        return None if entry is None else holdings.read_memory(entry, self.now)

    def asked(self) -> list[Fill]:
        effects = self.shard.take_effects()
        return [e.fields for e in effects if isinstance(e, ToPeer) and isinstance(e.fields, Fill)]

    def tick(self, seconds: float) -> list[Fill]:
        self.now += seconds
        self.shard.tick(self.now)
        return self.asked()


# --- in order, once -------------------------------------------------------------------------------


def test_messages_are_taken_in_their_order_each_once() -> None:
    world = World()
    name = world.key_of("n1", "n3")
    assert world.take(2, [name], b"2") == Confirmed(
        "boot#1", 1, 0, "messages before this one are missing"
    )
    assert world.take(1, [name], b"1").applied == 1
    assert world.take(2, [name], b"2").applied == 2
    assert world.take(1, [name], b"1") == Confirmed("boot#1", 1, 2, "")
    assert world.value(name) == b"2"


def test_puts_drops_and_times_are_taken() -> None:
    world = World()
    a, b = world.key_of("n1", "n3"), world.key_of("n1", "n3", number=1)
    world.take(1, [a, b])
    world.take(2, [a], kind=OpKind.DROP)
    assert (world.value(a), world.value(b)) == (None, b"v")
    world.take(3, [b], kind=OpKind.TOUCH, versions=(1,), ttls=(1.0,))
    world.now += 1.1
    assert world.value(b) is None
    world.take(4, [b], b"new")
    world.take(5, [b], kind=OpKind.TOUCH, versions=(1,), ttls=(1.0,))  # of an older value
    world.now += 1.1
    assert world.value(b) == b"new"


def test_a_clear_takes_what_the_owner_has_and_nothing_of_others() -> None:
    world = World()
    mine, theirs = world.key_of("n1", "n3"), world.key_of("n3", "n1")
    world.take(1, [mine])
    assert world.shard._holdings.directory.get(mine) is not None
    world.take(2, prefix=b"\0k", cursor=slot_of(mine) >> 6)
    assert world.value(mine) is None
    world.take(3, [mine])
    world.take(4, prefix=b"\0other", cursor=slot_of(mine) >> 6)
    assert world.value(mine) == b"v"
    assert theirs != mine


def test_without_memory_to_keep_it_in_the_older_value_is_gone_all_the_same() -> None:
    world = World()
    name = world.key_of("n1", "n3")
    world.take(1, [name], b"old")
    tiers = tuple(replace(t, health=Health.DOWN, since_version=2)
                  if t.tier is not Tier.COLD else t for t in N3.tiers)  # fmt: skip
    world.use(map_of(2, N1, N2, replace(N3, tiers=tiers), N4))
    assert world.take(2, [name], b"new").applied == 2
    world.use(map_of(3, N1, N2, replace(N3, since_version=1), N4))
    assert world.value(name) is None


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [{"incarnation": "i0"}, {"to": "boot#0"}, {"to": ""}, {"node": "n9"}, {"filled": (-1,)},
     {"filled": (16384,)}],
)  # fmt: skip
def test_what_is_of_another_stint_or_about_no_slot_is_not_taken(fields: dict[str, object]) -> None:
    world = World()
    name = world.key_of("n1", "n3")
    answer = world.take(1, [name], **fields)
    assert (answer.applied, bool(answer.why)) == (0, True)
    assert world.value(name) is None


def test_only_the_owner_of_a_key_says_what_it_holds_and_only_to_who_keeps_it() -> None:
    world = World()
    for name in (world.key_of("n2", "n3"), world.key_of("n3", "n1"), world.key_of("n1", "n2")):
        assert world.take(1, [name]).applied == 0


def test_a_message_from_a_newer_map_waits_until_that_is_applied() -> None:
    world = World()
    assert world.take(1, [world.key_of("n1", "n3")], version=2).applied == 0
    world.use(map_of(2, N1, N2, N3, N4))
    assert world.take(1, [world.key_of("n1", "n3")], version=2).applied == 1


def test_a_message_from_before_the_keys_went_to_another_owner_and_back_is_not_taken() -> None:
    """It was on its way all the time. n2 owned the key in between and wrote it anew."""
    world = World(map_of(1, N1, N2, N3, N4, replicas=3))
    name = world.key_of("n1", "n2", "n3")
    world.take(1, [name], b"first")
    out = tuple(replace(t, health=Health.DOWN, since_version=2) for t in N1.tiers)
    world.use(map_of(2, replace(N1, tiers=out), N2, N3, N4, replicas=3))
    assert world.take(1, [name], b"newer", node="n2", incarnation="i2").applied == 1
    world.use(map_of(3, replace(N1, filling=True), N2, N3, N4, replicas=3))
    world.use(map_of(4, N1, N2, N3, N4, replicas=3))
    assert world.take(2, [name], b"late", version=1).applied == 1
    assert world.value(name) != b"late"
    assert world.take(2, [name], b"now").applied == 2
    assert world.value(name) == b"now"


def test_a_message_from_before_a_gap_is_not_taken_after_it() -> None:
    """n2 kept the slot in between instead, and what the owner wrote then did not come here."""
    world = World(map_of(1, N1, replace(N2, state=NodeState.DOWN), N3, N4))
    name = next(k for k in (world.key_of("n1", "n3", number=i) for i in range(99))
                if World(ALL).shard.keeping.table[slot_of(k)] == ("n1", "n2"))  # fmt: skip
    world.use(replace(ALL, version=2, ring_version=2))
    world.use(map_of(3, N1, replace(N2, state=NodeState.DOWN, since_version=3), N3, N4))
    assert world.take(1, [name], b"old", version=1).applied == 0
    assert world.value(name) is None


def test_of_two_streams_the_older_one_is_over() -> None:
    world = World()
    name = world.key_of("n1", "n3")
    world.take(1, [name], epoch=2)
    answer = world.take(1, [name], b"old", epoch=1)
    assert (answer.epoch, answer.applied, bool(answer.why)) == (1, 0, True)
    assert world.value(name) == b"v"


def test_a_stream_that_begins_anew_hides_what_came_before() -> None:
    world = World()
    a, b = world.key_of("n1", "n3"), world.key_of("n2", "n3")
    world.take(1, [a])
    world.take(1, [b], node="n2", incarnation="i2")
    assert world.take(1, epoch=2, anew=True).applied == 1
    assert (world.value(a), world.value(b)) == (None, b"v")
    world.take(2, [a], b"new", epoch=2, anew=True)
    assert world.value(a) == b"new"


# --- when the owner goes --------------------------------------------------------------------------


def test_when_the_owner_goes_its_keys_are_here() -> None:
    world = World()
    name = world.key_of("n1", "n3")
    world.take(1, [name])
    world.use(OWNER_DOWN)
    assert world.shard.keeping.owner_of(slot_of(name)) == "n3"
    assert world.value(name) == b"v"
    assert world.take(2, [name], b"late", version=1).applied == 0
    assert world.value(name) == b"v"


def name_of(rid: int, left_ms: int = 500, counts: bool = False) -> bytes:
    first = rid | (COUNTED << 56 if counts else 0)
    return CLIENT + first.to_bytes(8, "big") + left_ms.to_bytes(4, "big")


def test_the_names_of_writes_are_remembered_with_what_they_were_answered() -> None:
    world = World()
    name = world.key_of("n1", "n3")
    world.take(1, [name], names=name_of(7))
    world.take(2, [name], b"5", names=name_of(8, counts=True))
    world.take(3, [name], kind=OpKind.DROP, flags=b"\1", names=name_of(9))
    world.take(4, [name], names=bytes(NAME_BYTES))
    found = world.shard.take_remembered()
    assert [(r.client, r.rid, r.left_s) for r in found] == [(CLIENT, i, 0.5) for i in (7, 8, 9)]
    assert [r.answered[1] for r in found] == [
        Stored((1,)), Counter(True, True, 5, 2), Flags((True,)),
    ]  # fmt: skip
    assert world.shard.take_remembered() == []


@pytest.mark.parametrize("value", [b"", b"x", b"9" * 5000, b"99999999999999999999", b"1_0", b" 1"])
def test_a_count_that_is_no_number_is_kept_and_its_name_is_not(value: bytes) -> None:
    world = World()
    name = world.key_of("n1", "n3")
    assert world.take(1, [name], value, names=name_of(8, counts=True)).applied == 1
    assert world.shard.take_remembered() == []
    assert world.value(name) == value


# --- what is missing ------------------------------------------------------------------------------


def test_the_owners_are_asked_for_what_is_missing_until_they_have_sent_it() -> None:
    world = World()
    keeping = world.shard.keeping
    wanted = keeping.wanted()
    fills = world.tick(0.0)
    assert {s for f in fills for s in f.slots} == {s for slots in wanted.values() for s in slots}
    assert {f.to for f in fills} == {"i1", "i2", "i4"}
    assert world.tick(ASK_SOON_S * 0.9) == []
    assert world.tick(ASK_SOON_S * 0.2)
    world.take(1, filled=tuple(wanted["n1"]))
    world.tick(ASK_SOON_S)
    assert world.tick(ASK_AGAIN_S * 0.9) == []  # something comes
    assert {f.to for f in world.tick(ASK_AGAIN_S * 0.2)} == {"i2", "i4"}


def fill(world: World, *slots: int, **fields: object) -> object:
    asked = replace(Fill("n1", "i1", "boot#1", slots), **fields)  # type: ignore[arg-type]
    request = Request(Kind.FILL, 1, world.map.version, 0, CLIENT, False, asked)
    answered = world.shard.handle(request, Origin(b"", 1, Kind.FILL), world.now)
    assert answered is not None
    return answered[1]


def test_who_keeps_copies_is_sent_what_there_is_and_nobody_else_is() -> None:
    world = World()
    mine = slot_of(world.key_of("n3", "n1"))
    others = [slot_of(world.key_of("n3", "n2")), slot_of(world.key_of("n1", "n3")), -1, 99999]
    assert isinstance(fill(world, *others), Ack)
    assert dict(world.shard.stats().counters)["slots_being_filled"] == 0
    assert isinstance(fill(world, mine, mine), Ack)
    assert dict(world.shard.stats().counters)["slots_being_filled"] == 1


@pytest.mark.parametrize("fields", [{"to": "boot#0"}, {"incarnation": "i0"}, {"node": "n9"}])
def test_a_fill_of_another_stint_is_refused(fields: dict[str, object]) -> None:
    world = World()
    mine = slot_of(world.key_of("n3", "n1"))
    assert isinstance(fill(world, mine, **fields), Refusal)
