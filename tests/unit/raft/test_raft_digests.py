"""The alarm that must never ring: it can."""

from __future__ import annotations

import pytest

from tiercluster.tiermap.raft.digests import REMEMBERED, DigestError, Digests


def test_equal_states_are_silent() -> None:
    digests = Digests(voters=3)
    digests.applied(5, "x")
    digests.told("b", 5, "x")
    digests.told("c", 5, "x")
    assert digests.mismatches == 0


def test_states_at_other_indices_are_not_compared() -> None:
    digests = Digests(voters=3)
    digests.applied(5, "x")
    digests.told("b", 4, "w")
    assert digests.mismatches == 0


def test_one_of_three_that_differs_is_counted_by_the_others() -> None:
    digests = Digests(voters=3)
    digests.applied(5, "x")
    digests.told("b", 5, "x")
    digests.told("c", 5, "y")
    digests.told("c", 5, "y")  # told again: one difference
    assert digests.mismatches == 1


def test_who_differs_from_a_majority_gives_up() -> None:
    digests = Digests(voters=3)
    digests.applied(5, "x")
    digests.told("b", 5, "y")
    with pytest.raises(DigestError, match="after entry 5"):
        digests.told("c", 5, "y")


def test_what_a_faster_member_told_is_compared_when_we_get_there() -> None:
    digests = Digests(voters=2)
    digests.told("b", 7, "y")
    digests.applied(7, "x")
    assert digests.mismatches == 1


def test_old_digests_are_forgotten() -> None:
    digests = Digests(voters=3)
    for index in range(REMEMBERED + 2):
        digests.applied(index, "x")
    digests.told("b", 0, "y")
    assert digests.mismatches == 0
