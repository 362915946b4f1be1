"""Random worlds: power cuts, partitions, slow links, compaction, lost messages, wiped disks.

The seed stands in the test's id. ``TIERCLUSTER_SEEDS=500 pytest -m slow`` runs more of them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .raft_world import Weather, World

WEATHERS = {
    "power cuts and compaction": Weather(blackout=0.02),
    "lossy links": Weather(drop=0.05, crash=0.005),
    "wiped disks": Weather(wipe=0.03, crash=0.005),
    "calm": Weather(crash=0.0, storm=0.2, compact=0.1),
}
FIVE = ("a", "b", "c", "d", "e")


def live_through(seed: int, path: Path, patch: pytest.MonkeyPatch, steps: int) -> World:
    kind = list(WEATHERS)[seed % len(WEATHERS)]
    names = FIVE if seed % 5 == 4 else FIVE[:3]
    world = World(seed, path, patch, names, WEATHERS[kind])
    try:
        world.run(steps)
        world.heal()
    finally:
        world.close()
    return world


@pytest.mark.parametrize("seed", range(40))
def test_nothing_that_was_applied_is_ever_lost_or_changed(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = live_through(seed, tmp_path, monkeypatch, steps=250)

    assert len(world.order) > 1  # it has also got something done


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1000 + int(os.environ.get("TIERCLUSTER_SEEDS", 100))))
def test_nothing_is_lost_in_longer_worlds(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_through(seed, tmp_path, monkeypatch, steps=700)
