"""A sick tier is left alone until the map brings it back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.node.shard_world import World, inject, key, only
from tests.unit.node.shard_world import settings as node_settings
from tiercluster.cluster.wire import Fault, Status
from tiercluster.node.failures import Failure, FailureKind
from tiercluster.node.messages import (
    UNASKED,
    ColdFailed,
    ColdFault,
    ColdProbe,
    DrainDone,
    Probed,
    ProbeDenied,
    TierTripped,
)
from tiercluster.node.shard import Shard
from tiercluster.tiermap import TIERS, Admin, Tier


def trip_hot(world: World) -> None:
    world.store("k", b"v")
    inject(world, Tier.HOT)
    for _ in range(6):
        assert world.get("k") is None
    inject(world, Tier.HOT, "")
    assert [r.tier for r in world.reported(TierTripped)] == [Tier.HOT]


def test_a_tripped_tier_is_left_alone_until_the_map_brings_it_back() -> None:
    world = World()
    trip_hot(world)
    assert world.get("k") is None
    world.store("n", b"v")
    assert world.place("n") == "warm"
    world.use_map()
    assert world.get("k") is None
    world.recover(Tier.HOT)
    world.store("m", b"v")
    assert world.place("m") == "hot"
    assert world.get("k") is None, "its generation went up"


def test_what_a_recovered_tier_kept_is_read_again_but_not_what_was_written_meanwhile() -> None:
    world = World()
    world.store("other", b"v")
    trip_hot(world)
    world.fail(Tier.HOT)
    world.store("k", b"new")
    world.recover(Tier.HOT, keep=True)
    assert (world.get("other"), world.get("k")) == (b"v", b"new")


def test_a_refused_failure_does_not_bring_the_tier_back() -> None:
    world = World()
    trip_hot(world)
    world.set_tier(Tier.HOT, suspect=True)
    assert world.get("k") is None
    world.set_tier(Tier.HOT, suspect=False)
    assert world.get("k") == b"v"


def test_a_drain_after_the_trip_does_not_bring_the_tier_back() -> None:
    world = World()
    trip_hot(world)
    world.set_tier(Tier.HOT, admin=Admin.DRAINING)
    assert world.get("k") is None
    assert [r.tiers for r in world.reported(DrainDone)] == []
    world.tick()
    assert [r.tiers for r in world.reported(DrainDone)] == [(Tier.HOT,)]


def test_a_damaged_warm_value_is_a_miss_and_is_forgotten() -> None:
    world = only(Tier.WARM)
    world.store("k", b"a" * 1000)
    entry = world.shard._holdings.directory.get(key("k"))
    assert entry is not None
    assert entry.packed
    entry.value = b"x" + (entry.value or b"")[1:]
    assert world.get("k") is None
    assert world.place("k") is None


@pytest.mark.parametrize("tier", [Tier.HOT, Tier.WARM])
@pytest.mark.parametrize(
    ("kind", "failure"),
    [("eio", FailureKind.IO_ERROR), ("corrupt", FailureKind.CORRUPT),
     ("hang", FailureKind.TIMEOUT), ("enospc", FailureKind.NO_SPACE)],
)  # fmt: skip
def test_a_probe_of_a_memory_tier_goes_through_its_faults(
    tier: Tier, kind: str, failure: FailureKind
) -> None:
    world = World()
    inject(world, tier, kind)
    world.shard.probe(tier, world.now)
    inject(world, tier, "")
    world.shard.probe(tier, world.now)
    world.run()
    first, second = world.reported(Probed)
    assert isinstance(first, Probed)
    assert isinstance(second, Probed)
    assert first.failure is not None
    assert first.failure.kind is failure
    assert second.failure is None


def test_a_probe_of_cold_ends_also_when_nobody_answers() -> None:
    world = World()
    world.shard.probe(Tier.COLD, world.now)
    world.run()
    world.cold.silent = True
    world.shard.probe(Tier.COLD, world.now)
    world.run()
    world.tick(0.3)
    first, second = world.reported(Probed)
    assert first.failure is None  # type: ignore[union-attr]
    assert second.failure.kind is FailureKind.TIMEOUT  # type: ignore[union-attr]


def test_a_disk_that_spoils_its_reads_is_left_though_it_takes_all_writes() -> None:
    world = only(Tier.COLD)
    for number in range(100):
        world.store(number, b"v")
    world.cold.failing = FailureKind.CORRUPT
    for number in range(15):
        assert world.reported(TierTripped) == []
        world.store(f"new {number}", b"v")
        assert world.get(number) is None
    (tripped,) = world.reported(TierTripped)
    assert tripped.tier is Tier.COLD  # type: ignore[union-attr]
    assert tripped.kind is FailureKind.CORRUPT  # type: ignore[union-attr]


# --- half-open ----------------------------------------------------------------------------------


def trip_cold(world: World) -> None:
    gone = ColdFailed(UNASKED, Failure(FailureKind.GONE, "unmounted"), 0.0)
    world.shard.cold_answer(gone, world.now)
    world.run()
    assert [r.tier for r in world.reported(TierTripped)] == [Tier.COLD]


def probe(world: World, tier: Tier = Tier.COLD) -> None:
    world.shard.probe(tier, world.now)
    world.run()


def breaker(world: World, tier: Tier = Tier.COLD) -> str:
    return world.shard.stats().breakers[TIERS.index(tier)]


def sent(world: World) -> int:
    """Probes that reached the cold worker or wait for it."""
    everything = [*world.cold.log, *world.cold_waiting]
    return sum(isinstance(command, ColdProbe) for command in everything)


def test_an_open_breaker_lets_no_probe_through_and_says_for_how_long() -> None:
    world = World()
    trip_cold(world)
    world.tick(0.4)
    probe(world)
    assert sent(world) == 0
    assert not world.reported(Probed)
    (denied,) = world.reported(ProbeDenied)
    assert denied.wait_s == pytest.approx(0.6)  # type: ignore[union-attr]
    assert breaker(world) == "open"


def test_half_open_lets_one_probe_through_and_its_result_answers_all_who_asked() -> None:
    world = World()
    trip_cold(world)
    world.hold_cold = True
    world.tick(1.0)
    for _ in range(3):
        probe(world)
    assert (sent(world), breaker(world)) == (1, "half_open")
    world.hold_cold = False
    world.run()
    assert [r.failure for r in world.reported(Probed)] == [None]  # type: ignore[union-attr]
    assert not world.reported(ProbeDenied)
    probe(world)
    assert sent(world) == 2


def test_it_stays_half_open_through_all_probes_until_the_map_closes_it() -> None:
    world = World()
    trip_cold(world)
    world.fail(Tier.COLD)
    world.tick(1.0)
    for _ in range(3):
        probe(world)
        world.tick(0.5)
        assert breaker(world) == "half_open"
        assert not world.shard._standing.tiers[2].is_readable
    assert len(world.reported(Probed)) == 3
    world.recover(Tier.COLD)
    assert breaker(world) == "closed"


@pytest.mark.parametrize("tier", [Tier.HOT, Tier.COLD])
def test_a_probe_that_failed_opens_it_for_another_cooldown(tier: Tier) -> None:
    world = World()
    trip_cold(world) if tier is Tier.COLD else trip_hot(world)
    world.tick(1.0)
    if tier is Tier.COLD:
        world.cold.failing = FailureKind.IO_ERROR
        probe(world, tier)
        world.cold.failing = None
    else:
        inject(world, tier)
        probe(world, tier)
        inject(world, tier, "")
    assert [r.failure is None for r in world.reported(Probed)] == [False]  # type: ignore[union-attr]
    world.tick(0.9)
    assert breaker(world, tier) == "open"
    probe(world, tier)
    assert len(world.reported(ProbeDenied)) == 1
    world.tick(0.2)
    probe(world, tier)
    assert world.reported(Probed)[-1].failure is None  # type: ignore[union-attr]


def test_a_probe_that_nobody_answers_wedges_nothing() -> None:
    world = World()
    trip_cold(world)
    world.cold.silent = True
    world.tick(1.0)
    for _ in range(3):
        probe(world)
        world.tick(0.3)  # the deadline of an operation
        world.tick(1.1)
    failures = [r.failure.kind for r in world.reported(Probed)]  # type: ignore[union-attr]
    assert failures == [FailureKind.TIMEOUT] * 3


def test_a_tier_that_is_down_in_the_map_and_not_tripped_here_is_probed_at_once() -> None:
    world = only(Tier.HOT)
    for tier in TIERS:
        probe(world, tier)
    assert [(r.tier, r.failure) for r in world.reported(Probed)] == [  # type: ignore[union-attr]
        (tier, None) for tier in TIERS
    ]
    assert world.shard.stats().breakers == ("closed",) * 3


def test_faults_are_refused_unless_the_node_allows_them() -> None:
    world = World()
    world.shard = Shard(replace(node_settings(), allow_faults=False), "boot-1")
    rid = world.send(Fault("hot", "eio", 0.0, 1.0))
    assert world.answers[rid][0] is Status.REFUSED


def test_a_fault_of_cold_is_passed_on_and_nonsense_is_refused() -> None:
    world = World()
    world.ask(Fault("cold", "slow", 20.0, 0.5))
    assert ColdFault("slow", 20.0, 0.5) in world.cold.log
    world.ask(Fault("cold", "slow", 20.0, 0.5, 900.0))
    assert ColdFault("slow", 20.0, 0.5, 900.0) in world.cold.log
    for wrong in (
        Fault("tepid", "eio", 0, 1),
        Fault("hot", "fire", 0, 1),
        Fault("hot", "eio", 0, 2),
        Fault("hot", "eio", 0, 1, 1e9),
    ):
        assert world.answers[world.send(wrong)][0] is Status.BAD_REQUEST


def test_a_fault_in_memory_with_a_time_is_over_by_itself() -> None:
    world = World()
    world.ask(Fault("hot", "eio", 0.0, 1.0, 500.0))
    hot = world.shard._holdings.hot.faults
    world.shard.tick(world.now + 0.4)
    assert hot.is_on
    world.shard.tick(world.now + 0.5)
    assert not hot.is_on


def test_a_rate_hits_evenly_spread_operations() -> None:
    world = World()
    world.store("k", b"v")
    inject(world, Tier.HOT, "eio", 0.25)
    assert [world.get("k") for _ in range(8)].count(None) == 2
    assert not world.reported(TierTripped)
