"""Ownership in time: settling, floors, and what a node keeps through other nodes' changes."""

from dataclasses import replace

import pytest

from tiercluster.cluster.ring import SLOTS
from tiercluster.node.ownership import Ownership, SlotState
from tiercluster.tiermap import Admin, Member, NodeState, TierMap

FENCE_S = 0.5


def member(node: str, state: NodeState = NodeState.UP, incarnation: str = "") -> Member:
    return Member(node, f"{node}:1", state=state, incarnation=incarnation or f"{node}#0")


def tier_map(version: int, *members: Member) -> TierMap:
    return TierMap("c", version, version, tuple(members))


THREE = tuple(map(member, ("n1", "n2", "n3")))


def settled(node: str, version: int = 1, members: tuple[Member, ...] = THREE) -> Ownership:
    ownership = Ownership(node, node, FENCE_S)
    ownership.use_map(tier_map(version, *members), 0.0)
    for other in members:
        if other.id != node:
            ownership.confirm(other.id, other.incarnation, version, 0.0)
    ownership.tick(FENCE_S)
    assert ownership.is_settled
    return ownership


def count(ownership: Ownership, state: SlotState) -> int:
    return ownership.slots.count(state)


def test_a_lone_node_serves_every_slot_at_once():
    assert count(settled("n1", members=(member("n1"),)), SlotState.SERVED) == SLOTS


def test_gained_slots_wait_until_every_up_member_has_applied_the_map():
    ownership = Ownership("n1", "n1", FENCE_S)
    ownership.use_map(tier_map(5, *THREE), 0.0)
    assert count(ownership, SlotState.SERVED) == 0
    ownership.confirm("n2", "n2#0", 5, 0.0)
    ownership.confirm("n3", "n3#0", 4, 0.0)
    assert count(ownership, SlotState.SERVED) == 0
    ownership.confirm("n3", "n3#0", 5, 0.0)
    assert count(ownership, SlotState.SETTLING) == 0
    assert count(ownership, SlotState.SERVED) > SLOTS / 5


def test_a_confirmation_of_another_incarnation_does_not_count():
    ownership = Ownership("n1", "n1", FENCE_S)
    ownership.use_map(tier_map(5, *THREE), 0.0)
    ownership.confirm("n2", "n2#0", 5, 0.0)
    ownership.confirm("n3", "older", 9, 0.0)
    assert not ownership.is_settled


def test_what_was_served_and_is_kept_stays_served_while_gains_settle():
    ownership = settled("n1")
    kept = {s for s in range(SLOTS) if ownership.slots[s] == SlotState.SERVED}
    down = replace(THREE[1], state=NodeState.DOWN)
    ownership.use_map(tier_map(2, THREE[0], down, THREE[2]), 0.0)
    now_served = {s for s in range(SLOTS) if ownership.slots[s] == SlotState.SERVED}
    assert now_served == kept
    assert count(ownership, SlotState.SETTLING) > 0
    ownership.confirm("n3", "n3#0", 2, 0.0)  # n2 is DOWN: its lease has run out
    assert count(ownership, SlotState.SETTLING) == 0


def test_lost_slots_stop_at_once_and_come_back_with_a_higher_floor():
    down = replace(THREE[1], state=NodeState.DOWN)
    ownership = settled("n1", 2, (THREE[0], down, THREE[2]))
    ownership.confirm("n2", "n2#1", 3, 0.0)
    lent = {s for s in range(SLOTS) if ownership.slots[s]}
    ownership.use_map(tier_map(3, THREE[0], member("n2", incarnation="n2#1"), THREE[2]), 0.0)
    lost = lent - {s for s in range(SLOTS) if ownership.slots[s]}
    assert lost
    ownership.use_map(tier_map(4, THREE[0], down, THREE[2]), 0.0)
    assert all(ownership.gained[s] == 4 for s in lost)
    assert all(ownership.slots[s] == SlotState.SETTLING for s in lost)


def test_a_new_incarnation_of_itself_starts_with_nothing():
    ownership = settled("n1")
    again = member("n1", incarnation="n1#1")
    ownership.use_map(tier_map(9, again, *THREE[1:]), 0.0)
    assert count(ownership, SlotState.SERVED) == 0
    assert all(ownership.gained[s] == 9 for s in range(SLOTS) if ownership.slots[s])


def test_the_map_of_another_process_with_its_id_gives_it_nothing():
    ownership = settled("n1")
    ownership.use_map(tier_map(9, member("n1", incarnation="stranger#0"), *THREE[1:]), 0.0)
    assert not any(ownership.slots)


def test_a_node_voted_out_serves_nothing():
    ownership = settled("n1")
    ownership.use_map(tier_map(9, replace(THREE[0], state=NodeState.DOWN), *THREE[1:]), 0.0)
    assert not any(ownership.slots)


