"""Sending a node what it began to keep: all of it once, at a limited rate, beside the writes."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.node.shard_world import CLIENT, FakeCold, key, settings
from tiercluster.cluster.ring import slot_of
from tiercluster.cluster.wire import Confirmed, Fill, Get, Kind, OpKind, Replicate, Request, Store
from tiercluster.node.directory import BUCKET_SHIFT
from tiercluster.node.effects import Origin, ToCold, ToPeer
from tiercluster.node.filling import BURST_S, FILL_BYTES_PER_S, MOST_AHEAD_BYTES, MOST_READING
from tiercluster.node.messages import ColdCommand, ColdGet
from tiercluster.node.settings import MiB
from tiercluster.node.shard import Shard
from tiercluster.tiermap import Health, MapState, Member, Tier, TierMap

N1 = Member("n1", "a:1", incarnation="boot#1", since_version=1)
N2, N3 = (Member(f"n{i}", "a:1", incarnation=f"i{i}", since_version=1) for i in (2, 3))
ALL = TierMap("c", 1, 1, (N1, N2, N3), replicas=2)
ONLY_COLD = tuple(
    replace(t, health=Health.DOWN, since_version=1) if t.tier is not Tier.COLD else t
    for t in N1.tiers
)


class World:
    """The shard of n1, which owns keys that n2 keeps."""

    def __init__(self, me: Member = N1) -> None:
        self.now = 100.0
        self.cold = FakeCold()
        self.holds_cold = False
        self.waiting: list[ColdCommand] = []
        config = settings(hot=64 * MiB)
        self.shard = Shard(config, "boot")
        self.got: dict[bytes, list[bytes]] = {}
        self.filled: list[int] = []
        self.messages: list[Replicate] = []
        self.use(replace(ALL, members=(me, N2, N3)))

    def use(self, tier_map: TierMap) -> None:
        self.map = tier_map
        me = tier_map.member("n1")
        assert me is not None
        self.shard.use_map(MapState(tier_map), self.now)
        self.shard.use_stint(tier_map, me.incarnation, True, self.now)
        self.run()

    def keys(self, count: int) -> list[bytes]:
        """Of as many slots."""
        table = self.shard.keeping.table
        found: dict[int, bytes] = {}
        for i in range(50_000):
            name = key(f"k{i}")
            if len(found) < count and table[slot_of(name)] == ("n1", "n2"):
                found.setdefault(slot_of(name), name)
        return list(found.values())

    def store(self, name: bytes, value: bytes) -> None:
        fields = Store(0, (name,), (len(value),), b"\0", (None,), ())
        request = Request(Kind.STORE, 1, self.map.version, 0, CLIENT, False, fields, value)
        self.shard.handle(request, Origin(b"me", 1, Kind.STORE), self.now)
        self.run()

    def ask(self, slots: list[int], version: int = 1) -> None:
        fields = Fill("n2", "i2", "boot#1", tuple(slots))
        request = Request(Kind.FILL, 1, version, 0, CLIENT, False, fields)
        self.shard.handle(request, Origin(b"n2", 1, Kind.FILL), self.now)

    def run(self) -> None:
        while effects := self.shard.take_effects():
            for effect in effects:
                match effect:
                    case ToCold(command):
                        self.waiting.append(command)
                    case ToPeer(_, Kind.REPLICATE, Replicate() as fields, body):
                        self.take(fields, body)
            self.read_cold()

    def read_cold(self) -> None:
        held = [c for c in self.waiting if self.holds_cold and isinstance(c, ColdGet)]
        done, self.waiting = [c for c in self.waiting if c not in held], held
        for command in done:
            answer = self.cold.do(command)
            if answer is not None:
                self.shard.cold_answer(answer, self.now)

    def take(self, message: Replicate, body: bytes) -> None:
        if message.to == "i2":
            self.messages.append(message)
            self.filled += message.filled
        for kind, name, size in zip(message.kinds, message.keys, message.sizes, strict=True):
            value, body = body[:size], body[size:]
            self.got.setdefault(name, []).append(value if kind == OpKind.PUT else b"-")

    def tick(self, seconds: float = BURST_S, is_confirmed: bool = True) -> None:
        self.now += seconds
        self.shard.tick(self.now)
        self.shard.streams.flush(self.now)
        self.run()
        if is_confirmed:
            self.confirm()

    def confirm(self) -> None:
        for message in self.messages:
            confirmed = Confirmed(message.to, message.epoch, message.seq, "")
            self.shard.streams.confirmed("n2", confirmed, self.now)
        self.messages.clear()

    def begin(self, values: dict[bytes, bytes]) -> list[int]:
        """Store these and forget that they were copied."""
        for name, value in values.items():
            self.store(name, value)
            self.shard.streams.flush(self.now)
            self.run()
            self.confirm()
        self.got.clear()
        return [slot_of(name) for name in values]


def test_a_node_is_sent_the_slots_that_it_asked_for_and_told_when_each_is_whole() -> None:
    world = World()
    names = world.keys(20)
    slots = world.begin({name: b"v" + name for name in names})
    world.ask(slots[:10])
    for _ in range(5):
        world.tick()
    assert world.got == {name: [b"v" + name] for name in names[:10]}
    assert sorted(world.filled) == sorted(slots[:10])


def test_a_slot_without_entries_is_whole_at_once() -> None:
    world = World()
    slots = [slot_of(name) for name in world.keys(3)]
    world.ask(slots)
    for _ in range(3):
        world.tick()
    assert sorted(world.filled) == sorted(slots)


def test_what_is_asked_for_twice_at_a_time_is_sent_once() -> None:
    world = World()
    names = world.keys(30)
    slots = world.begin({name: bytes(100_000) for name in names})
    for _ in range(100):
        world.ask([s for s in slots if s not in world.filled])
        world.tick(0.003)
    assert sorted(set(world.filled)) == sorted(slots)
    assert max(map(len, world.got.values())) <= 2


def test_it_is_sent_no_faster_than_allowed() -> None:
    world = World()
    names = world.keys(100)
    slots = world.begin({name: bytes(30_000) for name in names})
    world.tick()
    world.ask(slots)
    ticks = 0
    while len(world.filled) < len(slots):
        world.tick(0.01)
        ticks += 1
    assert ticks * 0.01 >= 0.9 * 100 * 30_000 / FILL_BYTES_PER_S
    assert ticks * 0.01 <= 2.0 * 100 * 30_000 / FILL_BYTES_PER_S


def test_it_is_never_far_ahead_of_what_is_confirmed() -> None:
    world = World()
    names = world.keys(60)
    world.ask(world.begin({name: bytes(100_000) for name in names}))
    for _ in range(100):
        world.tick(is_confirmed=False)
    assert world.shard.streams.backlog("n2") <= MOST_AHEAD_BYTES + 200_000
    assert 0 < len(world.got) < 60


def test_a_new_stream_is_filled_only_when_the_node_asks_again() -> None:
    world = World()
    names = world.keys(60)
    slots = world.begin({name: bytes(100_000) for name in names})
    world.ask(slots)
    world.tick()
    world.shard.streams.let_go()
    world.shard.streams.take_up(world.now)
    world.filled.clear()
    world.got.clear()
    for _ in range(20):
        world.tick()
    assert world.filled == []
    world.ask(slots)
    for _ in range(40):
        world.tick()
    assert sorted(world.filled) == sorted(slots)
    assert set(world.got) == set(names)


def test_a_node_that_begins_anew_amid_a_slot_is_sent_all_of_it() -> None:
    """It saw a map that this node did not see, and what it has been sent is worth nothing to it."""
    world = World()
    one = world.keys(1)[0]
    slot = slot_of(one)
    names = [one]
    for i in range(2_000_000):
        name = key(f"x{i}")
        if len(names) < 40 and slot_of(name) == slot:
            names.append(name)
        if len(names) == 40:
            break
    world.begin({name: bytes(100_000) for name in names})
    world.ask([slot])
    world.tick()
    sent = set(world.got)
    assert 0 < len(sent) < 40
    world.use(replace(world.map, version=3))
    world.got.clear()
    world.ask([slot], version=3)
    for _ in range(40):
        world.tick()
    assert set(world.got) == set(names)
    assert world.filled[-1:] == [slot]


def test_entries_in_cold_are_read_a_few_at_a_time_and_the_slot_is_whole_after_the_last() -> None:
    world = World(replace(N1, tiers=ONLY_COLD))
    names = world.keys(1)
    slot = slot_of(names[0])
    same = [k for k in (key(f"x{i}") for i in range(500_000)) if slot_of(k) == slot][:20]
    world.begin({name: b"v" + name for name in same})
    world.holds_cold = True
    world.ask([slot])
    for _ in range(5):
        world.tick()
    assert len(world.waiting) == MOST_READING
    assert world.filled == []
    world.holds_cold = False
    world.read_cold()
    for _ in range(20):
        world.tick()
    assert world.got == {name: [b"v" + name] for name in same}
    assert world.filled == [slot]


def test_what_is_promoted_while_its_bucket_is_sent_is_sent_all_the_same() -> None:
    world = World(replace(N1, tiers=ONLY_COLD))
    by_bucket: dict[int, list[bytes]] = {}
    for name in world.keys(400):
        by_bucket.setdefault(slot_of(name) >> BUCKET_SHIFT, []).append(name)
    names = max(by_bucket.values(), key=len)
    world.begin(dict.fromkeys(names, b"v" * 10))
    world.use(replace(ALL, version=2))  # memory is back
    world.holds_cold = True
    world.ask([slot_of(name) for name in names], version=2)
    world.tick()
    read = names[-1]
    for rid in (10, 11, 12):  # a client reads it a few times: it comes to hot
        get = Request(Kind.GET, rid, 2, 0, CLIENT, False, Get((read,), False))
        world.shard.handle(get, Origin(b"me", rid, Kind.GET), world.now)
        world.run()
        for command in [c for c in world.waiting if isinstance(c, ColdGet) and c.key == read]:
            world.waiting.remove(command)
            answer = world.cold.do(command)
            assert answer is not None
            world.shard.cold_answer(answer, world.now)
    world.holds_cold = False
    world.read_cold()
    for _ in range(20):
        world.tick()
    assert set(world.filled) >= {slot_of(name) for name in names}
    assert set(world.got) >= set(names)


def test_what_is_written_while_it_is_read_is_not_followed_by_the_older_value() -> None:
    world = World(replace(N1, tiers=ONLY_COLD))
    name = world.keys(1)[0]
    world.begin({name: b"old"})
    world.holds_cold = True
    world.ask([slot_of(name)])
    world.tick()
    world.store(name, b"new")
    world.holds_cold = False
    world.read_cold()
    for _ in range(5):
        world.tick()
    assert world.got[name][-1] == b"new"
    assert b"old" not in world.got[name]
