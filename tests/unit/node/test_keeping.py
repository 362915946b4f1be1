"""Eras: what a node has kept without a gap, and what it must not believe to have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tiercluster.cluster.ring import SLOTS, ring_of
from tiercluster.node.keeping import NEW_S, NOBODYS, Keeping
from tiercluster.tiermap import Health, Member, NodeState, TierMap


def member(node: str, **fields: object) -> Member:
    base = Member(node, "a:1", incarnation=f"{node}-boot#1", since_version=1)
    return replace(base, **fields)  # type: ignore[arg-type]


N1, N2, N3, N4 = (member(f"n{i}") for i in (1, 2, 3, 4))
ALL = (N1, N2, N3, N4)


def map_of(version: int, *members: Member, replicas: int = 2) -> TierMap:
    return TierMap("c", version, version, members, replicas=replicas)


def joined(who: Member, version: int, stint: int = 2, **fields: object) -> Member:
    name = f"{who.process}#{stint}"
    return replace(who, incarnation=name, since_version=version, **fields)  # type: ignore[arg-type]


def down(who: Member, version: int) -> Member:
    return replace(who, state=NodeState.DOWN, since_version=version)


def without_tiers(who: Member, version: int, health: Health = Health.DOWN) -> Member:
    tiers = tuple(replace(t, health=health, since_version=version) for t in who.tiers)
    return replace(who, tiers=tiers)


def keeping_of(*maps: TierMap, node: str = "n3") -> Keeping:
    keeping = Keeping(node, f"{node}-boot")
    for tier_map in maps:
        keeping.use_map(tier_map)
    return keeping


def slots_where(keeping: Keeping, *kept_by: str) -> list[int]:
    found = [s for s in range(SLOTS) if keeping.table[s] == kept_by]
    assert found
    return found


def hidden(keeping: Keeping, slots: list[int], born: int) -> set[int]:
    """Those of the slots in which what was stored in that era cannot be seen."""
    return {s for s in slots if born < keeping.floors[s]}


# --- one map after the other ----------------------------------------------------------------------


def test_what_this_process_never_kept_has_no_floor_and_what_it_keeps_not_is_invisible() -> None:
    keeping = keeping_of(map_of(1, *ALL))
    kept = [s for s in range(SLOTS) if "n3" in keeping.table[s]]
    assert {keeping.floors[s] for s in kept} == {0}
    assert {keeping.floors[s] for s in set(range(SLOTS)) - set(kept)} == {NOBODYS}
    assert all(keeping.keeps(s) == (s in set(kept)) for s in range(SLOTS))


def test_a_slot_that_came_back_has_the_floor_of_its_new_era() -> None:
    keeping = keeping_of(map_of(1, *ALL), map_of(2, N1, down(N2, 2), N3, N4))
    lent = slots_where(keeping, "n1", "n3")
    era = keeping.era
    keeping.use_map(map_of(3, N1, joined(N2, 3), N3, N4))
    lost = [s for s in lent if "n3" not in keeping.table[s]]
    assert {keeping.floors[s] for s in lost} == {NOBODYS}
    keeping.use_map(map_of(4, N1, down(joined(N2, 4), 4), N3, N4))
    assert hidden(keeping, lost, era) == set(lost)
    assert keeping.era > era


def test_what_is_kept_through_the_changes_of_others_stays_visible() -> None:
    keeping = keeping_of(map_of(1, *ALL))
    era, kept = keeping.era, [s for s in range(SLOTS) if "n3" in keeping.table[s]]
    keeping.use_map(map_of(2, N1, N2, N3, down(N4, 2)))
    assert not hidden(keeping, kept, era)


def test_a_copy_that_becomes_the_owner_has_all_at_once() -> None:
    keeping = keeping_of(map_of(1, *ALL))
    copies = slots_where(keeping, "n1", "n3")
    era = keeping.era
    assert keeping.missing
    keeping.filled("n1", tuple(copies))
    keeping.use_map(map_of(2, down(N1, 2), N2, N3, N4))
    assert all(keeping.owner_of(s) == "n3" for s in copies)
    assert not hidden(keeping, copies, era)


def test_a_new_incarnation_begins_with_nothing() -> None:
    keeping = keeping_of(map_of(1, *ALL))
    era, kept = keeping.era, [s for s in range(SLOTS) if "n3" in keeping.table[s]]
    assert keeping.use_map(map_of(2, N1, N2, joined(N3, 2), N4))
    assert hidden(keeping, kept, era) == set(kept)


def test_another_process_under_its_name_is_not_it() -> None:
    keeping = keeping_of(map_of(1, *ALL))
    assert keeping.use_map(map_of(2, N1, N2, replace(N3, incarnation="other#1"), N4))
    assert not any(keeping.keeps(s) for s in range(SLOTS))
    assert keeping.is_whole


def test_a_member_that_fills_keeps_what_it_will_own_and_owns_nothing() -> None:
    keeping = keeping_of(map_of(1, N1, N2, replace(N3, filling=True), N4))
    kept = [s for s in range(SLOTS) if keeping.keeps(s)]
    ring = ring_of(map_of(1, *ALL))
    assert kept == [s for s in range(SLOTS) if "n3" in ring.preference(s)[:2]]
    assert not any(keeping.owner_of(s) == "n3" for s in range(SLOTS))


# --- owners that change ---------------------------------------------------------------------------


def test_two_copies_of_an_owner_that_is_gone_may_differ() -> None:
    """The last writes of n1 reached n2 and not n3, and n2 answers reads with them at once. So what
    n3 has is older, and must not be served when n2 goes, too."""
    keeping = keeping_of(map_of(1, *ALL, replicas=3))
    both = [s for s in range(SLOTS) if keeping.table[s][:1] == ("n1",)
            and keeping.table[s][1] == "n2" and keeping.table[s][2] == "n3"]  # fmt: skip
    era = keeping.era
    keeping.use_map(map_of(2, down(N1, 2), N2, N3, N4, replicas=3))
    assert both
    assert all(keeping.owner_of(s) == "n2" for s in both)
    assert hidden(keeping, both, era) == set(both)
    assert set(both) <= set(keeping.wanted()["n2"])


def test_an_owner_that_keeps_a_copy_for_the_next_has_all_that_it_has() -> None:
    """n3 fills, serves, and owns what n4 had: n4 was the owner and knows no less."""
    filling = replace(N3, filling=True)
    keeping = keeping_of(map_of(1, N1, N2, filling, N4), node="n4")
    owned = [s for s in range(SLOTS) if keeping.owner_of(s) == "n4"]
    era = keeping.era
    keeping.use_map(map_of(2, *ALL))
    mine = [s for s in owned if keeping.table[s] == ("n3", "n4")]
    assert mine
    assert not hidden(keeping, mine, era)


# --- maps that were not seen ----------------------------------------------------------------------


def test_of_several_maps_at_once_what_nobody_can_have_taken_is_kept() -> None:
    keeping = keeping_of(map_of(1, *ALL))
    best = [s for s in range(SLOTS) if "n3" in keeping.table[s]]
    era = keeping.era
    keeping.use_map(map_of(3, *ALL[:3], down(N4, 3)))
    assert not hidden(keeping, best, era)


def test_who_was_out_before_and_after_may_have_been_in_between() -> None:
    """n4's tiers came back and failed again: both maps that n3 saw say the same."""
    out = without_tiers(N4, 2)
    keeping = keeping_of(map_of(1, *ALL), map_of(2, N1, N2, N3, out))
    kept = [s for s in range(SLOTS) if "n3" in keeping.table[s]]
    era = keeping.era
    keeping.use_map(map_of(5, N1, N2, N3, without_tiers(N4, 5)))
    preference = ring_of(map_of(1, *ALL)).preference
    displaced = {s for s in kept if "n3" not in preference(s)[:2] and keeping.owner_of(s) != "n3"}
    assert displaced
    assert hidden(keeping, kept, era) == displaced


