"""A sick tier is left alone until the map brings it back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.node.shard_world import World, inject, key, only
from tests.unit.node.shard_world import settings as node_settings
from tiercluster.cluster.wire import Fault, Status
from tiercluster.node.failures import FailureKind
from tiercluster.node.messages import (
    ColdFault,
    DrainDone,
    Probed,
    TierTripped,
)
from tiercluster.node.shard import Shard
from tiercluster.tiermap import Admin, Tier


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


def test_faults_are_refused_unless_the_node_allows_them() -> None:
    world = World()
    world.shard = Shard(replace(node_settings(), allow_faults=False), "boot-1")
    rid = world.send(Fault("hot", "eio", 0.0, 1.0))
    assert world.answers[rid][0] is Status.REFUSED


def test_a_fault_of_cold_is_passed_on_and_nonsense_is_refused() -> None:
    world = World()
    world.ask(Fault("cold", "slow", 20.0, 0.5))
    assert ColdFault("slow", 20.0, 0.5) in world.cold.log
    for wrong in (
        Fault("tepid", "eio", 0, 1),
        Fault("hot", "fire", 0, 1),
        Fault("hot", "eio", 0, 2),
    ):
        assert world.answers[world.send(wrong)][0] is Status.BAD_REQUEST


def test_a_rate_hits_evenly_spread_operations() -> None:
    world = World()
    world.store("k", b"v")
    inject(world, Tier.HOT, "eio", 0.25)
    assert [world.get("k") for _ in range(8)].count(None) == 2
    assert not world.reported(TierTripped)
