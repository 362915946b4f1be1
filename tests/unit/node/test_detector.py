"""The detector: reports what is silent, and grants nothing to whom it may have reported."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tiercluster.node.detector import LEAD_S, Back, Detector, Silent
from tiercluster.node.settings import DetectorSettings
from tiercluster.tiermap import (
    MapState,
    Member,
    NodeState,
    OutcomeCode,
    ReportReachable,
    ReportUnreachable,
    TierMap,
    apply,
    outcome_of,
)

RULES = DetectorSettings()
NOBODY: frozenset[str] = frozenset()


def a_map(*members: Member) -> TierMap:
    return TierMap(members=(Member("n1", "a:1", incarnation="n1#1"), *members))


N2 = Member("n2", "b:1", incarnation="n2#1")
N3 = Member("n3", "c:1", incarnation="n3#1")
REPORTED = replace(N2, unreachable_by=("n1",))


class Run:
    def __init__(self, tier_map: TierMap) -> None:
        self.map = tier_map
        self.detector = Detector(RULES, "n1")
        self.now = 100.0
        self.tick()

    def tick(self, unsettled: frozenset[str] = NOBODY) -> tuple[Silent | Back, ...]:
        """A tick, then a turn of the shard, which obeys."""
        self.watch = self.detector.tick(self.now, self.map, unsettled)
        self.detector.shard_turned(self.now, self.watch.withheld)
        return self.watch.findings

    def run(self, seconds: float, *heard: str) -> tuple[Silent | Back, ...]:
        """Ticks of 50 ms, all ``heard`` at each; the findings of the last."""
        for _ in range(round(seconds / 0.05)):
            self.now += 0.05
            for node in heard:
                self.detector.heard(node, f"{node}#1", self.now, False)
            findings = self.tick()
        return findings


def test_a_silent_member_is_reported_after_the_timeout_and_the_heard_one_is_not() -> None:
    run = Run(a_map(N2, N3))
    assert run.run(0.45, "n3") == ()
    (found,) = run.run(0.15, "n3")
    assert isinstance(found, Silent)
    assert (found.node, found.incarnation) == ("n2", "n2#1")
    assert found.silent_s > RULES.down_after_s


def test_grants_stop_before_the_report() -> None:
    run = Run(a_map(N2))
    run.now += RULES.down_after_s - LEAD_S / 2
    run.detector.heard("n9", "n9#1", run.now, False)
    run.detector._ticked_at = run.now - 0.05
    assert run.tick() == ()
    assert run.watch.withheld == {"n2"}


def test_a_report_is_made_until_the_map_shows_it_and_never_again() -> None:
    run = Run(a_map(N2, N3))
    assert run.run(0.6, "n3")
    run.map = a_map(REPORTED, N3)
    assert run.run(0.6, "n3") == ()
    assert run.watch.withheld == {"n2"}


def test_a_member_heard_again_is_withdrawn_and_granted_only_when_that_is_applied() -> None:
    run = Run(a_map(REPORTED, N3))
    assert run.run(0.1, "n2", "n3") == (Back("n2", "n2#1"),)
    assert run.watch.withheld == {"n2"}
    run.map = a_map(N2, N3)
    assert run.run(0.1, "n2", "n3") == ()
    assert run.watch.withheld == set()


def test_while_a_report_is_under_way_there_is_no_grant_whatever_is_heard() -> None:
    run = Run(a_map(N2))
    run.detector.heard("n2", "n2#1", run.now, False)
    assert run.tick(frozenset({"n2"})) == ()
    assert run.watch.withheld == {"n2"}


def test_goodbye_is_reported_at_once() -> None:
    run = Run(a_map(N2))
    run.detector.heard("n2", "n2#1", run.now, True)
    assert run.tick() == (Silent("n2", "n2#1", 0.0),)
    run.detector.heard("n2", "n2#1", run.now, False)
    assert run.tick() == (Silent("n2", "n2#1", 0.0),), "an old ping took its goodbye back"


def test_a_new_incarnation_begins_with_a_fresh_timer_and_no_goodbye() -> None:
    run = Run(a_map(N2))
    run.detector.heard("n2", "n2#1", run.now, True)
    run.map = a_map(replace(N2, incarnation="n2#2"))
    assert run.run(0.4) == ()
    assert run.run(0.2) != ()


def test_pings_of_an_earlier_incarnation_do_not_count() -> None:
    run = Run(a_map(replace(N2, incarnation="n2#2")))
    assert run.run(0.6, "n2") != ()


def test_a_node_that_stalled_itself_starts_its_timers_anew() -> None:
    run = Run(a_map(N2, N3))
    run.run(0.3, "n2", "n3")
    run.now += 30
    assert run.tick() == ()
    assert run.watch.stalled_s >= 30
    assert run.run(0.4) == ()
    assert len(run.run(0.2)) == 2


def test_a_node_that_joins_late_does_not_report_whom_it_could_not_hear() -> None:
    others = (N2, N3)
    run = Run(TierMap(members=others))
    run.run(5)
    run.map = a_map(*others)
    assert run.run(0.4) == ()
    assert len(run.run(0.2)) == 2


def test_who_is_not_up_is_nobody_s_business() -> None:
    run = Run(a_map(replace(N2, state=NodeState.DOWN), replace(N3, state=NodeState.LEFT)))
    assert run.run(1) == ()
    assert run.watch.withheld == set()


class Reporter:
    """One reporting member over the true state machine, with slow and repeated proposals."""

    def __init__(self) -> None:
        self.detector = Detector(RULES, "n1")
        self.state = MapState(a_map(N2))
        self.sent: list[tuple[float, ReportUnreachable | ReportReachable]] = []
        self.pending: ReportUnreachable | ReportReachable | None = None
        self.count = 0
        self.withheld: frozenset[str] = frozenset()

    def tick(self, now: float, delay: float) -> None:
        for due, command in list(self.sent):
            if due <= now:
                self.sent.remove((due, command))
                self.state = apply(self.state, command)
        if self.pending and outcome_of(self.state, self.pending.id):
            self.pending = None
        is_report = isinstance(self.pending, ReportUnreachable)
        unsettled = frozenset({"n2"}) if is_report else NOBODY
        watch = self.detector.tick(now, self.state.map, unsettled)
        self.withheld = watch.withheld
        for finding in watch.findings:
            if self.pending is None:
                kind = ReportUnreachable if isinstance(finding, Silent) else ReportReachable
                self.count += 1
                self.pending = kind(id=f"c{self.count}", by="n1", node="n2", incarnation="n2#1")
                self.sent += [(now + delay, self.pending), (now + 2 * delay, self.pending)]


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.booleans(),  # n2 pings in this step
            st.sampled_from([0.02, 0.05, 0.1, 0.25, 0.9]),  # length of the step: our clock's ticks
            st.floats(0.0, 1.5),  # until a proposal is applied
            st.floats(0.0, 0.1),  # network delay of the ping
        ),
        max_size=60,
    ),
    st.floats(-5000.0, 5000.0),
)
def test_when_a_member_becomes_down_its_lease_has_run_out(
    steps: list[tuple[bool, float, float, float]], offset: float
) -> None:
    """n2's clock is another one (``offset``): only what it sent and got back counts for its lease.
    n1 alone decides here, the smallest majority there is."""
    n1, now, lease_until = Reporter(), 1000.0, float("-inf")
    n1.tick(now, 0.0)
    for pings, step, delay, lag in steps:
        sent_at = now + offset
        now += step
        if pings:
            n1.detector.heard("n2", "n2#1", now, False)
            if "n2" not in n1.withheld and lag <= step:
                lease_until = max(lease_until, sent_at + RULES.lease_s)
        n1.tick(now, delay)
        member = n1.state.map.member("n2")
        assert member is not None
        if member.state is NodeState.DOWN:
            assert now + offset > lease_until, "two owners"
            break
    assert all(o.code is not OutcomeCode.UNKNOWN for o in n1.state.outcomes)


def test_a_late_tick_withholds_first_and_reports_only_at_the_next() -> None:
    run = Run(a_map(N2))
    run.run(0.4)
    run.now += 0.25  # late, but no stall
    assert run.tick() == ()
    assert run.watch.withheld == {"n2"}
    assert len(run.run(0.05)) == 1


def test_a_shard_that_has_not_obeyed_yet_holds_the_report_back() -> None:
    run = Run(a_map(N2))
    run.run(0.4)
    for _ in range(20):
        run.now += 0.05
        watch = run.detector.tick(run.now, run.map, NOBODY)
        assert watch.findings == ()
    assert watch.withheld == {"n2"}


def test_a_shard_that_was_stopped_heard_nobody_and_says_nothing_about_them() -> None:
    run = Run(a_map(N2))
    run.run(0.3)
    for _ in range(10):  # the shard is stuck, the control worker is not
        run.now += 0.05
        run.detector.tick(run.now, run.map, NOBODY)
    assert run.detector.shard_turned(run.now, frozenset({"n2"})) > RULES.stall_s
    assert run.run(0.4) == ()
    assert len(run.run(0.2)) == 1
