"""The state machine under any commands in any order: what holds after every single one."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from map_plans import STARTS, Plan, applied, history, plans

from tiercluster.tiermap import (
    TIERS,
    Admin,
    Barrier,
    Command,
    Drain,
    Health,
    MapState,
    NodeState,
    OutcomeCode,
    TierFailed,
    TierMap,
    apply,
    decode_command,
    decode_delta,
    decode_map,
    decode_state,
    diff,
    encode_command,
    encode_delta,
    encode_map,
    encode_state,
    patch,
)
from tiercluster.tiermap.guard import unavailable
from tiercluster.tiermap.schema import version_of, version_of_map

several = settings(max_examples=40)


@several
@given(STARTS, plans)
def test_what_holds_after_every_command(state: MapState, plan: Plan) -> None:
    check_all(state, history(state, plan))


def check_all(state: MapState, commands: list[Command]) -> None:
    for command in commands:
        before, state = state, apply(state, command)
        check_step(before, command, state)
        check_state(state)


def check_step(before: MapState, command: Command, after: MapState) -> None:
    if version_of(command) > before.map.level and after == before:
        return  # nobody of that level can read it
    changed = after.map != before.map
    assert after.map.version == before.map.version + changed
    assert (after.map.digest != before.map.digest) == changed
    assert after.outcomes[:-1] == before.outcomes
    outcome = after.outcomes[-1]
    assert (outcome.command_id, outcome.version) == (command.id, after.map.version)
    assert outcome.reason
    check_outcome(changed, command, outcome.code)
    check_ring_version(before.map, after.map)
    check_events(before, after)
    check_generations(before.map, after.map)
    check_level(before.map, after.map)
    check_apart(before.map, after.map)
    if before.map.members:
        assert after.map.max_unavailable == before.map.max_unavailable
    if not getattr(command, "force", False):
        check_guard(before.map, command, after.map)


def check_level(before: TierMap, after: TierMap) -> None:
    assert after.level >= before.level
    assert before.replicas in (0, after.replicas)
    # What a member of level 1 may hold can be said to it without loss, and the other way round.
    assert (after.level == 1) == (version_of_map(after) == 1)
    assert (after.level == 1) == (after.replicas == 0)


def check_apart(before: TierMap, after: TierMap) -> None:
    earlier = {m.id: m for m in before.members}
    for member in after.members:
        was = earlier.get(member.id)
        is_further = not set(member.apart) <= set(was.apart if was else ())
        # Whoever has not seen this map can tell from a later one that somebody was apart; a new
        # stint has never been.
        known = was.apart_version if was and was.incarnation == member.incarnation else 0
        assert member.apart_version == (after.version if is_further else known)


def check_copies(tier_map: TierMap) -> None:
    ids = {m.id for m in tier_map.members if m.state is not NodeState.LEFT}
    some_serve = any(m.serves for m in tier_map.members)
    for member in tier_map.members:
        assert set(member.apart) <= ids - {member.id}
        assert list(member.apart) == sorted(set(member.apart))
        # Whoever fills can hold entries, and there is somebody to take them from.
        assert not member.filling or (member.has_tier and some_serve)
        assert not (member.filling or member.apart) or tier_map.copies > 1
    if tier_map.level == 1:
        assert tier_map.copies == 1
        assert not any(m.apart_version for m in tier_map.members)


def check_outcome(changed: bool, command: Command, code: OutcomeCode) -> None:
    if code is OutcomeCode.DONE:
        assert changed or isinstance(command, Barrier)
    elif code is OutcomeCode.REFUSED:
        assert not changed or isinstance(command, TierFailed)  # marked suspect
    else:
        assert not changed


def check_ring_version(before: TierMap, after: TierMap) -> None:
    def ring(tier_map: TierMap) -> list[tuple[str, float, str]]:
        return [(m.id, m.weight, m.incarnation) for m in tier_map.members if m.serves]

    moved = ring(before) != ring(after)
    assert after.ring_version == (after.version if moved else before.ring_version)


def shown_states(tier_map: TierMap) -> dict[str, str]:
    nodes = {m.id: m.state.value for m in tier_map.members}
    return nodes | {str(ref): record.state.value for ref, record in tier_map.refs()}


def check_events(before: MapState, after: MapState) -> None:
    new = after.events[len(before.events) :]
    assert after.events[: len(before.events)] == before.events
    assert all(event.version == after.map.version for event in new)
    shown = shown_states(after.map)
    assert all(shown[event.ref] == event.to_state for event in new)
    was = shown_states(before.map)
    assert all(was.get(event.ref, "LEFT") == event.from_state for event in new)
    # Whatever people are shown differently has its event.
    moved = {ref for ref, state in shown.items() if was.get(ref, state) != state}
    assert moved <= {event.ref for event in new}


def check_generations(before: TierMap, after: TierMap) -> None:
    for ref, record in before.refs():
        now = after.record(ref)
        assert now is not None
        assert now.generation >= record.generation
        if not record.is_readable and now.is_usable and ref.tier is not TIERS[2]:
            # What is put back into memory is new, unless its node proved that it forgot nothing.
            assert now.generation > record.generation or "kept" in now.reason


def check_guard(before: TierMap, command: Command, after: TierMap) -> None:
    if not isinstance(command, TierFailed | Drain):
        return
    members = sum(m.state is not NodeState.LEFT for m in after.members)
    for tier in TIERS:
        out = set(unavailable(after, tier))
        if out - set(unavailable(before, tier)):
            assert len(out) <= max(1, int(members * after.max_unavailable + 1e-9))


def check_state(state: MapState) -> None:
    check_copies(state.map)
    up = {m.id for m in state.map.members if m.state is NodeState.UP}
    assert [m.id for m in state.map.members] == sorted({m.id for m in state.map.members})
    for member in state.map.members:
        reporters = set(member.unreachable_by)
        assert len(reporters) == len(member.unreachable_by)
        assert reporters <= up - {member.id}
        assert member.id in up or not reporters
        assert 2 * len(reporters) <= len(up) - 1 or not reporters
        for record in member.tiers:
            if record.admin is Admin.DRAINING:
                assert member.id in up
                assert record.health is Health.UP
            if record.suspect:
                assert record.health is Health.UP
            assert record.since_version <= state.map.version


@several
@given(STARTS, plans)
def test_a_replay_from_frames_gives_the_same_state_and_the_state_crosses_as_a_frame(
    start: MapState, plan: Plan
) -> None:
    sent = history(start, plan)
    state = applied(start, sent)
    assert applied(start, [decode_command(encode_command(c)) for c in sent]) == state
    assert decode_state(encode_state(state)) == state
    assert decode_map(encode_map(state.map)) == state.map


@several
@given(STARTS, plans, st.integers(0, 49))
def test_a_snapshot_in_between_changes_nothing(start: MapState, plan: Plan, cut: int) -> None:
    sent = history(start, plan)
    restored = decode_state(encode_state(applied(start, sent[:cut])))
    assert applied(restored, sent[cut:]) == applied(start, sent)


@several
@given(STARTS, plans, st.lists(st.tuples(st.integers(0, 49), st.integers(0, 49)), max_size=20))
def test_commands_delivered_twice_or_late_again_do_no_harm(
    start: MapState, plan: Plan, repeats: list[tuple[int, int]]
) -> None:
    sent = history(start, plan)
    clean = applied(start, sent)
    # What was above the level has left no trace to know a copy by: it is as if it came only then.
    known = {outcome.command_id for outcome in clean.outcomes}
    noisy = [
        again
        for i, command in enumerate(sent)
        for again in (
            command,
            *(sent[old] for at, old in repeats if at == i and old <= i and sent[old].id in known),
        )
    ]
    assert applied(start, noisy) == clean


@several
@given(STARTS, plans)
def test_a_command_again_under_another_id_finds_nothing_left_to_do(
    state: MapState, plan: Plan
) -> None:
    for command in history(state, plan):
        state = apply(state, command)
        again = apply(state, replace(command, id=f"again {command.id}"))
        assert again.map == state.map
        assert again.events == state.events


@several
@given(STARTS, plans, st.randoms(use_true_random=False))
def test_in_whatever_order_commands_arrive_every_step_is_sound(
    state: MapState, plan: Plan, order: object
) -> None:
    shuffled = history(state, plan)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    check_all(state, shuffled)


@several
@given(STARTS, plans)
def test_a_delta_turns_any_earlier_map_into_any_later_one(state: MapState, plan: Plan) -> None:
    maps = [TierMap(), state.map]
    for command in history(state, plan):
        state = apply(state, command)
        maps.append(state.map)
    for old in maps[::5]:
        assert patch(old, decode_delta(encode_delta(diff(old, maps[-1])))) == maps[-1]
