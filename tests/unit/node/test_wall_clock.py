"""A wall clock that jumps changes nothing: only monotonic clocks decide."""

from __future__ import annotations

import ast
from itertools import cycle
from pathlib import Path

import pytest

import tiercluster
from tests.unit.node.shard_world import key, only
from tests.unit.node.test_coordinator import World
from tests.unit.node.test_front import FrontWorld
from tiercluster.cluster.wire import Store
from tiercluster.node.messages import PeerHeard, ShardTurn, UseMap
from tiercluster.tiermap import Health, Tier, TierFailed

JUMPS = (1e9, 1e9 + 3600, 0.0, 4e9, -5.0, 1e9 - 86_400)
PACKAGE = Path(tiercluster.__file__).parent
# What the wall clock is read for: evidence in commands and events, the expiry of cold rows that
# outlive the process, the numbers of Raft sessions (which grow even if it was set back, see
# test_raft_links), and what people are shown.
WALL_CLOCK = {
    "node/control.py", "node/server.py", "tiermap/raft/replica.py",
    "cli/demo.py", "cli/doctor.py", "cli/change.py",
}  # fmt: skip


def test_the_wall_clock_is_read_where_it_decides_nothing_and_nowhere_else() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and (node.attr, ast.unparse(node.value)) in {
                ("time", "time"), ("time_ns", "time"), ("now", "datetime"), ("utcnow", "datetime"),
            }:  # fmt: skip
                found.add(str(path.relative_to(PACKAGE)))
    assert found == WALL_CLOCK


class Jumping(World):
    """A coordinator whose wall clock is another at each step."""

    def run(self, seconds: float) -> None:
        walls = cycle(JUMPS)
        for _ in range(round(seconds / 0.05)):
            self.now += 0.05
            self._do(self.node.handle(ShardTurn(self.now, self.withheld), self.now, next(walls)))
            super().run(0.0)
            for node in self.others:
                self._hear(node)
            self._do(self.node.tick(self.now, next(walls)))

    def _hear(self, node: str) -> None:
        member = self.state.map.member(node)
        if member is not None and node not in self.silent:
            heard = PeerHeard(node, member.incarnation, self.now, 0, "", False)
            self._do(self.node.handle(heard, self.now, next(cycle(JUMPS))))


def test_nobody_is_voted_out_and_nothing_fails_or_recovers_by_a_jump() -> None:
    calm, jumping = World("n2", "n3"), Jumping("n2", "n3")
    for world in (calm, jumping):
        world.run(5.0)
        world.trip()
        world.answer_probes(8.0)
        world.silent.add("n3")
        world.run(2.0)
    kinds = [[type(c).__name__ for c in world.proposed] for world in (calm, jumping)]
    assert kinds[0] == kinds[1]
    assert any(isinstance(c, TierFailed) for c in jumping.proposed)
    assert jumping.tier().health is Health.UP
    assert not any(log.event == "stalled" for log in jumping.logs)


@pytest.mark.parametrize("wall", JUMPS)
def test_a_lease_is_held_and_served_through_a_jump(wall: float) -> None:
    world = FrontWorld()
    world.front.turn(world.now, wall)
    world.granted()
    world.now += 0.1
    world.front.turn(world.now, wall)
    world.front.obey(UseMap(world.front.desk._state), world.now, wall)
    assert world.front._lease.state(world.now) == "held"


@pytest.mark.parametrize("tier", [Tier.HOT, Tier.WARM, Tier.COLD])
@pytest.mark.parametrize("wall", JUMPS)
def test_a_time_to_live_is_what_it_was(tier: Tier, wall: float) -> None:
    world = only(tier)
    world.send(Store(0, (key("k"),), (1,), b"\0", (10.0,)), b"v")
    world.tick()
    world.shard.use_wall(wall - world.now)
    world.tick(9.0)
    assert world.get("k") == b"v"
    world.tick(1.1)
    assert world.get("k") is None
