"""A shard under random verbs, sick tiers, evictions and restarts, against a history of each key.

The one promise: a read returns the newest value that the key had when the read was asked for, or a
value written while the read was under way, or a miss. The histories are the second, dumb version.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.unit.node.shard_world import CLIENT, ME, World, key
from tests.unit.node.shard_world import settings as node_settings
from tiercluster.cluster.ring import SLOTS
from tiercluster.cluster.wire import (
    Counter,
    Delete,
    DeletePrefix,
    Fields,
    Get,
    Incr,
    Mode,
    Scan,
    Status,
    Store,
    Stored,
    Touch,
)
from tiercluster.node.entry import COLD
from tiercluster.node.failures import FailureKind
from tiercluster.node.messages import ColdRow
from tiercluster.node.settings import MiB
from tiercluster.node.shard import Shard
from tiercluster.tiermap import TIERS, Admin, Health, MapState, Tier

KEYS = 40
names = st.integers(0, KEYS - 1)
several = st.lists(names, min_size=1, max_size=6, unique=True)
tiers = st.sampled_from(TIERS)
INF = float("inf")
K = FailureKind
SICK = (K.IO_ERROR, K.CORRUPT, K.NO_SPACE, K.READ_ONLY, K.TIMEOUT, K.SHED, K.GONE)


@lru_cache(maxsize=512)
def incompressible(seed: int, size: int) -> bytes:
    return b"%d:" % seed + random.Random(seed % 64).randbytes(size)


@dataclass
class Was:
    """A value that a key had; None: none."""

    value: bytes | None
    expires: float = INF


class ShardAgainstHistories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(node_settings(hot=MiB, warm=MiB, cold=2 * MiB))
        self.world.hold_cold = self.world.hold_peers = True
        self.history: dict[int, list[Was]] = {name: [Was(None)] for name in range(KEYS)}
        self.reads: dict[int, list[tuple[int, int, float]]] = {}  # rid: (name, from, asked at)
        self.writes: dict[int, list[tuple[int, Was]]] = {}
        self.counters: dict[int, tuple[int, Was, Incr]] = {}
        self.written = 0
        self.ring = 1

    # --- sending and checking -------------------------------------------------------------------

    def fresh(self, big: bool) -> bytes:
        self.written += 1
        return incompressible(self.written, 50_000 if big else 20)

    def send(self, fields: Fields, body: bytes = b"") -> int:
        return self.world.send(fields, body)

    def settle_answers(self) -> None:
        """Check every answer that has come."""
        for rid in [r for r in self.reads if r in self.world.answers]:
            self.check_read(rid)
        for rid in [w for w in self.writes if w in self.world.answers]:
            self.check_write(rid)
        for rid in [c for c in self.counters if c in self.world.answers]:
            self.check_counter(rid)

    def check_read(self, rid: int) -> None:
        status, values, body = self.world.answers[rid]
        assert status is Status.OK
        offset = 0
        for (name, since, asked_at), size in zip(self.reads.pop(rid), values.sizes, strict=True):
            if size < 0:
                continue
            value = body[offset : offset + size]
            offset += size
            allowed = [w.value for w in self.history[name][since:] if w.expires > asked_at]
            assert value in allowed, (name, value[:20], [v and v[:20] for v in allowed])

    def check_write(self, rid: int) -> None:
        status, stored, _ = self.world.answers[rid]
        assert status is Status.OK
        assert isinstance(stored, Stored)
        for (name, was), version in zip(self.writes.pop(rid), stored.versions, strict=True):
            if not version and self.history[name][-1] is was:
                self.history[name].append(Was(None))

    def check_counter(self, rid: int) -> None:
        name, before, asked = self.counters.pop(rid)
        status, result, _ = self.world.answers[rid]
        if status is not Status.OK:
            return
        assert isinstance(result, Counter)
        if result.found and result.integer and self.history[name][-1] is before:
            if result.value != asked.initial:
                assert before.value is not None
                assert result.value == int(before.value) + asked.delta
            expires = before.expires if result.value != asked.initial else INF
            self.history[name].append(Was(b"%d" % result.value, expires))

    # --- verbs ----------------------------------------------------------------------------------

    @rule(chosen=several, big=st.booleans(), ttl=st.sampled_from([None, None, 0.5, 30.0]))
    def set(self, chosen: list[int], big: bool, ttl: float | None) -> None:
        values = [self.fresh(big) for _ in chosen]
        fields = Store(int(Mode.SET), tuple(map(key, chosen)), tuple(map(len, values)),
                       (1,) * len(chosen), (ttl,))  # fmt: skip
        expires = INF if ttl is None else self.world.now + ttl
        was = [Was(value, expires) for value in values]
        for name, one in zip(chosen, was, strict=True):
            self.history[name].append(one)
        self.writes[self.send(fields, b"".join(values))] = list(zip(chosen, was, strict=True))
        self.settle_answers()

    @rule()
    def fill(self) -> None:
        """More than hot holds."""
        self.set(list(range(KEYS)), True, None)

    @rule(name=names)
    def add(self, name: int) -> None:
        value, last = self.fresh(False), self.history[name][-1]
        rid = self.send(Store(int(Mode.ADD), (key(name),), (len(value),), b"\0", (None,)), value)
        if rid not in self.world.answers:
            was = Was(value)
            self.history[name].append(was)
            self.writes[rid] = [(name, was)]
        elif self.world.answers[rid][1].versions[0]:
            self.history[name].append(Was(value))
        elif self.world.shard._holdings.directory.get(key(name)) is None:
            self.history[name].append(Was(None))
        else:
            assert last.value is not None
            assert last.expires > self.world.now

    @rule(name=names)
    def cas(self, name: int) -> None:
        self.world.send(Get((key(name),), True))
        answered = self.world.answers.get(self.world.rid)
        if answered is None or answered[1].sizes[0] < 0:
            return
        value, version = self.fresh(False), answered[1].versions[0]
        fields = Store(int(Mode.CAS), (key(name),), (len(value),), b"\0", (None,), (version,))
        rid = self.send(fields, value)
        was = Was(value)
        self.history[name].append(was)
        self.writes[rid] = [(name, was)]
        self.settle_answers()
        stale = Store(int(Mode.CAS), (key(name),), (3,), b"\0", (None,), (version,))
        assert self.world.answers[self.send(stale, b"old")][1].versions == (0,)

    @rule(name=names, initial=st.sampled_from([None, 7]))
    def incr(self, name: int, initial: int | None) -> None:
        asked = Incr(key(name), 3, initial, None)
        before = self.history[name][-1]
        if before.value is not None and not before.value.isdigit():
            return
        self.counters[self.send(asked)] = name, before, asked
        if self.world.rid not in self.world.answers:
            # What it will write is not known yet: no reads of this key are judged until it ends.
            self.world.hold_cold = self.world.hold_peers = False
            self.world.cold.silent = False
            self.world.run()
            self.world.tick(0.3, 4)
            self.world.hold_cold = self.world.hold_peers = True
        self.settle_answers()

    @rule(chosen=several)
    def get(self, chosen: list[int]) -> None:
        asked = [(n, len(self.history[n]) - 1, self.world.now) for n in chosen]
        self.reads[self.send(Get(tuple(map(key, chosen))))] = asked
        self.settle_answers()

    @rule(chosen=several)
    def delete(self, chosen: list[int]) -> None:
        self.send(Delete(tuple(map(key, chosen))))
        for name in chosen:
            self.history[name].append(Was(None))

    @rule(name=names, ttl=st.sampled_from([None, 0.2, 60.0]))
    def touch(self, name: int, ttl: float | None) -> None:
        rid = self.send(Touch((key(name),), ttl))
        last = self.history[name][-1]
        if self.world.answers[rid][1].found[0]:
            assert last.value is not None
            # A value that another node keeps may go earlier, never later.
            expires = INF if ttl is None else self.world.now + ttl
            self.history[name].append(Was(last.value, expires))

    @rule()
    def clear(self) -> None:
        cursor = 0
        while cursor >= 0:
            cursor = self.world.ask(DeletePrefix(b"\0", cursor)).cursor
        for history in self.history.values():
            history.append(Was(None))
        assert self.world.ask(Scan(b"\0", 0, 100)).keys == ()

    # --- the world around it --------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.3]), times=st.integers(1, 5))
    def time_passes(self, seconds: float, times: int) -> None:
        self.world.tick(seconds, times)
        self.settle_answers()

    @rule(count=st.sampled_from([1, 3, 50]))
    def cold_works(self, count: int) -> None:
        self.world.release_cold(count)
        self.settle_answers()

    @rule(count=st.sampled_from([1, 3]))
    def cold_sheds(self, count: int) -> None:
        """The worker's inbox is full."""
        for _ in range(min(count, len(self.world.cold_waiting))):
            self.world.shard.cold_shed(self.world.cold_waiting.popleft(), self.world.now)
        self.world.run()
        self.settle_answers()

    @rule(count=st.sampled_from([1, 50]))
    def peers_work(self, count: int) -> None:
        self.world.release_peers(count)
        self.settle_answers()

    @rule(
        failing=st.sampled_from([None, None, None, *SICK]),
        silent=st.booleans(),
        unreadable=st.booleans(),
        dead=st.booleans(),
    )
    def health_changes(
        self, failing: FailureKind | None, silent: bool, unreadable: bool, dead: bool
    ) -> None:
        cold = self.world.cold
        cold.failing, cold.unreadable = failing, unreadable
        cold.silent = silent and failing is not None
        self.world.peer.is_dead = dead

    @rule(tier=tiers)
    def tier_fails(self, tier: Tier) -> None:
        self.world.fail(tier)
        self.settle_answers()

    @rule(tier=tiers, keep=st.booleans())
    def tier_recovers(self, tier: Tier, keep: bool) -> None:
        if self.world.map.member(ME).tier(tier).health is Health.UP:
            return
        self.world.recover(tier, keep=keep)
        self.settle_answers()

    @rule(tier=tiers)
    def drain(self, tier: Tier) -> None:
        self.world.set_tier(tier, admin=Admin.DRAINING)
        self.settle_answers()

    @rule(tier=tiers)
    def drained_and_restored(self, tier: Tier) -> None:
        record = self.world.map.member(ME).tier(tier)
        if record.admin is Admin.DRAINING:
            self.world.set_tier(tier, admin=Admin.OUT)
            self.world.shard.probe(tier, self.world.now)
            self.world.recover(tier)
            self.settle_answers()

    @rule()
    def slots_were_away(self) -> None:
        """Another node owned all keys for a while."""
        self.ring += 1
        self.world.shard.set_stint(self.ring, [self.ring] * SLOTS, self.ring, bytes((1,)) * SLOTS)
        for history in self.history.values():
            history.append(Was(None))

    @invariant()
    def books_balance(self) -> None:
        holdings = self.world.shard._holdings
        for place, tier in enumerate(holdings.memory):
            here = [e for e in holdings.directory if e.place == place]
            assert sum(e.cost for e in here) == tier.size_bytes
            assert all(e.value is not None for e in here)
            assert tier.size_bytes <= tier.capacity
            assert tier.leaving_bytes == sum(e.cost for e in here if e.leaving)
        cold = [e for e in holdings.directory if e.place == COLD]
        assert sum(e.cost for e in cold) == holdings.cold.size_bytes <= holdings.cold.capacity
        assert len(cold) == holdings.cold.policy.count
        remote = sum(e.cost for e in holdings.directory if e.place > COLD)
        assert remote == holdings.remote_bytes
        assert sum(1 for _ in holdings.directory) == holdings.directory.count

    # --- stop and start -------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        assert CLIENT

    def teardown(self) -> None:
        """A clean stop; the next process takes over what the marker vouches for."""
        world = self.world
        world.cold.silent = False
        world.hold_cold = world.hold_peers = False
        world.run()
        world.tick(0.3, 3)
        self.settle_answers()
        world.shard.begin_stop(world.now, 5.0)
        world.tick(0.01, 1000)
        assert world.shard.is_stopped
        if world.cold.marker is None or world.cold.failing is not None:
            return
        rows = tuple(
            ColdRow(k, version, flags, expires, len(value))
            for k, (version, flags, value, expires) in world.cold.rows.items()
        )
        world.shard = Shard(node_settings(cold=2 * MiB), "boot-2")
        world.cold.closed = False
        world.shard.use_map(MapState(world.map), world.now)
        world.shard.adopt_cold(rows, lambda _: True, world.now, world.now + 1_000_000.0)
        self.get(list(range(KEYS)))
        world.tick(0.3, 3)
        self.settle_answers()
        assert not self.reads


ShardAgainstHistories.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)
TestShardAgainstHistories = ShardAgainstHistories.TestCase
