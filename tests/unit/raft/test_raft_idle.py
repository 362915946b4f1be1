"""Members that had nothing to say for a long time find a leader at the first election."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests.simulation.raft.raft_world import STEP_S, Weather, World
from tiercluster.tiermap.raft.settings import ReplicaSettings

CALM = Weather(crash=0, compact=0, blip=0, usurp=0)
IDLE_S = 20.0  # ten times as long as a link may be silent
# Its timeout, then asking who would vote, the votes, and a first heartbeat: each step is a way.
FIRST_S = ReplicaSettings("a", "h:1", (), Path()).election_max_s + 6 * STEP_S


def pass_by(world: World, seconds: float) -> None:
    until = world.clock.now + seconds
    while world.clock.now < until:
        world._step(1.0)


@pytest.mark.parametrize("seed", range(12))  # a link that is closed now and then is so at some
def test_h17_the_first_election_after_an_idle_time_finds_a_leader(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Followers have nothing to say to each other while a leader lives: theirs is the idle link.
    Only one of them stands, so that no split vote is taken for a lost one."""
    with closing(World(seed, tmp_path, monkeypatch, weather=CALM)) as world:
        world.heal()
        pass_by(world, IDLE_S)
        (led,) = (name for name in world.names if world.members[name].consensus.is_leader)
        term = world.members[led].consensus.raftCurrentTerm
        world.crash(led)
        stands, votes = world.rng.sample(sorted(world.members), 2)
        consensus, until = world.members[stands].consensus, world.clock.now + FIRST_S
        while not (consensus.is_leader and consensus.has_quorum(world.clock.now)):
            assert world.clock.now < until, "the first election found nobody"
            world.clock.now += STEP_S
            world.tick(stands)
            for way in ((stands, votes), (votes, stands)):
                while world.deliver(*way):
                    pass
        assert consensus.raftCurrentTerm == term + 1
