"""Deltas between two maps of a feed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tiercluster.tiermap import (
    MapDelta,
    Member,
    NodeState,
    TierMap,
    decode_delta,
    diff,
    encode_delta,
    patch,
)

N1, N2, N3 = (Member(f"n{i}", f"a:{i}") for i in (1, 2, 3))
OLD = TierMap("c", 4, 2, (N1, N3), "dd")
NEW = TierMap("c", 9, 9, (replace(N1, state=NodeState.DOWN), N2), "ee")


def test_a_delta_carries_what_changed_and_who_is_gone() -> None:
    delta = diff(OLD, NEW)
    assert [m.id for m in delta.changed] == ["n1", "n2"]
    assert delta.gone == ("n3",)
    assert patch(OLD, delta) == NEW


def test_a_delta_from_the_empty_map_brings_the_limit_of_the_guard() -> None:
    new = replace(NEW, max_unavailable=0.5)
    assert patch(TierMap(), diff(TierMap(), new)) == new


def test_nothing_changed_is_an_empty_delta() -> None:
    assert diff(OLD, OLD) == MapDelta(4, "dd", "c", 4, 2, "dd", 1 / 3, "")
    assert patch(OLD, diff(OLD, OLD)) == OLD


@pytest.mark.parametrize("other", [replace(OLD, version=3), replace(OLD, digest="xx"), NEW])
def test_a_delta_fits_the_map_it_starts_from_and_no_other(other: TierMap) -> None:
    with pytest.raises(ValueError, match="does not fit version"):
        patch(other, diff(OLD, NEW))


def test_a_delta_crosses_as_a_frame() -> None:
    assert decode_delta(encode_delta(diff(OLD, NEW))) == diff(OLD, NEW)


def test_a_delta_with_members_out_of_order_is_refused() -> None:
    with pytest.raises(ValueError, match="order"):
        decode_delta(encode_delta(replace(diff(OLD, NEW), changed=(N3, N1))))
