"""The state machine under any commands in any order: what holds after every single one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tiercluster.tiermap import (
    TIERS,
    Admin,
    Barrier,
    Command,
    Drain,
    Drained,
    Guard,
    Health,
    MapState,
    NodeJoined,
    NodeState,
    NodeStopped,
    OutcomeCode,
    RemoveNode,
    ReportReachable,
    ReportUnreachable,
    Restore,
    TierFailed,
    TierMap,
    TierRecovered,
    TierRecovering,
    TierRef,
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

GUARD = Guard()
NODES = ("n1", "n2", "n3", "n4")
# Most commands are aimed: incarnations and generations are those of the map when the command comes
# (see `history`). The others have them from small sets, and mostly miss.
incarnations = st.sampled_from(["", "i1", "i2", "i3"])
generations = st.integers(1, 4)
nodes = st.sampled_from([*NODES, *NODES, "n9"])
refs = st.builds(TierRef, nodes, st.sampled_from(TIERS))
tiers = st.lists(st.sampled_from(TIERS), max_size=3).map(tuple)
evidences = st.sampled_from([(), (("failures", 5),), (("rate", 0.5), ("kind", "EIO"))])
flags = st.booleans()
envelope = {
    "id": st.just("-"),  # numbered by `numbered`
    "by": st.sampled_from([*NODES, "op"]),
    "time": st.sampled_from([0.0, 1.5, 1e9]),
}
COMMANDS: tuple[st.SearchStrategy[Command], ...] = (
    st.builds(
        NodeJoined,
        **envelope,
        node=st.sampled_from(NODES),
        cluster=st.sampled_from(["c", "c", "c", "d"]),
        address=st.just("a:1"),
        weight=st.sampled_from([1.0, 1.0, 2.0]),
        expected=incarnations,
        incarnation=st.sampled_from(["i1", "i2", "i3"]),
        keep_cold=flags,
    ),
    st.builds(NodeStopped, **envelope, node=nodes, incarnation=incarnations.filter(bool)),
    st.builds(
        ReportUnreachable,
        **envelope,
        node=nodes,
        incarnation=incarnations.filter(bool),
        by_incarnation=incarnations,
        evidence=evidences,
    ),
    st.builds(ReportReachable, **envelope, node=nodes, incarnation=incarnations.filter(bool)),
    st.builds(RemoveNode, **envelope, node=nodes, force=flags),
    st.builds(
        TierFailed,
        **envelope,
        ref=refs,
        generation=generations,
        reason=st.sampled_from(["EIO", "timeout"]),
        evidence=evidences,
    ),
    st.builds(TierRecovering, **envelope, ref=refs, generation=generations, evidence=evidences),
    st.builds(
        TierRecovered, **envelope, ref=refs, generation=generations, keep=flags, evidence=evidences
    ),
    st.builds(Drain, **envelope, node=nodes, tiers=tiers, force=flags),
    st.builds(
        Drained,
        **envelope,
        node=nodes,
        tiers=tiers,
        incarnation=incarnations.filter(bool),
        evidence=evidences,
    ),
    st.builds(Restore, **envelope, node=nodes, tiers=tiers),
    st.builds(Barrier, **envelope),
)
steps = st.tuples(st.one_of(*COMMANDS), st.sampled_from([True, True, True, False]))
plans = st.lists(steps, min_size=15, max_size=50)
Plan = list[tuple[Command, bool]]
several = settings(max_examples=40, deadline=None)


def history(state: MapState, plan: Plan) -> list[Command]:
    """The commands of the plan, numbered and aimed, as they would be proposed one by one."""
    commands: list[Command] = []
    for i, (command, is_aimed) in enumerate(plan):
        command = replace(command, id=f"c{i}")
        commands.append(aimed(state.map, command) if is_aimed else command)
        state = apply(state, commands[-1], GUARD)
    return commands


def aimed(tier_map: TierMap, command: Command) -> Command:
    def incarnation(node: str) -> str:
        member = tier_map.member(node)
        return member.incarnation if member and member.incarnation else "i1"

    match command:
        case NodeJoined():
            member = tier_map.member(command.node)
            fresh = f"i{tier_map.version}"
            expected = member.incarnation if member else ""
            return replace(command, cluster="c", expected=expected, incarnation=fresh)
        case ReportUnreachable():
            others = [m.id for m in tier_map.members if m.state is NodeState.UP]
            by = command.by if command.by in others else (others or ["n1"])[-1]
            return replace(
                command,
                by=by,
                incarnation=incarnation(command.node),
                by_incarnation=incarnation(by),
            )
        case ReportReachable():
            reported = [m for m in tier_map.members if m.unreachable_by]
            if not reported:
                return command
            accused = reported[0]
            by, node = accused.unreachable_by[-1], accused.id
            return replace(command, by=by, node=node, incarnation=accused.incarnation)
        case Drained():
            refs = [r for r, record in tier_map.refs() if record.admin is Admin.DRAINING]
            node = refs[0].node if refs else command.node
            return replace(command, node=node, tiers=TIERS, incarnation=incarnation(node))
        case NodeStopped():
            return replace(command, incarnation=incarnation(command.node))
        case TierFailed():
            return replace(command, generation=generation_of(tier_map, command.ref))
        case TierRecovering() | TierRecovered():
            refs = [r for r, t in tier_map.refs() if t.health is not Health.UP or t.suspect]
            ref = refs[len(command.id) % len(refs)] if refs else command.ref
            return replace(command, ref=ref, generation=generation_of(tier_map, ref))
        case _:
            return command


def generation_of(tier_map: TierMap, ref: TierRef) -> int:
    record = tier_map.record(ref)
    return record.generation if record else 1


def started(count: int = 3) -> MapState:
    """A cluster in which the first ``count`` nodes have joined."""
    joins = [
        NodeJoined(id=f"j{n}", by=n, node=n, cluster="c", address="a:1", incarnation="i1")
        for n in NODES[:count]
    ]
    return applied(MapState(), joins)


def applied(state: MapState, commands: Iterable[Command]) -> MapState:
    for command in commands:
        state = apply(state, command, GUARD)
    return state


STARTS = st.sampled_from([0, 1, 2, 3, 3, 4, 4]).map(started)


@several
@given(STARTS, plans)
def test_what_holds_after_every_command(state: MapState, plan: Plan) -> None:
    check_all(state, history(state, plan))


def check_all(state: MapState, commands: list[Command]) -> None:
    for command in commands:
        before, state = state, apply(state, command, GUARD)
        check_step(before, command, state)
        check_state(state)


def check_step(before: MapState, command: Command, after: MapState) -> None:
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
    if not getattr(command, "force", False):
        check_guard(before.map, command, after.map)


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
            assert len(out) <= max(1, members // 3)


def check_state(state: MapState) -> None:
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
    noisy = [
        again
        for i, command in enumerate(sent)
        for again in (command, *(sent[old] for at, old in repeats if at == i and old <= i))
    ]
    assert applied(start, noisy) == applied(start, sent)


@several
@given(STARTS, plans)
def test_a_command_again_under_another_id_finds_nothing_left_to_do(
    state: MapState, plan: Plan
) -> None:
    for command in history(state, plan):
        state = apply(state, command, GUARD)
        again = apply(state, replace(command, id=f"again {command.id}"), GUARD)
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
        state = apply(state, command, GUARD)
        maps.append(state.map)
    for old in maps[::5]:
        assert patch(old, decode_delta(encode_delta(diff(old, maps[-1])))) == maps[-1]
