"""Gray failure: when a tier that works is called slow, and what its node makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.node.test_coordinator import SETTINGS, World, join
from tiercluster.cluster.wire import Paced
from tiercluster.node.messages import PeerPaced, Probed, RunProbe, ShardStats, TierStats
from tiercluster.node.pace import IDLE, Pace, PaceMeter
from tiercluster.node.pace_talk import heard, told
from tiercluster.node.settings import SlownessSettings
from tiercluster.node.slowness import FRESH_S, Slow, Slowness
from tiercluster.tiermap import (
    SLOW,
    TIERS,
    Drain,
    Health,
    MapState,
    NodeStopped,
    OutcomeCode,
    Tier,
    TierFailed,
    TierMap,
    TierRecovered,
    TierRef,
    apply,
    outcome_of,
)
from tiercluster.tiermap.guard import refusal_of_slow

RULES = SlownessSettings()
FAST, SICK = Pace(0.002, 100), Pace(0.1, 100)


def cluster(*nodes: str) -> MapState:
    state = MapState()
    for node in nodes:
        state = apply(state, join(node))
    return state


# --- the meter ----------------------------------------------------------------------------------


def test_a_pace_is_the_slowest_of_twenty_to_a_quarter() -> None:
    meter = PaceMeter(10.0)
    for number in range(100):
        meter.record(0.05 if number >= 95 else 0.001, 1.0)
    assert meter.pace(1.0) == Pace(pytest.approx(0.001, rel=0.25), 100)
    for _ in range(5):
        meter.record(0.05, 1.0)
    assert meter.pace(1.0) == Pace(pytest.approx(0.05, rel=0.25), 105)


def test_a_pace_forgets_what_is_older_than_its_window() -> None:
    meter = PaceMeter(10.0)
    meter.record(0.05, 0.0)
    assert meter.pace(5.0).operations == 1
    assert meter.pace(10.1) == Pace()
    meter.record(0.001, 100.0)
    assert meter.pace(100.0).operations == 1


@pytest.mark.parametrize("took_s", [0.0, 1e-6, 1.0, 59.0, 3600.0])
def test_any_duration_has_its_place(took_s: float) -> None:
    meter = PaceMeter(10.0)
    meter.record(took_s, 0.0)
    assert min(took_s, 67.0) <= meter.pace(0.0).p95_s <= min(took_s, 67.2) * 1.25 + 2e-6


# --- the judgement ------------------------------------------------------------------------------


class Judge:
    """n1 and its peers, told about once a second."""

    def __init__(self, *peers: str, rules: SlownessSettings = RULES) -> None:
        self.map: TierMap = cluster("n1", *peers).map
        self.core = Slowness("n1", rules)
        self.now = 0.0

    def second(self, mine: Pace, *peers: Pace, at: int = 0) -> list[Slow]:
        """One second in which reads (``at`` 0) or writes (1) went at these paces."""
        self.now += 1.0
        self.core.mine((IDLE, IDLE, self._pair(mine, at)), "n1-t#1", self.now)
        for number, pace in enumerate(peers, 2):
            node = f"n{number}"
            said = PeerPaced(node, f"{node}-t#1", Tier.COLD, self._pair(pace, at))
            self.core.peer(said, self.now)
        return self.core.judge(self.map, self.now)

    def _pair(self, pace: Pace, at: int) -> tuple[Pace, Pace]:
        return (pace, Pace()) if at == 0 else (Pace(), pace)

    def seconds(self, count: int, mine: Pace, *peers: Pace, at: int = 0) -> list[Slow]:
        return [self.second(mine, *peers, at=at) for _ in range(count)][-1]


@pytest.mark.parametrize("at", [0, 1])
def test_a_tier_is_slow_that_is_far_above_its_peers_for_a_while(at: int) -> None:
    judge = Judge("n2", "n3")
    assert not judge.seconds(8, SICK, FAST, FAST, at=at)
    (slow,) = judge.second(SICK, FAST, FAST, at=at)
    assert (slow.tier, slow.work) == (Tier.COLD, ("reads", "writes")[at])
    assert slow.may_act
    assert slow.text == f"p95 of {slow.work} 100.0 ms against 2.0 ms of its peers"
    assert dict(slow.evidence)["bar_ms"] == 30.0


@pytest.mark.parametrize(
    ("why", "mine", "peers"),
    [
        ("all are equally slow", SICK, (SICK, SICK)),
        ("half of its peers are as slow", SICK, (SICK, FAST)),
        ("it is below the floor, however fast the others are", Pace(0.029, 100), (FAST, FAST)),
        ("it has done too little", Pace(0.1, 9), (FAST, FAST)),
        ("its peers have done too little", SICK, (Pace(0.002, 9), Pace(0.002, 9))),
        ("its peers are idle", SICK, (Pace(), Pace())),
        ("nobody else is there", SICK, ()),
    ],
)
def test_no_alarm_when(why: str, mine: Pace, peers: tuple[Pace, ...]) -> None:
    judge = Judge("n2", "n3")
    assert not judge.seconds(60, mine, *peers), why


def test_a_pause_in_between_begins_the_time_anew() -> None:
    judge = Judge("n2", "n3")
    judge.seconds(8, SICK, FAST, FAST)
    judge.second(FAST, FAST, FAST)
    assert not judge.seconds(8, SICK, FAST, FAST)
    assert judge.second(SICK, FAST, FAST)


def test_the_one_peer_of_a_pair_is_no_reason_to_act() -> None:
    judge = Judge("n2")
    (slow,) = judge.seconds(9, SICK, FAST)
    assert not slow.may_act


def test_figures_that_are_old_or_of_an_earlier_stint_say_nothing() -> None:
    judge = Judge("n2", "n3")
    judge.seconds(9, SICK, FAST, FAST)
    judge.now += FRESH_S + 0.1
    assert not judge.core.judge(judge.map, judge.now)
    judge.seconds(9, SICK, FAST, FAST)
    for node in ("n2", "n3"):
        judge.core.peer(PeerPaced(node, "before", Tier.COLD, (FAST, FAST)), judge.now)
    assert not judge.core.judge(judge.map, judge.now)


def test_a_peer_whose_tier_is_out_of_service_is_no_measure() -> None:
    judge = Judge("n2", "n3", "n4")
    judge.seconds(9, SICK, FAST, SICK, SICK)
    for node in ("n3", "n4"):
        member = judge.map.member(node)
        assert member is not None
        out = replace(
            member, tiers=(*member.tiers[:2], replace(member.tiers[2], health=Health.DOWN))
        )
        members = tuple(out if m.id == node else m for m in judge.map.members)
        judge.map = replace(judge.map, members=members)
    (slow,) = judge.seconds(9, SICK, FAST, SICK, SICK)
    assert slow.peers == 1


def test_a_member_that_left_is_forgotten() -> None:
    judge = Judge("n2", "n3")
    judge.second(SICK, FAST, FAST)
    judge.map = cluster("n1", "n2").map
    judge.second(SICK, FAST)
    assert "n3" not in repr(judge.core._told.keys())


def test_what_is_told_of_a_pace_is_heard_as_it_was() -> None:
    read, write = Pace(0.0125, 40), Pace(0.5, 3)
    stats = ShardStats((TierStats(0, 0, 1, 0, 0),) * 3, (), ("closed",) * 3,
                       (IDLE, IDLE, (read, write)))  # fmt: skip
    (said,) = told("n2", "i", stats, 20)
    assert heard(said) == PeerPaced("n2", "i", Tier.COLD, (read, write))
    assert told("n2", "i", stats, 41) == []
    with pytest.raises(ValueError, match="tepid"):
        heard(Paced("n2", "i", "tepid", 0, 0, 0, 0))


# --- in the state machine -----------------------------------------------------------------------


def slow_command(state: MapState, node: str, number: int = 1) -> TierFailed:
    member = state.map.member(node)
    assert member is not None
    generation = member.tier(Tier.COLD).generation
    return TierFailed(id=f"slow-{node}-{number}", by=node, ref=TierRef(node, Tier.COLD),
                      generation=generation, reason=f"{SLOW}p95 of reads")  # fmt: skip


def code(state: MapState, command: TierFailed) -> OutcomeCode:
    outcome = outcome_of(state, command.id)
    assert outcome is not None
    return outcome.code


def test_one_slow_tier_of_a_class_goes_and_no_second_one_however_many_there_are() -> None:
    nodes = [f"n{i}" for i in range(1, 10)]
    state = cluster(*nodes)
    first, second = slow_command(state, "n1"), slow_command(state, "n2")
    state = apply(apply(state, first), second)
    assert (code(state, first), code(state, second)) == (OutcomeCode.DONE, OutcomeCode.REFUSED)
    n2 = state.map.member("n2")
    assert n2 is not None
    assert n2.tier(Tier.COLD).state == "UP"
    assert not n2.tier(Tier.COLD).suspect  # it works, and goes on
    assert state.map.version == 10


def test_a_slow_tier_stays_while_another_is_out_for_any_reason() -> None:
    drained = Drain(id="d", by="op", node="n2", tiers=(Tier.COLD,))
    stopped = NodeStopped(id="s", by="n2", node="n2", incarnation="n2-t#1")
    for reason in (drained, stopped):
        state = apply(cluster("n1", "n2", "n3", "n4"), reason)
        command = slow_command(state, "n1")
        assert code(apply(state, command), command) is OutcomeCode.REFUSED


def test_at_level_one_a_slow_tier_is_judged_as_its_members_judge_it() -> None:
    """They know of no slow tiers: for them it has failed. So nobody asks for it there."""
    state = cluster("n1", "n2")
    older = tuple(replace(m, level=1) for m in state.map.members)
    state = replace(state, map=replace(state.map, members=older, replicas=0))
    command = slow_command(state, "n1")
    assert "level 1" in refusal_of_slow(state.map, command.ref)
    assert code(apply(state, command), command) is OutcomeCode.DONE


def test_a_slow_tier_stays_where_fewer_than_two_would_be_left() -> None:
    for nodes in (("n1",), ("n1", "n2")):
        state = cluster(*nodes)
        command = slow_command(state, "n1")
        assert code(apply(state, command), command) is OutcomeCode.REFUSED
    state = cluster("n1", "n2", "n3")
    command = slow_command(state, "n1")
    assert code(apply(state, command), command) is OutcomeCode.DONE


# --- in the coordinator -------------------------------------------------------------------------


def tell_paces(world: World, mine: Pace, *peers: Pace, seconds: int = 10) -> None:
    """Seconds at these paces; the probes that are asked for are answered in 1 ms."""
    for _ in range(seconds):
        counted = (TierStats(0, 0, 1, 0, 0),) * 3
        paces = (IDLE, IDLE, (mine, Pace()))
        world.tell(ShardStats(counted, (), ("closed",) * 3, paces))
        for node, pace in zip(world.others, peers, strict=False):
            said = PeerPaced(node, f"{node}-t#1", Tier.COLD, (pace, Pace()))
            world.tell(said)
        world.run(1.0)


def test_a_slow_tier_is_taken_out_with_the_figures_and_keeps_its_data() -> None:
    world = World("n2", "n3")
    tell_paces(world, SICK, FAST, FAST)
    record = world.tier()
    assert record.health is Health.DOWN
    assert record.reason == "slow: p95 of reads 100.0 ms against 2.0 ms of its peers"
    assert dict(record.evidence)["peers"] == 2
    assert len([c for c in world.of(TierFailed) if c.is_slow]) == 1
    (line,) = world.logged("tier_slow")
    assert line["goes"] is True
    world.answer_probes(8)
    assert (world.tier().health, world.tier().generation) == (Health.UP, 1)
    assert world.of(TierRecovered)[-1].keep


def test_a_probe_that_is_slow_does_not_bring_it_back() -> None:
    world = World("n2", "n3")
    tell_paces(world, SICK, FAST, FAST)
    for took_s, health in ((0.061, Health.DOWN), (0.059, Health.UP)):
        for _ in range(400):
            orders, world.orders = world.orders, []
            for order in orders:
                if isinstance(order, RunProbe):
                    world.tell(Probed(order.tier, None, took_s))
            world.run(0.05)
        assert world.tier().health is health


def test_of_what_may_not_go_it_is_told_once_and_nothing_is_proposed() -> None:
    world = World("n2")
    tell_paces(world, SICK, FAST, seconds=20)
    assert world.tier().health is Health.UP
    assert not world.of(TierFailed)
    (line,) = world.logged("tier_slow")
    assert line["stays_because"] == "one peer alone cannot tell which of the two is slow"
    assert world.node.counters["slow_tiers_kept"] == 1


def test_it_is_told_again_when_it_may_go_after_all() -> None:
    world = World("n2", "n3")
    world.commit(Drain(id="d", by="op", node="n3", tiers=(Tier.COLD,)))
    world.others = ["n2", "n4"]
    world.commit(join("n4"))
    tell_paces(world, SICK, FAST, FAST)
    assert not world.of(TierFailed)
    assert "n3/cold is out already" in str(world.logged("tier_slow")[-1]["stays_because"])


def test_a_tier_that_has_tripped_is_not_slow_besides() -> None:
    world = World("n2", "n3")
    world.commits = False
    world.trip()
    tell_paces(world, SICK, FAST, FAST)
    assert {c.reason for c in world.of(TierFailed)} == {"io_error"}


def test_ejection_can_be_turned_off() -> None:
    assert SETTINGS.slowness.eject
    judge = Judge("n2", "n3", rules=replace(RULES, eject=False))
    assert judge.seconds(10, SICK, FAST, FAST)


def test_hot_and_warm_are_memory_and_are_not_measured() -> None:
    assert ShardStats((), (), ()).paces == (IDLE,) * len(TIERS)
