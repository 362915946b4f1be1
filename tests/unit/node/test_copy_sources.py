"""What is kept may be shown only if its owner has nothing that this node lacks."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.node.kept import ALL, down, keeping, map_of, slots_of
from tiercluster.node.keeping import NOBODYS


def test_what_a_third_node_kept_is_hidden_when_another_copy_becomes_the_owner() -> None:
    """n3 may have had writes of n1 that n2 has not, and tells them as the owner."""
    before = map_of(5, *ALL)
    kept = keeping("n2", before)
    of_n1 = slots_of(kept, "n1")
    kept.filled("n1", tuple(of_n1))
    floors = list(kept.floors)
    kept.use_map(map_of(6, down(ALL[0], 6), *ALL[1:]))
    from_n1_to_n3 = [slot for slot in of_n1 if kept.owner_of(slot) == "n3"]
    from_n1_to_n2 = [slot for slot in of_n1 if kept.owner_of(slot) == "n2"]
    assert from_n1_to_n3
    assert from_n1_to_n2
    assert all(kept.floors[slot] > floors[slot] for slot in from_n1_to_n3)
    assert set(from_n1_to_n3) <= set(kept.wanted()["n3"])
    assert all(kept.floors[slot] == floors[slot] for slot in from_n1_to_n2)


def test_who_hands_a_slot_over_keeps_what_it_has() -> None:
    """The newcomer was filled by it, in the order of its writes: it has nothing more."""
    filling = (replace(ALL[0], filling=True), *ALL[1:])
    kept = keeping("n2", map_of(5, *filling))
    floors = list(kept.floors)
    mine = slots_of(kept, "n2")
    kept.use_map(map_of(6, *ALL))
    handed_over = [slot for slot in mine if kept.owner_of(slot) == "n1"]
    assert handed_over
    assert all(kept.floors[slot] == floors[slot] for slot in handed_over)


def test_maps_that_were_passed_over_may_have_had_another_owner() -> None:
    """n1 is the owner in both maps, as one stint, but had no tier for a while."""
    kept = keeping("n2", map_of(5, *ALL))
    floors = list(kept.floors)
    of_n1 = slots_of(kept, "n1")
    tiers = (replace(ALL[0].tiers[0], since_version=7), *ALL[0].tiers[1:])
    kept.use_map(map_of(8, replace(ALL[0], tiers=tiers), *ALL[1:]))
    assert all(kept.floors[slot] > floors[slot] for slot in of_n1)


def test_an_owner_that_did_not_reach_this_node_in_between_has_written_without_it() -> None:
    """Apart and together again, in maps that this node has not seen: they end as they began."""
    kept = keeping("n2", map_of(5, *ALL))
    floors = list(kept.floors)
    of_n1 = slots_of(kept, "n1")
    kept.use_map(map_of(8, ALL[0], replace(ALL[1], apart_version=6), ALL[2]))
    assert all(kept.floors[slot] > floors[slot] for slot in of_n1)
    assert all(floor < NOBODYS for floor in kept.floors)


def test_a_member_that_fills_puts_nobody_out_of_the_maps_that_were_passed_over() -> None:
    """n2 goes by two votes, whose maps come at once, while n1 is being filled: what n3 has is all
    that there is."""
    filling = replace(ALL[0], filling=True)
    kept = keeping("n3", map_of(5, filling, *ALL[1:], replicas=2))
    floors = list(kept.floors)
    of_n2 = slots_of(kept, "n2")
    kept.use_map(map_of(7, filling, down(ALL[1], 7), ALL[2], replicas=2))
    assert of_n2
    assert all(kept.floors[slot] == floors[slot] for slot in of_n2)


def test_a_quick_restart_whose_maps_are_passed_over_costs_no_copies() -> None:
    """n2 is called down and has joined again by the next map that n3 sees."""
    kept = keeping("n3", map_of(5, *ALL, replicas=2))
    floors = list(kept.floors)
    of_n2 = [slot for slot in slots_of(kept, "n2") if "n3" in kept.table[slot]]
    anew = replace(ALL[1], incarnation="n2#2", filling=True, since_version=7)
    kept.use_map(map_of(7, ALL[0], anew, ALL[2], replicas=2))
    assert of_n2
    assert all(kept.floors[slot] == floors[slot] for slot in of_n2)
