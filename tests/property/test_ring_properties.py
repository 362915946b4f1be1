"""The ring and the routing, for any members."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tiercluster.cluster.ring import SLOTS, Ring, ring_of
from tiercluster.cluster.routing import Router, route
from tiercluster.tiermap import (
    TIERS,
    Admin,
    Health,
    Member,
    NodeState,
    TierMap,
    TierRecord,
    TierRef,
)

SAMPLE = range(0, SLOTS, 211)
ids = st.sampled_from([f"n{i}" for i in range(1, 8)])
weights = st.sampled_from([0.5, 1.0, 1.0, 2.0, 7.0])
nodes = st.dictionaries(ids, weights, min_size=1, max_size=6)


@settings(max_examples=40)
@given(nodes, weights)
def test_a_node_that_comes_takes_slots_and_moves_none_between_the_others(
    some: dict[str, float], weight: float
) -> None:
    before, after = Ring(some.items()), Ring([*some.items(), ("new", weight)])
    for slot in SAMPLE:
        assert tuple(n for n in after.preference(slot) if n != "new") == before.preference(slot)


@settings(max_examples=40)
@given(nodes, st.sampled_from([1.5, 3.0]))
def test_a_node_that_grows_only_gains(some: dict[str, float], factor: float) -> None:
    grown = min(some)
    before, after = Ring(some.items()), Ring((some | {grown: some[grown] * factor}).items())
    for slot in SAMPLE:
        old, new = before.preference(slot), after.preference(slot)
        assert new.index(grown) <= old.index(grown)
        assert [n for n in new if n != grown] == [n for n in old if n != grown]


@st.composite
def tier_maps(draw: st.DrawFn) -> TierMap:
    def record() -> st.SearchStrategy[TierRecord]:
        return st.builds(
            TierRecord,
            tier=st.just(TIERS[0]),
            health=st.sampled_from(Health),
            admin=st.sampled_from(Admin),
        )

    def member(name: str) -> Member:
        records = zip(TIERS, draw(st.tuples(record(), record(), record())), strict=True)
        return Member(
            name,
            "a:1",
            weight=draw(weights),
            state=draw(st.sampled_from([NodeState.UP, *NodeState])),
            tiers=tuple(replace(r, tier=tier) for tier, r in records),
        )

    names = draw(st.sets(ids, max_size=5))
    return TierMap(version=draw(st.integers(0, 99)), members=tuple(map(member, sorted(names))))


def is_usable(tier_map: TierMap, ref: TierRef) -> bool:
    member, record = tier_map.member(ref.node), tier_map.record(ref)
    return bool(member and record and member.state is NodeState.UP and record.is_usable)


def is_readable(tier_map: TierMap, ref: TierRef) -> bool:
    member, record = tier_map.member(ref.node), tier_map.record(ref)
    return bool(member and record and member.state is NodeState.UP and record.is_readable)


@settings(max_examples=150)
@given(tier_maps(), st.integers(0, SLOTS - 1))
def test_no_route_names_what_may_not_be_used(tier_map: TierMap, slot: int) -> None:
    found = route(ring_of(tier_map), tier_map, slot)
    own = [TierRef(found.owner, tier) for tier in TIERS] if found.owner else []
    has_usable = any(is_usable(tier_map, ref) for ref in own)
    for ref in filter(None, found.tiers.values()):
        is_last_resort = ref.node == found.owner and not has_usable
        assert is_usable(tier_map, ref) or (is_last_resort and is_readable(tier_map, ref))
    assert all(is_readable(tier_map, ref) for ref in found.read_order)
    # Whatever takes work is read too, or what was written would be lost.
    assert set(filter(None, found.tiers.values())) <= set(found.read_order)
    assert not {str(ref) for ref in found.tiers.values()} & set(found.skipped)


@settings(max_examples=100)
@given(tier_maps(), st.integers(0, SLOTS - 1))
def test_there_is_an_owner_exactly_if_a_member_serves(tier_map: TierMap, slot: int) -> None:
    found = route(ring_of(tier_map), tier_map, slot)
    assert (found.owner is not None) == any(m.serves for m in tier_map.members)
    if found.owner:
        before = found.preference[: found.preference.index(found.owner)]
        members = {m.id: m for m in tier_map.members}
        assert not any(members[node].serves for node in before)
        assert set(before) <= set(found.skipped)


@settings(max_examples=60)
@given(st.lists(tier_maps(), min_size=1, max_size=4))
def test_a_router_that_takes_over_from_others_answers_as_a_new_one(maps: list[TierMap]) -> None:
    router: Router | None = None
    for tier_map in maps:
        router = Router(tier_map, router)
        fresh = Router(tier_map)
        assert all(router.owner(slot) == fresh.owner(slot) for slot in SAMPLE)