def test_a_member_removed_while_up_is_given_time_to_stop():
    ownership = settled("n1")
    gone = replace(THREE[2], state=NodeState.LEFT)
    ownership.use_map(tier_map(2, THREE[0], THREE[1], gone), 10.0)
    ownership.confirm("n2", "n2#0", 2, 10.0)
    assert not ownership.is_settled
    ownership.tick(10.0 + FENCE_S - 0.01)
    assert not ownership.is_settled
    ownership.tick(10.0 + FENCE_S)
    assert ownership.is_settled


def test_one_voted_out_by_members_that_it_had_not_heard_of_is_given_the_time_of_a_lease():
    ownership = settled("n1", 1, THREE[:2])
    ownership.use_map(tier_map(2, THREE[0], THREE[1], replace(THREE[2], since_version=2)), 5.0)
    ownership.confirm("n3", THREE[2].incarnation, 2, 5.0)
    down = replace(THREE[1], state=NodeState.DOWN, since_version=3)
    ownership.use_map(tier_map(3, THREE[0], down, THREE[2]), 6.0)
    ownership.confirm("n3", THREE[2].incarnation, 3, 6.0)
    ownership.tick(6.0 + FENCE_S - 0.01)
    assert not ownership.is_settled
    ownership.tick(6.0 + FENCE_S)
    assert ownership.is_settled


def test_one_voted_out_together_with_another_is_given_the_time_of_a_lease():
    """n1 and n3 report n2, n1 alone reports n3. When n2 goes, that one report is a majority, too,
    but n2 may have granted to n3 to the last. Then n2 comes back, and n3 has heard of nothing."""
    ownership = settled("n1")
    down = [replace(m, state=NodeState.DOWN, since_version=2) for m in THREE[1:]]
    ownership.use_map(tier_map(2, THREE[0], *down), 5.0)
    back = replace(THREE[1], incarnation="n2#1", since_version=3)
    ownership.use_map(tier_map(3, THREE[0], back, down[1]), 5.0)
    ownership.confirm("n2", "n2#1", 3, 5.0)
    ownership.tick(5.0 + FENCE_S - 0.01)
    assert not ownership.is_settled
    ownership.tick(5.0 + FENCE_S)
    assert ownership.is_settled


def test_one_voted_out_that_knew_all_who_voted_is_replaced_at_once():
    ownership = settled("n1", 1, THREE)
    down = replace(THREE[1], state=NodeState.DOWN, since_version=2)
    ownership.use_map(tier_map(2, THREE[0], down, THREE[2]), 6.0)
    ownership.confirm("n3", THREE[2].incarnation, 2, 6.0)
    assert ownership.is_settled


@pytest.mark.parametrize("state", [NodeState.DOWN, NodeState.LEFT])
def test_a_newcomer_that_finds_a_member_gone_waits_for_its_lease(state: NodeState):
    """It may have gone just now: LEFT by force while it was UP and served."""
    down = replace(THREE[1], state=state, since_version=2)
    ownership = Ownership("n1", "n1", FENCE_S)
    ownership.use_map(tier_map(3, THREE[0], down, THREE[2]), 1.0)
    ownership.confirm("n3", THREE[2].incarnation, 3, 1.0)
    assert not ownership.is_settled
    ownership.tick(1.0 + FENCE_S)
    assert ownership.is_settled


OUT = tuple(replace(r, admin=Admin.OUT) for r in THREE[0].tiers)


def test_a_peer_that_is_ahead_confirms_nothing_yet():
    """n1 goes out of service in map 2 and is back in map 3. It applies 1 and then 3 at once, so it
    never stops; n2, which took over in map 2, has not applied 3 yet. Both would serve."""
    back, two = settled("n1", 1, THREE[:2]), settled("n2", 1, THREE[:2])
    out = replace(THREE[0], tiers=OUT)
    two.use_map(tier_map(2, out, THREE[1]), 1.0)
    back.use_map(tier_map(3, *THREE[:2]), 1.0)
    two.confirm("n1", THREE[0].incarnation, 3, 1.0)
    assert not served_by_both(back, two)
    two.use_map(tier_map(3, *THREE[:2]), 1.1)
    assert two.is_settled
    assert count(back, SlotState.SERVED) + count(two, SlotState.SERVED) == SLOTS


