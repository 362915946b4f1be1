"""Whole clusters under a virtual clock: many seeds, every one checked at every step.

TIERCLUSTER_SEEDS=10000 pytest -m slow tests/simulation      the long run
python -m tests.simulation.run SEED --trace                  one seed, with all that happened
"""

from __future__ import annotations

import os
import subprocess
import sys
import zlib

import pytest

from tiercluster.tiermap import FIRST_LEVEL, LEVEL

from .world import World

SEEDS = 200  # in the default suite; a world takes some 0.5 s
SLOW_SEEDS = int(os.environ.get("TIERCLUSTER_SEEDS", "2000"))
BATCH = 10


def run(seed: int) -> World:
    world = World(seed)
    try:
        world.run()
    except Exception as found:
        again = f"python -m tests.simulation.run {seed} --trace"
        raise AssertionError(f"seed {seed}: {found}\n{again}") from found
    return world


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_a_cluster_keeps_its_promises_in_worlds_from(first: int) -> None:
    for seed in range(first, first + BATCH):
        run(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(SEEDS, SLOW_SEEDS, BATCH))
def test_a_cluster_keeps_its_promises_in_many_more_worlds_from(first: int) -> None:
    for seed in range(first, first + BATCH):
        run(seed)


@pytest.mark.parametrize("seed", range(16))
def test_a_cluster_that_began_at_level_one_rises_in_the_midst_of_faults(seed: int) -> None:
    world = World(seed)
    world.consensus.level = FIRST_LEVEL
    world.loop.after(2.0, setattr, world.consensus, "level", LEVEL)
    world.run()
    levels = [state.map.level for state in world.consensus.states]
    assert (levels[0], levels[-1]) == (FIRST_LEVEL, LEVEL)


def test_one_seed_is_one_history() -> None:
    digests = [run(seed).loop.trace.digest for seed in (2, 2)]
    assert digests[0] == digests[1]
    assert digests[0] != run(3).loop.trace.digest


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_a_history_does_not_depend_on_the_order_of_sets(hash_seed: str) -> None:
    code = (
        "from tests.simulation.world import World; w = World(2); w.run(); "
        "print(w.loop.trace.digest)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(ran.stdout) == run(2).loop.trace.digest


def test_worlds_differ_enough_to_be_worth_running() -> None:
    judged = {seed: run(seed).checkers.promises.judged for seed in range(4)}
    assert all(counts["get"] > 20 and counts["set"] > 10 for counts in judged.values())
    assert len({zlib.crc32(repr(counts).encode()) for counts in judged.values()}) == len(judged)
