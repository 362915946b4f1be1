"""The lease: who may answer, and what silence means."""

import pytest

from tiercluster.node.lease import RELINK_S, Lease, LeaseState, grants_needed
from tiercluster.node.settings import DetectorSettings

SETTINGS = DetectorSettings()


def lease_of(*others: str) -> Lease:
    lease = Lease(SETTINGS)
    lease.use_map(1, others, 0.0)
    return lease


@pytest.mark.parametrize(("others", "needed"), [(0, 0), (1, 1), (2, 1), (3, 2), (4, 3), (6, 4)])
def test_a_node_needs_so_many_grants_that_the_rest_cannot_vote_it_out(others, needed):
    assert grants_needed(others) == needed
    voters_left = others - needed
    assert others == 0 or not voters_left > others / 2


def test_a_lone_node_holds_its_lease_for_ever():
    assert lease_of().state(1e9) is LeaseState.HELD


def test_the_lease_runs_from_the_sending_of_the_ping_not_from_the_answer():
    lease = lease_of("n2", "n3")
    lease.pong("n2", sent_at=10.0, grant=True, version=1, now=10.3, trusted=True)
    assert lease.state(10.39) is LeaseState.HELD
    assert lease.state(10.41) is LeaseState.WAITING


def test_a_refused_grant_does_not_extend_the_lease():
    lease = lease_of("n2", "n3")
    lease.pong("n2", 10.0, True, 1, 10.0, trusted=True)
    lease.pong("n2", 10.3, False, 1, 10.3, trusted=True)
    assert lease.state(10.5) is LeaseState.WAITING


def test_a_grant_from_a_peer_that_this_node_reported_does_not_count():
    lease = lease_of("n2", "n3")
    lease.pong("n2", 10.0, True, 1, 10.0, trusted=False)
    assert lease.state(10.1) is not LeaseState.HELD


def test_a_grant_under_a_newer_map_counts_only_once_that_map_is_applied():
    lease = lease_of("n2", "n3")
    lease.pong("n2", 10.0, True, 2, 10.0, trusted=True)
    assert lease.state(10.1) is LeaseState.WAITING
    lease.use_map(2, ("n2", "n3"), 10.0)
    assert lease.state(10.1) is LeaseState.HELD


def test_a_newcomer_in_the_map_has_granted_nothing():
    lease = lease_of()
    assert lease.state(50.0) is LeaseState.HELD
    lease.use_map(2, ("n2",), 50.0)
    assert lease.state(50.0) is LeaseState.WAITING
    assert lease.state(50.41) is LeaseState.MINORITY


def test_with_four_others_the_third_newest_grant_counts():
    lease = lease_of("a", "b", "c", "d")
    for node, sent_at in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        lease.pong(node, sent_at, True, 1, sent_at, trusted=True)
    assert lease.held_until == pytest.approx(1.0 + SETTINGS.lease_s)


def test_silence_of_all_peers_is_a_minority_only_after_the_grace():
    lease = lease_of("n2", "n3")
    lease.pong("n2", 10.0, True, 1, 10.0, trusted=True)
    assert lease.state(10.79) is LeaseState.WAITING
    assert lease.state(10.81) is LeaseState.MINORITY


def test_a_thawed_node_waits_for_answers_before_it_believes_in_a_minority():
    lease = lease_of("n2", "n3")
    lease.pong("n2", 10.0, True, 1, 10.0, trusted=True)
    lease.stalled(20.0)
    assert lease.state(20.3 + RELINK_S) is LeaseState.WAITING
    assert lease.state(20.5 + RELINK_S) is LeaseState.MINORITY


def test_a_node_too_busy_to_ask_does_not_believe_in_a_minority():
    """One turn takes a second, in which it reads no answer and sends no ping."""
    lease = lease_of("n2", "n3")
    lease.pong("n2", 10.0, True, 1, 10.0, trusted=True)
    lease.pinged(10.0)
    assert lease.state(11.0) is LeaseState.WAITING
    lease.pinged(11.0)
    assert lease.state(11.2) is LeaseState.WAITING
    lease.pinged(11.2)
    assert lease.state(11.45) is LeaseState.MINORITY


def test_peers_that_answer_but_refuse_are_no_minority():
    lease = lease_of("n2", "n3")
    lease.pong("n2", 20.0, False, 1, 20.0, trusted=True)
    assert lease.state(20.5) is LeaseState.WAITING


def test_a_minority_that_hears_of_a_newer_map_waits_for_it():
    lease = lease_of("n2", "n3")
    lease.pong("n2", 10.0, False, 7, 10.0, trusted=True)
    assert lease.state(60.0) is LeaseState.WAITING
    lease.use_map(7, ("n2", "n3"), 60.0)
    assert lease.state(60.0) is LeaseState.MINORITY


def test_the_only_member_of_a_cluster_of_three_voters_holds_no_lease():
    lease = Lease(SETTINGS)
    lease.use_map(1, (), 5.0, voters=("n2", "n3"))
    assert lease.state(5.0) is LeaseState.WAITING
    assert lease.state(5.0 + SETTINGS.quorum_grace_s) is LeaseState.MINORITY


def test_a_cluster_of_one_needs_nobody():
    lease = Lease(SETTINGS)
    lease.use_map(1, (), 5.0)
    assert lease.state(1e9) is LeaseState.HELD


def test_grants_of_two_of_five_voters_make_no_majority_with_one_of_them():
    lease = Lease(SETTINGS)
    lease.use_map(1, ("n2",), 5.0, voters=("n2", "n3", "n4", "n5"))
    lease.pong("n2", 5.0, True, 1, 5.0, trusted=True)
    assert lease.state(5.0) is not LeaseState.HELD
    lease.use_map(2, ("n2", "n3"), 5.0, voters=("n2", "n3", "n4", "n5"))
    lease.pong("n3", 5.0, True, 2, 5.0, trusted=True)
    assert lease.state(5.0) is LeaseState.HELD


def test_a_follower_needs_a_majority_of_the_voters():
    lease = Lease(SETTINGS, is_voter=False)
    lease.use_map(1, ("n1", "f2"), 5.0, voters=("n1",))
    lease.pong("f2", 5.0, True, 1, 5.0, trusted=True)
    assert lease.state(5.0) is not LeaseState.HELD
    lease.pong("n1", 5.0, True, 1, 5.0, trusted=True)
    assert lease.state(5.0) is LeaseState.HELD
