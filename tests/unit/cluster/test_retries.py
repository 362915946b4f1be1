"""The budget for retries, and who may ask a node that was not ready."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cluster.test_attempt import KEYS, World, incr, map_of
from tiercluster.cluster.attempt import Attempt
from tiercluster.cluster.errors import Unavailable
from tiercluster.cluster.plan import GetOp
from tiercluster.cluster.retries import (
    MAX_SAVED,
    POLL_S,
    RESERVE,
    RESERVE_PER_S,
    RETRY_SHARE,
    Retries,
)
from tiercluster.cluster.wire import Refusal, Status, Values


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 20), st.floats(0, 2)), min_size=1, max_size=80
    )
)
def test_retries_are_at_most_a_tenth_of_all_calls_beyond_the_reserve(
    rounds: list[tuple[int, int, float]],
) -> None:
    retries, calls, spent, now = Retries(), 0, 0, 100.0
    for called, wanted, passed_s in rounds:
        calls, now = calls + called, now + passed_s
        spent += sum(retries.spend(calls, now) for _ in range(wanted))
        most = RESERVE + RETRY_SHARE * calls + RESERVE_PER_S * (now - 100.0)
        assert spent <= most + 1e-6


def test_a_failing_cluster_gets_a_tenth_more_and_no_multiple() -> None:
    retries = Retries()
    granted = sum(retries.spend(call, call / 1000) for call in range(10_000))
    assert granted == pytest.approx(RESERVE + 1000 + 5, abs=10)
    assert retries.denied == 10_000 - granted


def test_what_a_quiet_time_saves_up_is_bounded() -> None:
    retries = Retries()
    granted = sum(retries.spend(10**6, 1.0) for _ in range(1000))
    assert granted == MAX_SAVED


def test_a_client_that_asks_seldom_may_retry_again_after_a_while() -> None:
    retries = Retries()
    assert sum(retries.spend(0, 0.0) for _ in range(50)) == RESERVE
    assert not retries.spend(0, 1.0)
    assert retries.spend(0, 3.0)


# --- in a call ----------------------------------------------------------------------------------


def empty() -> Retries:
    retries = Retries()
    while retries.spend(0, 0.0):
        pass
    retries.denied = 0
    return retries


def world_of(operation: GetOp, retries: Retries, deadline: float = 1.0) -> World:
    attempt = Attempt(operation, 0.0, deadline, lambda: 1.0, None, retries)
    return World(attempt, map_of())


def test_without_budget_a_call_that_was_shed_fails_at_once_and_says_why() -> None:
    retries = empty()
    world = world_of(incr(), retries)  # type: ignore[arg-type]
    ((_, _, _, ask),) = world.step()
    world.answer(ask, Status.SHED, Refusal("its inbox is full"))
    error = world.attempt.error
    assert isinstance(error, Unavailable)
    assert "its inbox is full; no retry left" in str(error)
    assert retries.denied == 1


def test_without_budget_a_silent_node_is_not_asked_again_and_may_still_answer() -> None:
    retries = empty()
    world = world_of(GetOp(KEYS[:1]), retries)
    ((_, _, _, ask),) = world.step()
    assert not any(world.step(now) for now in (0.2, 0.4, 0.6, 0.8))
    assert world.attempt.error is None
    assert 0 < retries.denied <= 3  # each time it was due, and not at each step
    world.answer(ask, Status.OK, Values((1,), b"\1"), b"x")
    assert world.attempt.is_done
    assert world.attempt.error is None


def test_with_budget_a_silent_node_is_asked_again() -> None:
    world = world_of(GetOp(KEYS[:1]), Retries())
    world.step()
    assert world.step(0.4)


def test_what_went_by_a_connection_that_was_lost_goes_once_more_without_budget() -> None:
    world = world_of(GetOp(KEYS[:1]), empty())
    ((node, rid, _, _),) = world.step()
    world.epochs[node] += 1
    ((_, again, is_retry, _),) = world.step(0.01)
    assert (again, is_retry) == (rid, True)
    world.epochs[node] += 1
    assert not world.step(0.02)


def test_a_route_is_corrected_and_a_node_is_waited_for_without_budget() -> None:
    for status in (Status.STALE_MAP, Status.RETRY):
        world = world_of(incr(), empty())  # type: ignore[arg-type]
        for number in range(8):
            ((_, _, _, ask),) = world.step(number * 0.1)
            world.answer(ask, status, Refusal("settling"))
        assert world.attempt.error is None


def test_one_call_asks_a_node_that_is_not_ready_and_the_others_wait_for_it() -> None:
    retries = Retries()
    worlds = [world_of(GetOp(KEYS[:1]), retries) for _ in range(100)]
    for world in worlds:
        ((_, _, _, ask),) = world.step()
        world.answer(ask, Status.RETRY, Refusal("settling"))
    asked = 0
    for tick in range(100, 600):
        now = tick / 1000
        for world in worlds:
            for _, _, _, ask in world.step(now):
                asked += 1
                world.answer(ask, Status.RETRY, Refusal("settling"))
    assert 10 <= asked <= 0.5 / POLL_S + 1
    now, done = 0.6, 0
    while done < 100 and now < 0.8:
        now += 0.001
        for world in worlds:
            for _, _, _, ask in world.step(now):
                world.answer(ask, Status.OK, Values((1,), b"\1"), b"x")
                done += 1
    assert done == 100
    assert now < 0.6 + 0.06 + 2 * POLL_S
