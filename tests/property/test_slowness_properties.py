"""Whatever the disks of a cluster do: what may be taken out for being slow, and what may not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tiercluster.node.messages import PeerPaced
from tiercluster.node.pace import IDLE, Pace, PaceMeter
from tiercluster.node.settings import NodeSettings
from tiercluster.node.slow_tiers import SlowTiers
from tiercluster.tiermap import (
    Command,
    MapState,
    NodeJoined,
    Tier,
    TierRecovered,
    TierRef,
    apply,
    outcome_of,
)

NODES = ("n1", "n2", "n3", "n4", "n5")
paces = st.sampled_from([Pace(), Pace(0.001, 50), Pace(0.02, 50), Pace(0.2, 50), Pace(0.2, 5)])
seconds = st.lists(st.tuples(*[paces] * len(NODES)), min_size=1, max_size=60)


def joined(count: int) -> MapState:
    state = MapState()
    for node in NODES[:count]:
        state = apply(state, NodeJoined(id=f"j{node}", by=node, node=node, cluster="c",
                                        address=f"{node}:1", incarnation=f"{node}#1"))  # fmt: skip
    return state


class Cluster:
    """Every member judges itself, and what it wants is applied at once."""

    def __init__(self, count: int) -> None:
        self.state, self.now, self.proposed = joined(count), 0.0, 0
        self.nodes = {n: SlowTiers(NodeSettings(id=n, listen="a:1")) for n in NODES[:count]}

    def second(self, told: tuple[Pace, ...]) -> None:
        self.now += 1.0
        for (node, slow), pace in zip(self.nodes.items(), told, strict=False):
            slow.mine((IDLE, IDLE, (pace, Pace())), f"{node}#1", self.now)
            said = PeerPaced(node, f"{node}#1", Tier.COLD, (pace, Pace()))
            for other, theirs in self.nodes.items():
                if other != node:
                    theirs.peer(said, self.now)
        for slow in self.nodes.values():
            slow.tick(self.state.map, self.now)
        for slow in self.nodes.values():  # all by the same map, as members at once do
            for desire in slow.desires(self.state.map):
                self.propose(slow, desire.command)

    def propose(self, slow: SlowTiers, command: Command) -> None:
        self.proposed += 1
        object.__setattr__(command, "id", f"c{self.proposed}")
        self.state = apply(self.state, command)
        outcome = outcome_of(self.state, command.id)
        assert outcome is not None
        slow.settled(command, outcome)

    def out(self) -> list[str]:
        return [m.id for m in self.state.map.members if not m.tier(Tier.COLD).is_usable]

    def bring_back(self) -> None:
        for node in self.out():
            member = self.state.map.member(node)
            assert member is not None
            ref, generation = TierRef(node, Tier.COLD), member.tier(Tier.COLD).generation
            self.proposed += 1
            self.state = apply(self.state, TierRecovered(id=f"c{self.proposed}", by=node, ref=ref,
                                                         generation=generation))  # fmt: skip


@given(st.integers(1, len(NODES)), seconds)
def test_at_most_one_goes_at_a_time_and_two_are_left(
    count: int, told: list[tuple[Pace, ...]]
) -> None:
    cluster = Cluster(count)
    for number, second in enumerate(told):
        cluster.second(second)
        assert len(cluster.out()) <= 1
        assert not cluster.out() or count >= 3
        if number % 20 == 19:
            cluster.bring_back()


@given(st.integers(1, len(NODES)), paces, st.integers(1, 60))
def test_nobody_goes_where_all_are_alike(count: int, pace: Pace, long: int) -> None:
    cluster = Cluster(count)
    for _ in range(long):
        cluster.second((pace,) * count)
    assert not cluster.out()
    assert all(slow.found == 0 for slow in cluster.nodes.values())


@given(st.lists(st.floats(0, 100), min_size=1, max_size=200))
def test_a_pace_is_never_below_the_true_one_and_at_most_a_quarter_above(took: list[float]) -> None:
    meter = PaceMeter(10.0)
    for one in took:
        meter.record(one, 0.0)
    in_order = sorted(took)
    true_s = min(in_order[max(0, -(-len(took) * 95 // 100) - 1)], 2**26 / 1e6)
    pace = meter.pace(0.0)
    assert pace.operations == len(took)
    assert true_s - 1e-6 <= pace.p95_s <= true_s * 1.25 + 4e-6
