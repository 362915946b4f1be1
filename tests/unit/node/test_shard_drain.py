"""Drains move what they can, let go of the tier, and say so."""

from __future__ import annotations

import pytest

from tests.unit.node.shard_world import World, fill, only
from tiercluster.node.messages import (
    ColdClose,
    ColdOpen,
    DrainDone,
    Probed,
)
from tiercluster.tiermap import TIERS, Admin, Tier


def test_a_drained_cold_store_is_emptied_and_closed_before_it_is_said() -> None:
    world = only(Tier.COLD)
    world.store("k", b"v")
    world.set_tier(Tier.COLD, admin=Admin.DRAINING)
    world.hold_cold = True
    world.tick(0.1, 3)
    world.release_cold(2)  # the read that moves the entry to the stand-in
    world.tick(0.1, 3)
    assert [type(c) for c in world.cold_waiting][-2:] == [ColdOpen, ColdClose]
    assert not world.reported(DrainDone)
    world.hold_cold = False
    world.run()
    assert world.reported(DrainDone) == [DrainDone((Tier.COLD,), 1, 0)]
    assert world.cold.closed
    assert world.cold.rows == {}
    assert world.get("k") == b"v"


def test_a_probe_of_a_drained_cold_tier_leaves_its_store_closed() -> None:
    world = World()
    world.set_tier(Tier.COLD, admin=Admin.DRAINING)
    world.tick(0.1, 3)
    world.set_tier(Tier.COLD, admin=Admin.OUT)
    assert world.cold.closed
    world.shard.probe(Tier.COLD, world.now)
    world.run()
    assert [r.failure for r in world.reported(Probed)] == [None]  # type: ignore[union-attr]
    assert world.cold.closed, "the disk cannot be taken out any more"
    world.recover(Tier.COLD)
    world.shard.probe(Tier.COLD, world.now)
    world.run()
    assert not world.cold.closed


def test_a_node_that_starts_while_its_cold_tier_is_drained_closes_the_store() -> None:
    world = World()
    world.set_tier(Tier.COLD, admin=Admin.OUT)
    world.shard.wipe_cold(world.now)
    world.run()
    assert world.cold.closed, "the disk cannot be taken out"
    world.recover(Tier.COLD)
    world.shard.probe(Tier.COLD, world.now)
    world.run()
    world.store("k", b"v")
    for tier in (Tier.HOT, Tier.WARM):
        world.fail(tier)
    world.store("k", b"w")
    assert (world.place("k"), world.get("k")) == ("cold", b"w")


def test_a_drain_is_told_again_until_the_map_shows_it() -> None:
    world = World()
    world.set_tier(Tier.HOT, admin=Admin.DRAINING)
    world.tick(0.1, 45)
    assert len(world.reported(DrainDone)) == 3
    world.set_tier(Tier.HOT, admin=Admin.OUT)
    world.tick(0.1, 45)
    assert len(world.reported(DrainDone)) == 3


def test_a_drain_ends_at_its_deadline_and_says_what_stayed_behind() -> None:
    world = only(Tier.COLD)
    fill(world, 40)
    world.set_tier(Tier.COLD, admin=Admin.DRAINING)
    world.hold_peers = True
    world.tick(1.0, 31)
    done = world.reported(DrainDone)[0]
    assert isinstance(done, DrainDone)
    assert done.left_behind == 40 - done.moved
    assert done.left_behind > 0


def test_a_drain_that_is_called_off_leaves_the_tier_as_it_was() -> None:
    world = World()
    fill(world, 20)
    world.set_tier(Tier.HOT, admin=Admin.DRAINING)
    world.set_tier(Tier.HOT, admin=Admin.IN)
    world.tick(0.1, 5)
    assert not world.reported(DrainDone)
    assert world.place(0) == "hot"


def test_a_tier_whose_drain_has_ended_is_not_used_even_as_the_last_resort() -> None:
    world = only(Tier.HOT)
    world.set_tier(Tier.HOT, admin=Admin.DRAINING)
    world.store("before", b"v")
    assert world.place("before") == "hot"
    world.tick(0.1, 3)
    assert world.reported(DrainDone)
    world.store("after", b"v")
    assert world.place("after") == "remote"


@pytest.mark.parametrize("tier", [Tier.HOT, Tier.WARM, Tier.COLD])
def test_a_drain_that_is_called_off_after_its_end_here_gives_the_tier_back(tier: Tier) -> None:
    """DrainDone is told, but Restore is committed before Drained: the map shows the tier in service
    with the generation that the drain had closed."""
    world = World()
    world.store("before", b"v")
    world.set_tier(tier, admin=Admin.DRAINING)
    world.tick(0.1, 400)
    assert world.reported(DrainDone)
    world.set_tier(tier, admin=Admin.IN)
    world.tick(0.1, 5)
    assert world.shard._holdings.standing.tiers[TIERS.index(tier)].is_usable
    assert world.store("after", b"w")
    assert world.get("after") == b"w"
