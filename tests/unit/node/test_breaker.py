"""The breaker: thresholds, one probe at a time, and nothing that wedges it."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiercluster.node.breaker import BUCKETS, Breaker, BreakerState
from tiercluster.node.failures import COUNTS, FailureKind
from tiercluster.node.settings import MiB, TierSettings

IO = FailureKind.IO_ERROR
RULES = TierSettings(MiB, trip_failures=5, trip_rate=0.5, window_s=10.0, cooldown_s=1.0)


def tripped(at: float = 0.0) -> Breaker:
    breaker = Breaker(RULES)
    assert [breaker.record_failure(at, IO) for _ in range(5)] == [False] * 4 + [True]
    return breaker


def test_the_fifth_failure_trips_and_only_it_says_so() -> None:
    breaker = tripped()
    assert not breaker.record_failure(0.0, IO)
    assert not breaker.allows(0.0)
    assert breaker.state(0.0) is BreakerState.OPEN


def test_one_failure_of_five_is_not_a_trip() -> None:
    breaker = Breaker(RULES)
    assert not breaker.record_failure(0.0, IO)
    assert breaker.allows(0.0)
    assert breaker.last_trip is None


def test_many_failures_below_the_rate_do_not_trip() -> None:
    breaker = Breaker(RULES)
    for _ in range(100):
        breaker.record_success(0.0)
    for _ in range(30):  # in fours, so never k in a row
        breaker.record_success(0.1)
        assert not any(breaker.record_failure(0.1, IO) for _ in range(4))
    breaker.record_success(0.1)
    assert not any(breaker.record_failure(0.1, IO) for _ in range(4))
    assert breaker.record_failure(0.1, IO)


def test_a_tier_that_dies_trips_at_the_fifth_failure_however_busy_it_was() -> None:
    breaker = Breaker(RULES)
    for _ in range(100_000):
        breaker.record_success(0.0)
    assert [breaker.record_failure(0.1, IO) for _ in range(5)] == [False] * 4 + [True]


def assert_the_fifth_trips(breaker: Breaker, is_write: bool, *, beside: bool) -> None:
    """Five failures of one way, before each a success of the way ``beside``."""
    tripped = []
    for _ in range(5):
        breaker.record_success(0.1, is_write=beside)
        tripped.append(breaker.record_failure(0.1, IO, is_write=is_write))
    assert tripped == [False] * 4 + [True]


@pytest.mark.parametrize("bad", [False, True], ids=["reads", "writes"])
def test_what_goes_well_one_way_does_not_hide_that_the_other_way_fails(bad: bool) -> None:
    breaker = Breaker(RULES)
    for _ in range(1000):
        breaker.record_success(0.0, is_write=False)
        breaker.record_success(0.0, is_write=True)
    assert_the_fifth_trips(breaker, bad, beside=not bad)


@pytest.mark.parametrize("bad", [False, True], ids=["reads", "writes"])
def test_the_rate_is_that_of_reads_and_that_of_writes(bad: bool) -> None:
    breaker = Breaker(RULES)
    for _ in range(1000):
        breaker.record_success(0.0, is_write=not bad)
    assert_the_fifth_trips(breaker, bad, beside=bad)


def test_reads_and_writes_that_both_fail_are_counted_together() -> None:
    breaker = Breaker(RULES)
    for _ in range(1000):
        breaker.record_success(0.0, is_write=False)
        breaker.record_success(0.0, is_write=True)
    ways = [False, True, False, True, False]
    tripped = [breaker.record_failure(0.1, IO, is_write=way) for way in ways]
    assert tripped == [False] * 4 + [True]


def test_failures_in_a_row_but_far_apart_do_not_trip() -> None:
    breaker = Breaker(RULES)
    for i in range(20):
        assert not breaker.record_failure(i * RULES.window_s / 3, IO)


def test_failures_older_than_the_window_are_forgotten() -> None:
    breaker = Breaker(RULES)
    for i in range(4):
        breaker.record_failure(i * 0.1, IO)
    assert not breaker.record_failure(10.5, IO)


def test_successes_older_than_the_window_do_not_hide_an_outage() -> None:
    breaker = Breaker(RULES)
    for _ in range(10_000):
        breaker.record_success(0.0)
    assert [breaker.record_failure(11.0, IO) for _ in range(5)][-1]


@pytest.mark.parametrize("kind", sorted(set(FailureKind) - COUNTS))
def test_overload_never_trips(kind: FailureKind) -> None:
    breaker = Breaker(RULES)
    assert not any(breaker.record_failure(0.0, kind) for _ in range(1000))
    assert breaker.state(0.0) is BreakerState.CLOSED


def test_overload_does_not_dilute_the_failure_rate_either() -> None:
    breaker = Breaker(RULES)
    for _ in range(1000):
        breaker.record_failure(0.0, FailureKind.SHED)
    assert [breaker.record_failure(0.0, IO) for _ in range(5)][-1]


def test_success_of_the_probe_lets_the_next_one_go_and_only_the_map_closes() -> None:
    breaker = tripped()
    assert breaker.try_probe(0.5) is None
    assert breaker.probe_wait_s(0.4) == pytest.approx(0.6)
    for at in (1.0, 1.2, 1.4):
        token = breaker.try_probe(at)
        assert token is not None
        breaker.probe_result(token, True, at + 0.1)
        assert breaker.state(at + 0.1) is BreakerState.HALF_OPEN
        assert not breaker.allows(at + 0.1)
    breaker.reset(1.6)
    assert breaker.state(1.6) is BreakerState.CLOSED
    assert not breaker.record_failure(1.7, IO), "failures from before the trip were kept"


def test_a_closed_breaker_has_forgotten_the_whole_outage() -> None:
    breaker = Breaker(RULES)
    for at in (0.0, 2.0, 4.0, 6.0, 8.0):  # a bucket each
        breaker.record_failure(at, IO)
    breaker.reset(8.1)
    assert not any(breaker.record_failure(8.2, IO) for _ in range(4))


def test_failure_of_the_probe_opens_for_another_cooldown() -> None:
    breaker = tripped()
    token = breaker.try_probe(1.0)
    assert token is not None
    breaker.probe_result(token, False, 1.5)
    assert breaker.state(2.4) is BreakerState.OPEN
    assert breaker.try_probe(2.4) is None
    assert breaker.try_probe(2.5) is not None


def test_the_herd_does_not_return_through_a_half_open_breaker() -> None:
    breaker = tripped()
    assert breaker.state(1.0) is BreakerState.HALF_OPEN
    assert breaker.try_probe(1.0) is not None
    assert all(breaker.try_probe(1.5) is None for _ in range(100))
    assert not breaker.allows(1.5)


def test_a_probe_that_is_never_answered_gives_way_to_another() -> None:
    breaker = tripped()
    lost = breaker.try_probe(1.0)
    second = breaker.try_probe(2.0)
    assert lost is not None
    assert second is not None
    breaker.probe_result(lost, True, 2.1)
    assert breaker.is_probing(2.1), "a void token ended the other probe"
    breaker.probe_result(second, True, 2.2)
    assert not breaker.is_probing(2.2)


def test_a_probe_may_take_the_deadline_of_an_operation_before_it_makes_way() -> None:
    breaker = Breaker(replace(RULES, cooldown_s=0.3, deadline_s=0.9))
    breaker.trip(0.0, FailureKind.DEAD)
    assert breaker.try_probe(1.0) is not None
    assert breaker.try_probe(1.8) is None
    assert breaker.try_probe(1.9) is not None


def test_results_from_before_the_trip_change_nothing_after_it() -> None:
    breaker = Breaker(RULES)
    old = breaker.epoch
    for _ in range(5):
        breaker.record_failure(0.0, IO)
    breaker.record_success(0.1, old)
    assert not breaker.allows(0.1), "a late success closed it"
    breaker.reset(2.0)
    assert not any(breaker.record_failure(2.1, IO, old) for _ in range(50))
    for _ in range(50):
        breaker.record_success(2.1, old)
    assert [breaker.record_failure(2.2, IO, breaker.epoch) for _ in range(5)][-1]


def test_a_probe_from_before_a_reset_does_not_touch_the_next_trip() -> None:
    breaker = tripped()
    old = breaker.try_probe(1.0)
    assert old is not None
    breaker.reset(1.1)
    for _ in range(5):
        breaker.record_failure(1.2, IO)
    assert breaker.try_probe(2.2) is not None
    breaker.probe_result(old, False, 2.3)
    assert breaker.state(2.3) is BreakerState.HALF_OPEN
    assert breaker.is_probing(2.3)


def test_a_dead_worker_trips_at_once() -> None:
    breaker = Breaker(RULES)
    assert breaker.trip(3.0, FailureKind.DEAD)
    assert not breaker.trip(3.0, FailureKind.DEAD)
    assert breaker.last_trip is not None
    assert breaker.last_trip.kind is FailureKind.DEAD


def test_the_trip_keeps_its_evidence() -> None:
    breaker = Breaker(RULES)
    breaker.record_success(0.0)
    for at in (1.0, 2.0, 3.0, 4.0, 5.0):
        breaker.record_failure(at, IO)
    trip = breaker.last_trip
    assert trip is not None
    assert (trip.at, trip.failures, trip.calls, trip.first_error_at) == (5.0, 5, 6, 1.0)


def test_memory_stays_bounded_by_the_buckets() -> None:
    breaker = Breaker(RULES)
    for i in range(5000):
        breaker.record_success(i * 0.37)
    assert len(breaker._past) <= BUCKETS + 1


class Counted(NamedTuple):
    at: float
    is_write: bool
    ok: bool


def causes(calls: list[Counted], now: float) -> set[bool]:
    """Whether the calls since it closed are what a breaker opens on: for each window that it may
    look at, which are those that are up to one step shorter than it says."""
    longest = now - RULES.window_s
    cuts = [c.at for c in calls if longest < c.at <= longest + RULES.window_s / BUCKETS]
    return {has_cause(calls, since) for since in (longest, *cuts)}


def has_cause(calls: list[Counted], since: float) -> bool:
    enough, recent = RULES.trip_failures, [call for call in calls if call.at > since]
    if sum(not c.ok for c in recent) < enough:
        return False
    if in_a_row(calls, False) + in_a_row(calls, True) >= enough:
        return True
    for ways in ({False}, {True}, {False, True}):
        results = [call.ok for call in recent if call.is_write in ways]
        if results.count(False) >= max(enough, RULES.trip_rate * len(results)):
            return True
    return False


def in_a_row(calls: list[Counted], is_write: bool) -> int:
    same = [call.ok for call in reversed(calls) if call.is_write is is_write]
    return same.index(True) if True in same else len(same)


STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 3.0),
        st.sampled_from(["ok", "fail", "overload", "probe", "good", "bad", "lost", "reset"]),
        st.booleans(),
    ),
    max_size=120,
)


@settings(max_examples=150)
@given(STEPS)
def test_whatever_happens_it_trips_only_with_cause_and_never_wedges(
    steps: list[tuple[float, str, bool]],
) -> None:
    breaker, now, out = Breaker(RULES), 0.0, None
    calls: list[Counted] = []  # the plain model: every counted call since it closed
    for wait, step, is_write in steps:
        now += wait
        before = (breaker.state(now), breaker.allows(now))
        assert before == (breaker.state(now), breaker.allows(now)), "a read changed something"
        match step:
            case "ok":
                if breaker.allows(now):
                    calls.append(Counted(now, is_write, True))
                breaker.record_success(now, breaker.epoch, is_write=is_write)
            case "fail" if breaker.allows(now):
                calls.append(Counted(now, is_write, False))
                did_trip = breaker.record_failure(now, IO, breaker.epoch, is_write=is_write)
                assert did_trip in causes(calls, now)
                if did_trip:
                    calls.clear()
            case "overload":
                assert not breaker.record_failure(now, FailureKind.FULL)
            case "probe":
                token = breaker.try_probe(now)
                if token is not None and out is not None:
                    assert now >= out[1] + RULES.cooldown_s, "two probes at once"
                out = (token, now) if token is not None else out
            case "good" | "bad" if out is not None:
                breaker.probe_result(out[0], step == "good", now)
                out = None
            case "reset":
                breaker.reset(now)
                calls.clear()
                out = None
    if not breaker.allows(now):
        token = breaker.try_probe(now + RULES.cooldown_s + 0.001)
        assert token is not None, "wedged"
        breaker.probe_result(token, True, now + 2)
        assert not breaker.allows(now + 2)
        breaker.reset(now + 2)
        assert breaker.allows(now + 2)
