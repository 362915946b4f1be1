"""Who may vote: first starts, wiped disks, and what is asked of them."""

from __future__ import annotations

from tiercluster.tiermap.raft.admission import Admission, Admit, Adopt, Phase
from tiercluster.tiermap.raft.prevote import PreVote

PEERS = frozenset({"b", "c"})


def fresh(peers: frozenset[str] = PEERS) -> Admission:
    return Admission(peers, admitted=False, now=0.0, patience_s=3.0)


def test_an_admitted_member_votes_at_once() -> None:
    assert Admission(PEERS, admitted=True, now=0.0, patience_s=3.0).may_vote


def test_a_member_without_peers_needs_nobody() -> None:
    alone = fresh(frozenset())
    assert alone.decide(1, 0.0) == Adopt(0, 1)
    assert alone.decide(1, 0.0) == Admit()


def test_at_a_first_start_all_are_empty_and_all_vote() -> None:
    member = fresh()
    member.heard("b", 0, 1)
    assert member.decide(1, 0.1) is None
    member.heard("c", 0, 1)
    assert member.decide(1, 0.2) == Adopt(0, 1)
    assert member.decide(1, 0.2) == Admit()
    assert member.may_vote


def test_an_empty_majority_waits_for_the_rest_and_then_begins_without() -> None:
    member = fresh()
    member.heard("b", 0, 1)
    assert member.decide(1, 2.9) is None
    assert member.decide(1, 3.0) == Admit()


def test_one_peer_that_remembers_anything_forbids_beginning_without_the_rest() -> None:
    member = fresh()
    member.heard("b", 1, 2)
    assert member.decide(1, 100.0) is None
    assert not member.may_vote
    assert not member.may_follow


def test_a_wiped_member_follows_without_a_vote_until_it_has_caught_up() -> None:
    member = fresh()
    member.heard("b", 5, 90)
    member.heard("c", 7, 80)
    assert member.decide(1, 1.0) == Adopt(7, 90)
    assert member.phase is Phase.CATCHING_UP
    assert member.may_follow
    assert not member.may_vote
    assert member.decide(89, 2.0) is None
    assert member.decide(90, 3.0) == Admit()


def test_only_the_first_answer_of_a_session_counts() -> None:
    member = fresh()
    member.heard("b", 5, 90)
    member.heard("b", 6, 200)
    member.heard("c", 5, 90)
    assert member.decide(1, 1.0) == Adopt(5, 90)


def test_after_a_new_session_everybody_is_asked_again() -> None:
    member = fresh()
    member.heard("b", 5, 90)
    member.forget_answers()
    member.heard("c", 5, 90)
    assert member.decide(1, 1.0) is None


def test_strangers_have_no_say() -> None:
    member = fresh()
    member.heard("b", 0, 1)
    member.heard("x", 0, 1)
    assert member.decide(1, 1.0) is None


def test_a_pre_vote_is_won_by_a_majority_and_spent() -> None:
    votes = PreVote(voters=5, retry_s=0.1, valid_s=0.4)
    assert votes.begins_round(1.0)
    votes.granted("b", 1)
    assert not votes.has_won(1.0)
    votes.granted("c", 1)
    assert votes.has_won(1.1)
    assert not votes.has_won(1.1)


def test_a_pre_vote_counts_nobody_twice_and_no_answer_to_an_earlier_round() -> None:
    votes = PreVote(voters=5, retry_s=0.1, valid_s=0.4)
    votes.begins_round(1.0)
    votes.granted("b", 1)
    votes.granted("b", 1)
    assert not votes.has_won(1.0)
    assert not votes.begins_round(1.05)
    assert votes.begins_round(1.1)
    votes.granted("c", 1)
    votes.granted("d", 1)
    assert not votes.has_won(1.1)


def test_old_grants_are_worth_nothing() -> None:
    votes = PreVote(voters=3, retry_s=0.1, valid_s=0.4)
    votes.begins_round(1.0)
    votes.granted("b", 1)
    assert not votes.has_won(1.5)


def test_a_single_voter_needs_no_answers() -> None:
    assert PreVote(voters=1, retry_s=0.1, valid_s=0.4).has_won(0.0)
