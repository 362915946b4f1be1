"""Who is voted out, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tiercluster.tiermap import (
    MapState,
    Member,
    NodeJoined,
    NodeState,
    NodeStopped,
    OutcomeCode,
    ReportReachable,
    ReportUnreachable,
    TierMap,
    apply,
)


def cluster(size: int) -> MapState:
    members = tuple(Member(f"n{i}", "a:1", incarnation=f"i{i}") for i in range(1, size + 1))
    return MapState(TierMap("c", 1, 1, members, "d"))


def report(state: MapState, by: int, node: int) -> MapState:
    command_id = f"r{by}-{node}-{len(state.outcomes)}"
    return apply(
        state,
        ReportUnreachable(
            id=command_id,
            by=f"n{by}",
            node=f"n{node}",
            incarnation=f"i{node}",
            by_incarnation=f"i{by}",
        ),
    )


def stop(state: MapState, node: int) -> MapState:
    command = NodeStopped(
        id=f"s{node}-{len(state.outcomes)}", by="", node=f"n{node}", incarnation=f"i{node}"
    )
    return apply(state, command)


def up(state: MapState) -> list[str]:
    return [m.id for m in state.map.members if m.state is NodeState.UP]


@pytest.mark.parametrize(("size", "needed"), [(2, 1), (3, 2), (4, 2), (5, 3), (6, 3), (7, 4)])
def test_more_than_half_of_the_others_must_report(size: int, needed: int) -> None:
    state = cluster(size)
    for by in range(2, needed + 1):
        state = report(state, by, 1)
        assert "n1" in up(state)
    state = report(state, needed + 1, 1)
    assert "n1" not in up(state)


def test_a_report_moves_the_version_but_is_no_event() -> None:
    state = report(cluster(3), 2, 1)
    assert (state.map.version, state.map.ring_version, state.events) == (2, 1, ())
    assert state.outcomes[-1].reason == "recorded"


def test_the_last_report_says_who_saw_what() -> None:
    state = report(report(cluster(3), 2, 1), 3, 1)
    assert state.events[-1].reason == "unreachable for 2 of 2 other members (n2, n3)"
    member = state.map.member("n1")
    assert member is not None
    assert (member.state, member.unreachable_by) == (NodeState.DOWN, ())
    assert state.map.ring_version == state.map.version == 3


def test_a_withdrawn_report_does_not_count() -> None:
    state = report(cluster(3), 2, 1)
    state = apply(state, ReportReachable(id="w", by="n2", node="n1", incarnation="i1"))
    assert "n1" in up(report(state, 3, 1))


def test_the_reports_of_who_goes_down_are_forgotten() -> None:
    state = stop(report(cluster(5), 2, 1), 2)
    member = state.map.member("n1")
    assert member is not None
    assert member.unreachable_by == ()


def test_fewer_others_can_make_a_majority_of_what_was_none() -> None:
    state = report(report(cluster(5), 2, 1), 3, 1)
    assert "n1" in up(state)
    state = stop(state, 5)  # two of three others now
    assert up(state) == ["n2", "n3", "n4"]
    assert [e.ref for e in state.events if e.version == state.map.version] == ["n1", "n5"]


def test_two_that_report_each_other_are_not_both_voted_out() -> None:
    state = report(report(cluster(3), 1, 2), 2, 1)
    assert up(state) == ["n1", "n2", "n3"]
    assert up(stop(state, 3)) == ["n2"]


def test_a_node_that_comes_back_has_reported_nobody() -> None:
    state = report(cluster(5), 2, 1)
    back = NodeJoined(
        id="j", by="n2", node="n2", cluster="c", address="a:1", expected="i2", incarnation="k2"
    )
    state = apply(state, back)
    member = state.map.member("n1")
    assert member is not None
    assert member.unreachable_by == ()
    # What its earlier incarnation sent on the way does not count either.
    late = report(state, 2, 1)
    assert late.outcomes[-1].code is OutcomeCode.STALE
    assert late.map == state.map


def test_a_report_without_an_incarnation_of_the_reporter_is_taken() -> None:
    command = ReportUnreachable(id="r", by="n2", node="n1", incarnation="i1")
    state = apply(cluster(3), command)
    assert state.outcomes[-1].code is OutcomeCode.DONE
    again = apply(state, replace(command, id="r2"))
    assert again.outcomes[-1].code is OutcomeCode.NOOP
