"""A clean stop, and what the next start takes over."""

from __future__ import annotations

import pytest

from tests.unit.node.shard_world import World, fill, key, noise, only
from tests.unit.node.shard_world import settings as node_settings
from tiercluster.cluster.wire import Touch
from tiercluster.node.failures import Failure, FailureKind
from tiercluster.node.messages import (
    ColdOpen,
    ColdRow,
    TierTripped,
)
from tiercluster.node.shard import Shard
from tiercluster.tiermap import MapState, Tier


def stop(world: World) -> None:
    world.shard.begin_stop(world.now, 5.0)
    world.tick(0.01, 200)
    assert world.shard.is_stopped


def restarted(world: World) -> World:
    rows = tuple(
        ColdRow(k, version, flags, expires, len(value))
        for k, (version, flags, value, expires) in world.cold.rows.items()
    )
    world.shard = Shard(node_settings(), "boot-2")
    world.cold.closed = False
    world.shard.use_map(MapState(world.map), world.now)
    world.shard.adopt_cold(rows, lambda _: True, world.now, world.now + 1_000_000.0)
    return world


def test_a_clean_stop_saves_everything_and_a_start_takes_it_over() -> None:
    world = World()
    fill(world, 50)
    world.store("zip", b"a" * 10_000, flags=9, ttl=60.0)
    stop(world)
    assert world.cold.marker == ("boot-1", 1)
    restarted(world)
    assert all(world.get(number) == noise(number) for number in range(50))
    values, body = world.get_meta("zip", meta=True)
    assert (body, values.flags, values.ttls[0]) == (
        b"a" * 10_000,
        b"\t",
        pytest.approx(58.0, abs=2),
    )
    assert world.store("n", b"v") > max(v for v, *_ in world.cold.rows.values())


def test_a_deleted_or_touched_entry_does_not_come_back_after_a_restart() -> None:
    world = only(Tier.COLD)
    for name in ("kept", "deleted", "touched", "expired"):
        world.store(name, b"v", ttl=1.0 if name == "expired" else None)
    world.delete("deleted")
    world.ask(Touch((key("touched"),), 1.0))
    stop(world)
    restarted(world)
    world.now += 2
    assert [world.get(n) for n in ("kept", "deleted", "touched", "expired")] == [
        b"v", None, None, None,
    ]  # fmt: skip


def test_no_marker_is_left_if_the_disk_fails_at_the_end() -> None:
    world = only(Tier.COLD)
    world.store("k", b"v")
    world.cold.silent = True
    world.delete("k")
    stop_began = world.now
    world.shard.begin_stop(stop_began, 1.0)
    world.tick(0.1, 100)
    assert world.shard.is_stopped
    assert world.cold.marker is None


def test_a_store_that_cannot_be_opened_is_out_at_once() -> None:
    world = World()
    world.shard.cold_is_missing(Failure(FailureKind.GONE), world.now)
    world.run()
    assert [r.tier for r in world.reported(TierTripped)] == [Tier.COLD]
    world.shard.wipe_cold(world.now)
    world.run()
    assert ColdOpen(1, wipe=True) in world.cold.log


def test_a_touch_while_its_entry_goes_down_is_not_forgotten_by_a_stop_that_begins_then() -> None:
    world = World()
    world.fail(Tier.WARM)
    world.hold_cold = True
    fill(world, 200)
    leaving = [e.key for e in world.shard._holdings.directory if e.leaving]
    assert leaving
    world.ask(Touch(tuple(leaving), 1.0))
    world.shard.begin_stop(world.now, 5.0)
    world.hold_cold = False
    world.tick(0.01, 200)
    assert world.cold.marker is not None
    restarted(world)
    world.now += 2
    holdings = world.shard._holdings
    assert [k for k in leaving if holdings.visible(k, world.now)] == []
