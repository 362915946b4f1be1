"""What the guard lets pass, and in which words it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tiercluster.tiermap import (
    TIERS,
    Admin,
    Guard,
    Health,
    Member,
    NodeState,
    Tier,
    TierMap,
    TierRecord,
)


def node(name: str, out: str = "", state: NodeState = NodeState.UP, weight: float = 1.0) -> Member:
    """A member with these tiers DOWN: "hot cold"."""
    tiers = tuple(TierRecord(t, Health.DOWN if t in out.split() else Health.UP) for t in TIERS)
    return Member(name, "a:1", weight=weight, state=state, tiers=tiers)


def nodes(count: int, out: int) -> TierMap:
    """``count`` members, the cold tier of the first ``out`` of them DOWN."""
    return TierMap(members=tuple(node(f"n{i}", "cold" if i < out else "") for i in range(count)))


ALLOWED = [(1, 1), (2, 1), (3, 1), (5, 1), (6, 2), (8, 2), (9, 3), (12, 4), (100, 33), (300, 100)]


@pytest.mark.parametrize(("members", "allowed"), ALLOWED)
def test_a_third_of_a_class_may_be_out_and_at_least_one(members: int, allowed: int) -> None:
    guard = Guard()
    assert guard.refusal(nodes(members, allowed - 1), nodes(members, allowed)) == ""
    if members > allowed:
        assert guard.refusal(nodes(members, allowed), nodes(members, allowed + 1)) != ""


def test_the_refusal_says_what_is_out_and_what_is_allowed() -> None:
    assert Guard().refusal(nodes(3, 1), nodes(3, 2)) == (
        "1 of 3 cold tiers is already out (n0/cold); max_unavailable allows 1"
    )
    assert Guard().refusal(nodes(15, 5), nodes(15, 6)) == (
        "5 of 15 cold tiers are already out (n0/cold, n1/cold, n2/cold, …); "
        "max_unavailable allows 5"
    )


def test_each_class_counts_for_itself() -> None:
    before = TierMap(members=(node("n1", "cold"), node("n2"), node("n3")))
    after = TierMap(members=(node("n1", "cold"), node("n2", "hot"), node("n3", "warm")))
    assert Guard().refusal(before, after) == ""


@pytest.mark.parametrize(
    "record",
    [
        TierRecord(Tier.COLD, Health.DOWN),
        TierRecord(Tier.COLD, Health.RECOVERING),
        TierRecord(Tier.COLD, admin=Admin.DRAINING),
        TierRecord(Tier.COLD, admin=Admin.OUT),
    ],
)
def test_whatever_takes_no_new_work_is_out(record: TierRecord) -> None:
    broken = replace(node("n1"), tiers=(*node("n1").tiers[:2], record))
    before = TierMap(members=(broken, node("n2"), node("n3")))
    after = TierMap(members=(broken, node("n2", "cold"), node("n3")))
    assert Guard().refusal(before, after) != ""


def test_the_tiers_of_a_dead_node_are_out_and_those_of_one_that_left_are_no_more() -> None:
    for state, is_refused in [(NodeState.DOWN, True), (NodeState.LEFT, False)]:
        gone = node("n1", state=state)
        before = TierMap(members=(gone, node("n2"), node("n3"), node("n4")))
        after = TierMap(members=(gone, node("n2", "cold"), node("n3"), node("n4")))
        assert bool(Guard().refusal(before, after)) is is_refused


def test_what_is_out_already_may_change_even_past_the_limit() -> None:
    dead = tuple(node(f"n{i}", state=NodeState.DOWN) for i in (1, 2))
    worse = (node("n1", "cold", NodeState.DOWN), dead[1])
    before, after = TierMap(members=(*dead, node("n3"))), TierMap(members=(*worse, node("n3")))
    assert Guard().refusal(before, after) == ""


def test_a_heavy_node_may_be_the_only_one_out_but_not_one_of_several() -> None:
    heavy, light = node("n1", weight=6.0), [node(f"n{i}") for i in range(2, 8)]
    heavy_out = node("n1", "cold", weight=6.0)
    whole = TierMap(members=(heavy, *light))
    without = TierMap(members=(heavy_out, *light))
    assert Guard().refusal(whole, without) == ""
    two_out = TierMap(members=(heavy_out, node("n2", "cold"), *light[1:]))
    assert Guard().refusal(without, two_out) == (
        "58% of the weight of all cold tiers would be out; max_unavailable allows 33%"
    )


def test_in_a_cluster_of_one_a_tier_may_fail_or_be_drained() -> None:
    before, after = TierMap(members=(node("n1"),)), TierMap(members=(node("n1", "cold"),))
    assert Guard().refusal(before, after) == ""
    assert Guard().refusal(before, after, is_wish=True) == ""


def test_a_wish_leaves_one_usable_tier_in_the_cluster_and_a_failure_need_not() -> None:
    before = TierMap(members=(node("n1", "warm cold"),))
    after = TierMap(members=(node("n1", "hot warm cold"),))
    assert Guard().refusal(before, after) == ""
    assert Guard().refusal(before, after, is_wish=True) == (
        "no usable tier would be left in the whole cluster"
    )


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_between_0_and_1(share: float) -> None:
    with pytest.raises(ValueError, match="max_unavailable"):
        Guard(max_unavailable=share)


def test_the_guard_of_a_map_has_its_limit() -> None:
    assert Guard.of(TierMap(max_unavailable=0.7)) == Guard(0.7)


def test_a_share_of_one_allows_everything() -> None:
    assert Guard(max_unavailable=1.0).refusal(nodes(3, 0), nodes(3, 3)) == ""