def test_a_peer_that_had_another_ring_in_between_must_confirm_the_newest():
    """n2 takes over in map 2, n1 is back in 3 and out again in 4. n1 applied 1, 3 and not yet 4,
    n2 applied 2 and then 4 at once: that n1 had applied 3 says nothing about the slots of 4."""
    back, two = settled("n1", 1, THREE[:2]), settled("n2", 1, THREE[:2])
    out = replace(THREE[0], tiers=OUT)
    two.use_map(tier_map(2, out, THREE[1]), 1.0)
    back.use_map(tier_map(3, *THREE[:2]), 1.0)
    two.use_map(tier_map(4, out, THREE[1]), 1.0)
    two.confirm("n1", THREE[0].incarnation, 3, 1.0)
    assert not served_by_both(back, two)
    back.use_map(tier_map(4, out, THREE[1]), 1.1)
    two.confirm("n1", THREE[0].incarnation, 4, 1.1)
    assert count(two, SlotState.SERVED) == SLOTS


def test_what_a_peer_said_early_counts_once_its_map_is_applied():
    ownership = Ownership("n1", "n1", FENCE_S)
    for node in ("n2", "n3"):
        ownership.confirm(node, f"{node}#0", 5, 0.0)
    ownership.use_map(tier_map(5, *THREE), 0.0)
    assert ownership.is_settled
    ownership.use_map(tier_map(6, replace(THREE[1], state=NodeState.DOWN), *THREE[::2]), 1.0)
    ownership.confirm("n3", "n3#0", 7, 1.0)
    assert not ownership.is_settled
    ownership.use_map(replace(ownership_map(6), version=7), 1.0)  # no change of the ring
    assert ownership.is_settled


def ownership_map(ring_version: int) -> TierMap:
    return tier_map(ring_version, replace(THREE[1], state=NodeState.DOWN), *THREE[::2])


def served_by_both(one: Ownership, other: Ownership) -> list[int]:
    both = (SlotState.SERVED, SlotState.SERVED)
    return [s for s in range(SLOTS) if (one.slots[s], other.slots[s]) == both]


def test_a_node_that_serves_nothing_learns_that_it_has_joined():
    """All its tiers are drained, so its join changes no ring; without its incarnation it would
    never ping and be voted out again and again."""
    before, joined = (replace(THREE[0], incarnation=i, tiers=OUT) for i in ("earlier#1", "n1#1"))
    ownership = Ownership("n1", "n1", FENCE_S)
    ownership.use_map(tier_map(5, before, *THREE[1:]), 0.0)
    ownership.use_map(replace(tier_map(5, joined, *THREE[1:]), version=6), 0.0)
    assert ownership.incarnation == "n1#1"
    assert not any(ownership.slots)


def test_a_process_that_moved_waits_for_the_lease_of_the_one_before_it():
    """The earlier process of n1 runs on, elsewhere, and has not applied the map that replaces it.
    Nobody asks it to confirm: in the map it is gone."""
    moved = replace(member("n1", incarnation="new#1"), address="elsewhere:1")
    ownership = Ownership("n1", "new", FENCE_S)
    ownership.use_map(tier_map(5, *THREE), 0.0)
    ownership.use_map(tier_map(6, moved, *THREE[1:]), 1.0)
    for node in ("n2", "n3"):
        ownership.confirm(node, f"{node}#0", 6, 1.0)
    assert not ownership.is_settled
    ownership.tick(1.0 + FENCE_S)
    assert ownership.is_settled


def test_a_process_that_took_over_the_address_of_the_one_before_it_need_not_wait():
    """Its port was free, so nothing answers there any more."""
    ownership = Ownership("n1", "new", FENCE_S)
    ownership.use_map(tier_map(5, *THREE), 0.0)
    ownership.use_map(tier_map(6, member("n1", incarnation="new#1"), *THREE[1:]), 1.0)
    for node in ("n2", "n3"):
        ownership.confirm(node, f"{node}#0", 6, 1.0)
    assert ownership.is_settled


def test_slots_of_a_process_that_another_host_took_the_place_of_wait_for_its_lease():
    """The new process of n3 fills before it owns anything: the others take its slots at once,
    while the old one runs on, elsewhere, with a lease."""
    ownership = settled("n1")
    moved = replace(member("n3", incarnation="new#1"), address="elsewhere:1", filling=True)
    ownership.use_map(tier_map(6, *THREE[:2], moved), 1.0)
    ownership.confirm("n2", "n2#0", 6, 1.0)
    ownership.confirm("n3", "new#1", 6, 1.0)
    assert not ownership.is_settled
    ownership.tick(1.0 + FENCE_S)
    assert ownership.is_settled


def test_slots_of_a_process_that_was_started_again_where_it_was_need_not_wait():
    ownership = settled("n1")
    anew = replace(member("n3", incarnation="new#1"), filling=True)
    ownership.use_map(tier_map(6, *THREE[:2], anew), 1.0)
    ownership.confirm("n2", "n2#0", 6, 1.0)
    ownership.confirm("n3", "new#1", 6, 1.0)
    assert ownership.is_settled
