"""The judges of counts and of versions: what they demand, and what they allow."""

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


def written_after_a_delete(deleted: int, written: int) -> None:
    """Of that version; then something else was written with this one."""
    promises = Promises()
    delete = Call("c1", "delete_version", b"k", expected=deleted, began=0, ended=1, outcome="ok")
    write = Call("c1", "set", b"k", b"v", began=2, ended=3, version=written, outcome="ok")
    for call in (delete, write):
        promises.began(call)
        promises.judge(call)


def test_the_next_version_may_follow_one_that_was_deleted() -> None:
    written_after_a_delete(7, 8)


def test_what_was_deleted_is_not_written_anew() -> None:
    with pytest.raises(Violation, match="versions grow"):
        written_after_a_delete(7, 7)
