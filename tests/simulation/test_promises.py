"""The judge of counts: what is counted once, and what a lost counter allows."""

from __future__ import annotations

import pytest

from .promises import Call, Promises, Violation


def judged(*counts: tuple[float, float, int]) -> Promises:
    """INCRs by when they began, when they ended and what they counted; versions in that order."""
    promises = Promises()
    calls = [
        Call("c1", "incr", b"k", began=began, ended=ended, version=at, number=number, outcome="ok")
        for at, (began, ended, number) in enumerate(counts, 1)
    ]
    for call in calls:
        promises.began(call)
    for call in calls:
        promises.judge(call)
    promises.judge_counts()
    return promises


def test_one_after_the_other_and_anew() -> None:
    judged((0, 1, 1), (1, 2, 2), (3, 4, 1), (4, 5, 2))


def test_a_count_that_nobody_made_is_found() -> None:
    with pytest.raises(Violation, match="counted once"):
        judged((0, 1, 1), (1, 2, 3), (3, 4, 4))


def test_who_was_open_may_have_counted_before_the_counter_was_lost() -> None:
    judged((0, 1, 1), (2, 3, 3), (1, 9, 1))


def test_who_began_later_cannot_have_counted_before() -> None:
    with pytest.raises(Violation, match="counted once"):
        judged((0, 1, 1), (2, 3, 3), (4, 9, 1))


def test_nobody_counts_twice_where_the_counter_goes_on() -> None:
    with pytest.raises(Violation, match="counted once"):
        judged((0, 1, 1), (2, 3, 3), (1, 9, 4))
