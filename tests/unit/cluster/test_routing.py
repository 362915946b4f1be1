"""Where a key lives, where a failed tier's work goes, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tiercluster.cluster.ring import SLOTS, ring_of, slot_of
from tiercluster.cluster.routing import Route, Router, failover_cold, owner, route
from tiercluster.tiermap import (
    TIERS,
    Admin,
    Health,
    Member,
    NodeState,
    Tier,
    TierMap,
    TierRecord,
    TierRef,
)

RECORDS = {
    "up": TierRecord(Tier.HOT),
    "down": TierRecord(Tier.HOT, Health.DOWN, reason="EIO"),
    "recovering": TierRecord(Tier.HOT, Health.RECOVERING, reason="a probe succeeded"),
    "draining": TierRecord(Tier.HOT, admin=Admin.DRAINING, reason="drain asked for"),
    "out": TierRecord(Tier.HOT, admin=Admin.OUT, reason="drained"),
}


def node(name: str, tiers: str = "up up up", state: NodeState = NodeState.UP) -> Member:
    """A member whose hot, warm and cold tiers are as these words say."""
    words = zip(TIERS, tiers.split(), strict=True)
    records = tuple(replace(RECORDS[word], tier=tier) for tier, word in words)
    return Member(
        name, "a:1", state=state, tiers=records, reason="stopped" if state != "UP" else ""
    )


def slot_preferring(*names: str) -> int:
    """A slot whose preference list among n1, n2, n3 is this one."""
    ring = ring_of(TierMap(members=tuple(node(n) for n in sorted(names))))
    return next(s for s in range(SLOTS) if ring.preference(s) == names)


SLOT = slot_preferring("n1", "n2", "n3")


def routed(*members: Member) -> Route:
    tier_map = TierMap(version=9, members=members)
    return route(ring_of(tier_map), tier_map, SLOT)


# The tiers of the owner n1 (n2 and n3 are whole): where work for hot, warm and cold goes, and in
# which order a key is looked for.
WITHIN_ONE_NODE = [
    ("up up up", "n1/hot n1/warm n1/cold", "n1/hot n1/warm n1/cold"),
    ("down up up", "n1/warm n1/warm n1/cold", "n1/warm n1/cold"),
    ("up down up", "n1/hot n1/cold n1/cold", "n1/hot n1/cold"),
    ("up up down", "n1/hot n1/warm n2/cold", "n1/hot n1/warm n2/cold"),
    ("down down up", "n1/cold n1/cold n1/cold", "n1/cold"),
    ("down up down", "n1/warm n1/warm n2/cold", "n1/warm n2/cold"),
    ("up down down", "n1/hot n2/cold n2/cold", "n1/hot n2/cold"),
    ("up up recovering", "n1/hot n1/warm n2/cold", "n1/hot n1/warm n2/cold"),
    ("up up out", "n1/hot n1/warm n2/cold", "n1/hot n1/warm n2/cold"),
    ("draining up up", "n1/warm n1/warm n1/cold", "n1/hot n1/warm n1/cold"),
    ("up draining up", "n1/hot n1/cold n1/cold", "n1/hot n1/warm n1/cold"),
    ("up up draining", "n1/hot n1/warm n2/cold", "n1/hot n1/warm n1/cold n2/cold"),
    # Nothing usable, but some still draining: they go on until they are drained.
    ("draining draining draining", "n1/hot n1/warm n1/cold", "n1/hot n1/warm n1/cold"),
    ("out draining draining", "n1/warm n1/warm n1/cold", "n1/warm n1/cold"),
    ("draining down out", "n1/hot n2/cold n2/cold", "n1/hot n2/cold"),
]


@pytest.mark.parametrize(("tiers", "places", "reads"), WITHIN_ONE_NODE)
def test_the_work_of_a_tier_goes_down_and_then_to_the_next_node(
    tiers: str, places: str, reads: str
) -> None:
    found = routed(node("n1", tiers), node("n2"), node("n3"))
    assert found.owner == "n1"
    assert " ".join(str(found.tiers[tier]) for tier in TIERS) == places
    assert " ".join(str(ref) for ref in found.read_order) == reads


def test_a_whole_route_skips_nothing() -> None:
    found = routed(node("n1"), node("n2"), node("n3"))
    assert (found.preference, dict(found.skipped)) == (("n1", "n2", "n3"), {})
    assert found.version == 9


def test_what_was_passed_over_is_named_with_the_reason() -> None:
    found = routed(
        node("n1", state=NodeState.DOWN), node("n2", "up draining down"), node("n3", "up up out")
    )
    assert found.owner == "n2"
    assert dict(found.skipped) == {
        "n1": "DOWN: stopped",
        "n2/warm": "DRAINING: drain asked for",
        "n2/cold": "DOWN: EIO",
        "n3/cold": "DRAINED: drained",
        "n1/cold": "DOWN: stopped",
    }
    assert found.tiers[Tier.COLD] is None
    assert found.tiers[Tier.WARM] is None
    assert found.read_order == (TierRef("n2", Tier.HOT), TierRef("n2", Tier.WARM))


@pytest.mark.parametrize("first", ["out out out", "down down down", "recovering out down"])
def test_a_node_without_a_readable_tier_owns_nothing(first: str) -> None:
    found = routed(node("n1", first), node("n2"), node("n3"))
    assert found.owner == "n2"
    assert found.skipped["n1"] == "no tier of it can be read"


def test_where_nobody_serves_there_is_no_owner_and_every_node_says_why() -> None:
    found = routed(node("n1", state=NodeState.DOWN), node("n2", "out out out"))
    assert (found.owner, found.read_order) == (None, ())
    assert dict(found.tiers) == {Tier.HOT: None, Tier.WARM: None, Tier.COLD: None}
    assert sorted(found.skipped) == ["n1", "n2"]


def test_an_empty_map_routes_nowhere() -> None:
    assert routed().owner is None
    assert Router(TierMap()).owner_of(b"k") is None


def test_a_node_that_left_is_not_on_the_list() -> None:
    assert routed(node("n1", state=NodeState.LEFT), node("n2")).preference == ("n2",)


COLD_FAILOVERS = [
    # who asks, cold tiers of n1, n2, n3, the next usable one on the list n1, n2, n3
    ("n1", "up up up", "n2/cold"),
    ("n1", "down down up", "n3/cold"),
    ("n1", "down down draining", None),
    ("n1", "up recovering out", None),
    ("n2", "up down up", "n3/cold"),
    ("n2", "up down down", "n1/cold"),
    ("n3", "up up down", "n1/cold"),
    ("stranger", "up up up", "n1/cold"),
]


@pytest.mark.parametrize(("asks", "colds", "expected"), COLD_FAILOVERS)
def test_cold_goes_to_the_next_usable_cold_of_the_list(
    asks: str, colds: str, expected: str | None
) -> None:
    words = colds.split()
    tier_map = TierMap(members=tuple(node(f"n{i + 1}", f"up up {words[i]}") for i in range(3)))
    found = failover_cold(ring_of(tier_map), tier_map, SLOT, asks)
    assert (str(found) if found else None) == expected


def test_the_cold_tier_of_a_dead_node_takes_nothing() -> None:
    tier_map = TierMap(members=(node("n1"), node("n2", state=NodeState.DOWN), node("n3")))
    assert failover_cold(ring_of(tier_map), tier_map, SLOT, "n1") == TierRef("n3", Tier.COLD)


def test_a_ring_that_is_behind_its_map_names_no_stranger() -> None:
    ring = ring_of(TierMap(members=(node("n1"), node("n2"), node("n3"))))
    tier_map = TierMap(members=(node("n2"),))
    assert owner(ring, tier_map, SLOT) == "n2"
    assert route(ring, tier_map, SLOT).skipped["n1"] == "not in the map"


THREE = TierMap(version=1, members=(node("n1"), node("n2"), node("n3")))
ONE_DOWN = replace(THREE, version=2, members=(node("n1", state=NodeState.DOWN), *THREE.members[1:]))
TIER_DOWN = replace(THREE, version=3, members=(node("n1", "up up down"), *THREE.members[1:]))


@pytest.mark.parametrize("tier_map", [THREE, ONE_DOWN, TIER_DOWN])
def test_a_router_says_what_the_function_says(tier_map: TierMap) -> None:
    router, ring = Router(tier_map), ring_of(tier_map)
    for slot in range(0, SLOTS, 101):
        assert router.owner(slot) == owner(ring, tier_map, slot)
        assert router.owner(slot) == owner(ring, tier_map, slot)  # remembered
        assert router.route(slot) == route(ring, tier_map, slot)
    for key in (b"a", b"user:1", b"\xff" * 100):
        assert router.owner_of(key) == owner(ring, tier_map, slot_of(key))


def test_a_new_router_keeps_what_holds_and_forgets_what_does_not() -> None:
    first = Router(THREE)
    assert first.owner(SLOT) == "n1"
    with_tier_down = Router(TIER_DOWN, first)
    assert with_tier_down.ring is first.ring
    assert with_tier_down._owners is first._owners
    with_node_down = Router(ONE_DOWN, with_tier_down)
    assert with_node_down.ring is first.ring
    assert (with_node_down.owner(SLOT), first.owner(SLOT)) == ("n2", "n1")
    assert with_node_down.version == 2


def test_a_new_router_forgets_the_owners_when_a_weight_changes() -> None:
    first = Router(THREE)
    before = first.slots_of("n1")
    heavier = replace(THREE, members=(replace(THREE.members[0], weight=3.0), *THREE.members[1:]))
    assert Router(heavier, first).slots_of("n1") > before


def test_the_slots_of_all_nodes_are_all_slots() -> None:
    router = Router(THREE)
    slots = [router.slots_of(name) for name in ("n1", "n2", "n3")]
    assert sum(map(len, slots)) == SLOTS == len(frozenset().union(*slots))
    assert router.slots_of("n9") == frozenset()
