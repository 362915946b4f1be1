"""Streams and copies over bad links and through changes of the map: no copy is ever too old."""

from __future__ import annotations

import pytest
from copy_world import KEYS, World

from tiercluster.cluster.ring import slot_of

STEPS = 500


@pytest.mark.parametrize("seed", range(8))
def test_no_read_gives_the_past_whoever_owns_and_in_the_end_copies_are_what_owners_have(
    seed: int,
) -> None:
    world = World(seed)
    for _ in range(STEPS):
        world.step()
    world.heal()
    assert not world.asked
    assert world.released
    check_copies(world)


def check_copies(world: World) -> None:
    for node in world.nodes.values():
        assert node.shard.keeping.is_whole
        assert not node.shard.streams.is_busy
    for name in KEYS:
        owner, *others = world.nodes["n1"].shard.keeping.table[slot_of(name)]
        value = world.value(world.nodes[owner], name)
        for other in others:
            kept = world.value(world.nodes[other], name)
            # A node that had no memory to keep it in is not told again.
            assert kept == value or (kept is None and other in world.lost_tiers)