def test_who_came_and_left_in_between_may_have_kept_it() -> None:
    keeping = keeping_of(map_of(1, N1, N2, N3))
    copies = [s for s in range(SLOTS) if keeping.table[s][1:] == ("n3",)]
    era = keeping.era
    left = replace(joined(N4, 4), state=NodeState.LEFT, since_version=5)
    keeping.use_map(map_of(5, N1, N2, N3, left))
    displaced = {s for s in copies if ring_of(map_of(1, *ALL)).preference(s).index("n4") < 2}
    assert displaced
    assert displaced <= hidden(keeping, copies, era)


def test_who_was_removed_in_between_may_have_been_first() -> None:
    """n4's tiers came back, and then it was removed."""
    keeping = keeping_of(map_of(1, *ALL[:3], without_tiers(N4, 1), member("n5")))
    copies = [s for s in range(SLOTS) if keeping.table[s][1:] == ("n3",)]
    era = keeping.era
    left = replace(without_tiers(N4, 3), state=NodeState.LEFT, since_version=4)
    keeping.use_map(map_of(4, *ALL[:3], left, member("n5")))
    preference = ring_of(map_of(1, *ALL, member("n5"))).preference
    displaced = {s for s in copies if "n3" not in preference(s)[:2]}
    assert displaced
    assert displaced <= hidden(keeping, copies, era)


def test_who_joined_in_between_may_have_had_any_weight() -> None:
    """n4 rejoined heavy, served, and rejoined light again."""
    keeping = keeping_of(map_of(1, *ALL))
    copies = [s for s in range(SLOTS) if keeping.table[s][1:] == ("n3",)]
    era = keeping.era
    keeping.use_map(map_of(6, N1, N2, N3, joined(N4, 6, stint=3)))
    heavy = map_of(3, N1, N2, N3, joined(N4, 3, weight=50.0))
    displaced = {s for s in copies if "n3" not in ring_of(heavy).preference(s)[:2]}
    assert displaced
    assert displaced <= hidden(keeping, copies, era)


