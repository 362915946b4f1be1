"""What the state machine does with every command alike: ids, outcomes, digests, bounds."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from tiercluster.tiermap import (
    MAX_EVENTS,
    MAX_OUTCOMES,
    TIERS,
    Barrier,
    Drain,
    Drained,
    MapState,
    Member,
    NodeJoined,
    Outcome,
    OutcomeCode,
    Restore,
    Tier,
    TierMap,
    apply,
    encode_command,
    outcome_of,
)

DRAIN = Drain(id="d", by="op", node="n1", tiers=(Tier.HOT,))
RESTORE = Restore(id="r", by="op", node="n1", tiers=(Tier.HOT,))
WORLD = MapState(
    TierMap("c", 5, 2, (Member("n1", "a:1", incarnation="i"), Member("n2", "a:2")), "d")
)


def test_a_command_with_a_known_id_changes_nothing_at_all() -> None:
    drained = apply(WORLD, DRAIN)
    restored = apply(drained, RESTORE)
    assert apply(restored, DRAIN) is restored
    assert apply(restored, replace(DRAIN, id="r", node="n2")) is restored


def test_a_barrier_leaves_an_outcome_and_nothing_else() -> None:
    after = apply(WORLD, Barrier(id="b", by="n1"))
    assert (after.map, after.events) == (WORLD.map, ())
    assert after.outcomes == (Outcome("b", OutcomeCode.DONE, "applied", 5),)


def test_a_command_without_effect_moves_neither_version_nor_digest() -> None:
    once = apply(WORLD, DRAIN)
    twice = apply(once, replace(DRAIN, id="e"))
    assert twice.map == once.map
    assert twice.events == once.events
    assert outcome_of(twice, "e") == Outcome(
        "e", OutcomeCode.NOOP, "n1/hot is drained or draining already", 6
    )


def test_the_digest_is_a_chain_over_commands_and_versions() -> None:
    expected = hashlib.sha256(b"d" + encode_command(DRAIN) + b"6").hexdigest()[:32]
    assert apply(WORLD, DRAIN).map.digest == expected


def test_different_histories_to_the_same_map_have_different_digests() -> None:
    one = apply(WORLD, DRAIN)
    other = apply(WORLD, replace(DRAIN, id="other"))
    assert replace(one.map, digest="") == replace(other.map, digest="")
    assert one.map.digest != other.map.digest


def test_the_time_of_a_command_goes_into_its_event_only() -> None:
    early, late = apply(WORLD, DRAIN), apply(WORLD, replace(DRAIN, time=1e9))
    assert replace(early.map, digest="") == replace(late.map, digest="")
    assert late.events[-1].time == 1e9


def test_events_and_outcomes_are_bounded_and_the_oldest_go_first() -> None:
    state = WORLD
    rounds = max(MAX_EVENTS, MAX_OUTCOMES) // 2 + 5
    for i in range(rounds):
        state = apply(state, replace(DRAIN, id=f"d{i}"))
        state = apply(state, replace(RESTORE, id=f"r{i}"))
    assert (len(state.events), len(state.outcomes)) == (MAX_EVENTS, MAX_OUTCOMES)
    assert state.events[-1].version == state.map.version == 5 + 2 * rounds
    assert outcome_of(state, "d0") is None
    assert outcome_of(state, f"r{rounds - 1}") is not None


def test_only_the_last_readable_tier_of_a_node_moves_the_ring() -> None:
    state = apply(WORLD, replace(DRAIN, tiers=TIERS))
    moved = []
    for tier in TIERS:
        command = Drained(id=f"done {tier}", by="n1", node="n1", tiers=(tier,), incarnation="i")
        state = apply(state, command)
        moved.append(state.map.ring_version == state.map.version)
    assert moved == [False, False, True]


def test_a_new_weight_moves_the_ring() -> None:
    join = NodeJoined(
        id="j",
        by="n1",
        node="n1",
        cluster="c",
        address="a:1",
        weight=2.0,
        expected="i",
        incarnation="k",
    )
    state = apply(WORLD, join)
    assert state.map.ring_version == state.map.version == 6
