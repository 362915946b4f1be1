"""No near copy is older than what the client was told, wrote itself, or a lease allows."""

from __future__ import annotations

import pytest

from tests.property.near_world import NearWorld

STEPS = 6000


@pytest.mark.parametrize("seed", range(40))
def test_no_copy_is_older_than_allowed(seed: int) -> None:
    world = NearWorld(seed)
    world.run(STEPS)
    # Otherwise the test would say nothing.
    assert world.steps.get("find", 0) > 0
    assert world.steps.get("take_read", 0) > 20


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40, 400))
def test_no_copy_is_older_than_allowed_in_many_worlds(seed: int) -> None:
    NearWorld(seed).run(5 * STEPS)