def test_where_there_may_have_been_too_few_members_for_copies_nothing_is_kept() -> None:
    """n2 was removed and came back: with two members only the owner had each entry."""
    keeping = keeping_of(map_of(1, N1, N2, N3))
    copies = [s for s in range(SLOTS) if keeping.table[s][1:] == ("n3",)]
    owned = [s for s in range(SLOTS) if keeping.owner_of(s) == "n3"]
    era = keeping.era
    keeping.use_map(map_of(4, N1, joined(N2, 4), N3))
    assert hidden(keeping, copies, era) == set(copies)
    assert not hidden(keeping, owned, era)


def test_without_a_readable_tier_for_a_while_nothing_was_kept() -> None:
    keeping = keeping_of(map_of(1, *ALL))
    copies = [s for s in range(SLOTS) if keeping.table[s][1:] == ("n3",)]
    era = keeping.era
    back = replace(without_tiers(N3, 4, Health.UP), filling=True)
    keeping.use_map(map_of(4, N1, N2, back, N4))
    assert hidden(keeping, copies, era) == set(copies)


def test_who_was_apart_for_a_while_has_missed_writes() -> None:
    keeping = keeping_of(map_of(1, *ALL))
    copies = [s for s in range(SLOTS) if keeping.table[s][1:] == ("n3",)]
    owned = [s for s in range(SLOTS) if keeping.owner_of(s) == "n3"]
    era = keeping.era
    keeping.use_map(map_of(3, N1, N2, replace(N3, apart_version=2), N4))
    assert hidden(keeping, copies, era) == set(copies)
    assert not hidden(keeping, owned, era)


def test_an_owner_keeps_what_it_has_whatever_was_in_between() -> None:
    """Nobody else can have served before this node had confirmed the map that says so."""
    keeping = keeping_of(map_of(1, *ALL))
    owned = [s for s in range(SLOTS) if keeping.owner_of(s) == "n3"]
    era = keeping.era
    keeping.use_map(map_of(9, N1, joined(N2, 8, 5), N3, joined(N4, 7, 4)))
    assert not hidden(keeping, owned, era)


def test_a_map_that_changes_nothing_here_changes_nothing() -> None:
    keeping = keeping_of(map_of(1, *ALL))
    before = keeping.era, list(keeping.floors)
    assert not keeping.use_map(map_of(2, *ALL))
    assert not keeping.use_map(map_of(7, *ALL))
    assert (keeping.era, keeping.floors) == before
    assert keeping.since_version == 1
    assert keeping.use_map(map_of(8, N1, N2, N3, down(N4, 8)))
    assert keeping.since_version == 8


# --- the writes of the owners ---------------------------------------------------------------------


def test_it_is_whole_when_each_owner_has_filled_what_it_owns() -> None:
    keeping = keeping_of(map_of(1, *ALL))
    wanted = keeping.wanted()
    assert set(wanted) == {"n1", "n2", "n4"}
    for owner, slots in wanted.items():
        assert not keeping.is_whole
        others = next(o for o in wanted if o != owner)
        keeping.filled(others, tuple(slots))  # not its slots
        assert keeping.wanted()[owner] == slots
        keeping.filled(owner, tuple(slots))
    assert keeping.is_whole


def test_where_the_thread_was_lost_what_came_before_is_hidden() -> None:
    keeping = keeping_of(map_of(1, *ALL))
    for owner, slots in keeping.wanted().items():
        keeping.filled(owner, tuple(slots))
    copies = [s for s in range(SLOTS) if keeping.table[s] == ("n1", "n3")]
    others = [s for s in range(SLOTS) if keeping.keeps(s) and s not in set(copies)]
    era = keeping.era
    keeping.lost_thread("n1", 200.0)
    assert hidden(keeping, copies, era) == set(copies)
    assert not hidden(keeping, others, era)
    assert keeping.wanted() == {"n1": copies}


# --- what is new ----------------------------------------------------------------------------------


def test_what_is_kept_is_new_for_as_long_as_a_call_may_ask_that_began_before() -> None:
    keeping = keeping_of(map_of(1, *ALL))
    keeping.note_time(100.0)
    slot = slots_where(keeping, "n1", "n3")[0]
    assert keeping.is_new([slot], 100.0 + NEW_S - 0.1)
    assert not keeping.is_new([slot], 100.0 + NEW_S)


@pytest.mark.parametrize("is_noted_at_once", [True, False])
def test_what_began_anew_when_the_thread_was_lost_is_new(is_noted_at_once: bool) -> None:
    keeping = keeping_of(map_of(1, *ALL))
    keeping.note_time(100.0)
    slot = slots_where(keeping, "n1", "n3")[0]
    keeping.lost_thread("n1", 200.0)
    if not is_noted_at_once:
        keeping.use_map(map_of(2, N1, down(N2, 2), N3, N4))
        keeping.note_time(201.0)
    assert keeping.is_new([slot], 202.0)
