"""The judge of memory, judged."""

from __future__ import annotations

import pytest

from .growth import MIB, grown


@pytest.mark.parametrize(
    ("before", "most"), [(0, 3 * MIB), (100 * MIB, 106 * MIB), (1000 * MIB, 1033 * MIB)]
)
def test_three_percent_and_three_mib_are_no_growth_and_a_byte_more_is(
    before: int, most: int
) -> None:
    assert grown({"n1": before}, {"n1": most}) == []
    assert grown({"n1": before}, {"n1": most + 1}) != []


def test_each_process_that_has_grown_is_named_and_what_has_shrunk_makes_up_for_none() -> None:
    before = {"fuzzer": 50 * MIB, "n1": 60 * MIB, "n2": 60 * MIB}
    after = {"fuzzer": 20 * MIB, "n1": 64 * MIB, "n2": 66 * MIB}
    assert grown(before, after) == ["n2 has grown from 60.0 to 66.0 MiB"]
