"""Who keeps each slot: an owner, copies, and who fills; the table against the rule for one slot."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tiercluster.cluster.holders import filling_nodes, holders, holders_of
from tiercluster.cluster.ring import SLOTS, Ring, ring_of
from tiercluster.tiermap import Admin, Health, Member, NodeState, TierMap

NODES = tuple(f"n{i}" for i in range(1, 7))
SAMPLE = range(0, SLOTS, 97)


def map_of(*members: Member, replicas: int = 2) -> TierMap:
    return TierMap("c", 1, 1, members, replicas=replicas)


def plain(count: int) -> list[Member]:
    return [Member(node, "a:1", incarnation="i") for node in NODES[:count]]


def members_of(node: str) -> st.SearchStrategy[Member]:
    base = Member(node, "a:1", incarnation="i")
    lame = tuple(replace(t, health=Health.DOWN) for t in base.tiers)
    half = (replace(base.tiers[0], admin=Admin.OUT), *base.tiers[1:])
    return st.builds(
        replace,
        st.just(base),
        weight=st.sampled_from([1.0, 1.0, 1.0, 0.5, 3.0]),
        state=st.sampled_from([NodeState.UP] * 5 + [NodeState.DOWN, NodeState.LEFT]),
        tiers=st.sampled_from([base.tiers] * 4 + [lame, half]),
        filling=st.sampled_from([False, False, False, True]),
        apart=st.sampled_from([()] * 3 + [tuple(n for n in NODES[:2] if n != node)]),
    )


maps = st.builds(
    lambda members, count, replicas: map_of(*members[:count], replicas=replicas),
    st.tuples(*map(members_of, NODES)),
    st.integers(0, len(NODES)),
    st.sampled_from([0, 1, 2, 2, 3]),
)


@settings(max_examples=40)
@given(maps)
def test_the_table_says_of_each_slot_what_the_rule_says(tier_map: TierMap) -> None:
    ring = ring_of(tier_map)
    table = holders(ring, tier_map)
    assert len(table) == SLOTS
    for slot in SAMPLE:
        assert table[slot] == holders_of(ring, tier_map, slot)


@settings(max_examples=40)
@given(maps)
def test_who_keeps_a_slot(tier_map: TierMap) -> None:
    members = {m.id: m for m in tier_map.members}
    serving, filling = {m.id for m in tier_map.members if m.serves}, filling_nodes(tier_map)
    ring = ring_of(tier_map)
    for slot in SAMPLE:
        kept_by = holders_of(ring, tier_map, slot)
        assert len(set(kept_by)) == len(kept_by)
        assert bool(kept_by) == bool(serving)
        if not kept_by:
            continue
        owner, *copies = kept_by
        best = [n for n in ring.preference(slot) if n in serving]
        reached = [n for n in best if owner not in members[n].apart]
        assert owner == best[0]
        assert [n for n in kept_by if n in serving] == reached[: tier_map.copies]
        assert serving.isdisjoint(filling)
        assert not any(owner in members[n].apart for n in copies)


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from([1.0, 1.0, 1.0, 2.5]), max_size=20),
    st.sets(st.integers(0, 20)),
    st.integers(1, 4),
)
def test_leaders_are_the_first_of_the_preference_among_those(
    weights: list[float], among: set[int], count: int
) -> None:
    ring = Ring((f"n{i}", weight) for i, weight in enumerate(weights))
    names = {f"n{i}" for i in among}
    table = ring.leaders(names, count)
    assert len(table) == SLOTS
    for slot in SAMPLE:
        assert table[slot] == tuple([n for n in ring.preference(slot) if n in names][:count])


def test_a_member_that_fills_keeps_what_it_will_keep_beside_those_that_do_now() -> None:
    one, two, three, four = plain(4)
    before, after = map_of(one, two, three, four), map_of(one, two, three, four)
    filling = map_of(one, two, three, replace(four, filling=True))
    without = holders(ring_of(filling), map_of(one, two, three))
    later = holders(ring_of(after), before)
    now = holders(ring_of(filling), filling)
    for slot in SAMPLE:
        more = ("n4",) if "n4" in later[slot] else ()
        assert now[slot] == (*[n for n in without[slot] if n != "n4"], *more)


def test_when_the_owner_goes_who_kept_the_copy_owns_it() -> None:
    one, two, three = plain(3)
    before = holders(ring_of(map_of(one, two, three)), map_of(one, two, three))
    gone = map_of(replace(one, state=NodeState.DOWN), two, three)
    after = holders(ring_of(gone), gone)
    moved = [s for s in range(SLOTS) if before[s][0] == "n1"]
    assert moved
    assert all(after[s][0] == before[s][1] for s in moved)


def test_a_node_apart_from_an_owner_keeps_nothing_of_it_and_all_of_the_others() -> None:
    one, two, three, four = plain(4)
    tier_map = map_of(one, replace(two, apart=("n1",)), three, four)
    table = holders(ring_of(tier_map), tier_map)
    assert {kept_by[0] for kept_by in table} == {"n1", "n2", "n3", "n4"}
    assert all(len(kept_by) == 2 for kept_by in table)
    assert ("n1", "n2") not in table
    assert ("n3", "n2") in table


def test_with_two_members_only_the_owner_keeps_a_key() -> None:
    tier_map = map_of(*plain(2))
    assert {len(k) for k in holders(ring_of(tier_map), tier_map)} == {1}


def test_nobody_serves_nobody_keeps() -> None:
    out = [replace(m, state=NodeState.DOWN) for m in plain(3)]
    tier_map = map_of(*out)
    assert set(holders(ring_of(tier_map), tier_map)) == {()}
