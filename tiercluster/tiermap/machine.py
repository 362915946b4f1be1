"""The state machine of the tier map: a state and a command give the next state, and nothing else.

Pure and total: no clock, no I/O, no randomness, and no decodable command makes it raise. Every
member applies the same commands in the same order, nothing of its own settings comes in, and so
all hold the same map; ``digest``, a chain over the effective commands, proves it.

A command is first judged (`node_steps`, `tier_steps`), which gives the map as it should be. Then
the change is committed: version and digest move on, what differs is stamped with version and
proposer, events say what changed, an outcome says what became of the command.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import assert_never

from . import copy_steps, level_steps, node_steps, tier_steps
from .codec import encode_command
from .commands import (
    Barrier,
    Command,
    CopiesApart,
    CopiesTogether,
    Drain,
    Drained,
    LevelRaised,
    NodeFilled,
    NodeJoined,
    NodeStopped,
    RemoveNode,
    ReportReachable,
    ReportUnreachable,
    Restore,
    TierFailed,
    TierRecovered,
    TierRecovering,
)
from .limits import MAX_EVENTS, MAX_OUTCOMES, brief
from .types import (
    Event,
    Evidence,
    MapState,
    Member,
    NodeState,
    Outcome,
    OutcomeCode,
    TierMap,
    TierRecord,
    TierRef,
)
from .verdict import Verdict

DIGEST_CHARS = 32


def apply(state: MapState, command: Command) -> MapState:
    """The state after ``command``: the same one if its id is among the outcomes already; otherwise
    one outcome more and, if the command takes effect, the map one version on with its events. What
    a member of the map's level cannot read is passed over without a trace, as it does it."""
    if any(outcome.command_id == command.id for outcome in state.outcomes):
        return state
    verdict = _judge(state.map, command)
    if level_steps.is_passed_over(state.map, command, verdict):
        return state
    after = _committed(state.map, verdict, command)
    events = tuple(_events(state.map, after, command))
    changes = brief(", ".join(f"{e.ref} {e.to_state}" for e in events))
    reason = verdict.reason or changes or "recorded"
    outcome = Outcome(command.id, verdict.code, reason, after.version)
    return MapState(
        map=after,
        events=(*state.events, *events)[-MAX_EVENTS:],
        outcomes=(*state.outcomes, outcome)[-MAX_OUTCOMES:],
    )


def outcome_of(state: MapState, command_id: str) -> Outcome | None:
    """What became of a command; None if it was not applied, or more than MAX_OUTCOMES ago."""
    return next((o for o in reversed(state.outcomes) if o.command_id == command_id), None)


def _judge(tier_map: TierMap, command: Command) -> Verdict:
    match command:
        case NodeJoined():
            return node_steps.node_joined(tier_map, command)
        case NodeStopped():
            return node_steps.node_stopped(tier_map, command)
        case ReportUnreachable():
            return node_steps.report_unreachable(tier_map, command)
        case ReportReachable():
            return node_steps.report_reachable(tier_map, command)
        case RemoveNode():
            return node_steps.remove_node(tier_map, command)
        case TierFailed():
            return tier_steps.tier_failed(tier_map, command)
        case TierRecovering():
            return tier_steps.tier_recovering(tier_map, command)
        case TierRecovered():
            return tier_steps.tier_recovered(tier_map, command)
        case Drain():
            return tier_steps.drain(tier_map, command)
        case Drained():
            return tier_steps.drained(tier_map, command)
        case Restore():
            return tier_steps.restore(tier_map, command)
        case NodeFilled():
            return copy_steps.node_filled(tier_map, command)
        case CopiesApart():
            return copy_steps.copies_apart(tier_map, command)
        case CopiesTogether():
            return copy_steps.copies_together(tier_map, command)
        case LevelRaised():
            return level_steps.level_raised(tier_map, command)
        case Barrier():
            return Verdict(OutcomeCode.DONE, "applied")
        case _:
            assert_never(command)


def _committed(before: TierMap, verdict: Verdict, command: Command) -> TierMap:
    """The next version of the map, or the same map if the verdict changes nothing."""
    if verdict.after is None or verdict.after == before:
        return before
    version = before.version + 1
    settled = copy_steps.settle(before, node_steps.settle(verdict.after), version)
    earlier = {member.id: member for member in before.members}
    members = tuple(_stamped(earlier.get(m.id), m, version, command.by) for m in settled.members)
    is_new_ring = _ring_of(before.members) != _ring_of(members)
    return TierMap(
        cluster=settled.cluster,
        version=version,
        ring_version=version if is_new_ring else before.ring_version,
        members=members,
        digest=_digest(before.digest, command, version),
        max_unavailable=settled.max_unavailable,
        founded=settled.founded,
        replicas=settled.replicas,
        copies_since=before.copies_since if settled.copies == before.copies else version,
    )


def _stamped(before: Member | None, after: Member, version: int, by: str) -> Member:
    """What is new or different carries the version, and tiers their proposer too."""
    if before == after:
        return after
    olds = before.tiers if before else (None,) * len(after.tiers)
    return replace(
        after,
        since_version=version if _is_new_stint(before, after) else after.since_version,
        tiers=tuple(
            new if old == new else replace(new, since_version=version, by=by)
            for old, new in zip(olds, after.tiers, strict=True)
        ),
    )


def _is_new_stint(before: Member | None, after: Member) -> bool:
    return before is None or (before.state, before.incarnation) != (after.state, after.incarnation)


def _ring_of(members: tuple[Member, ...]) -> list[tuple[str, float, str]]:
    return [(m.id, m.weight, m.incarnation) for m in members if m.serves]


def _digest(previous: str, command: Command, version: int) -> str:
    chained = previous.encode() + encode_command(command) + str(version).encode()
    return hashlib.sha256(chained).hexdigest()[:DIGEST_CHARS]


def _events(before: TierMap, after: TierMap, command: Command) -> Iterator[Event]:
    """A new incarnation or state of a node, a new state or suspicion of a tier: an event each."""
    if before.version == after.version:
        return
    earlier = {member.id: member for member in before.members}
    evidence: Evidence = getattr(command, "evidence", ())
    for member in after.members:
        old = earlier.get(member.id)
        if _is_new_stint(old, member):
            was = old.state if old else NodeState.LEFT
            yield _event(after, command, member.id, was, member.state, member.reason, evidence)
        for record, new in zip(old.tiers if old else (), member.tiers, strict=False):
            if (record.state, record.suspect) != (new.state, new.suspect):
                yield _tier_event(after, command, member.id, record, new)


def _tier_event(
    after: TierMap, command: Command, node: str, old: TierRecord, new: TierRecord
) -> Event:
    ref = str(TierRef(node, new.tier))
    return _event(after, command, ref, old.state, new.state, new.reason, new.evidence)


def _event(
    after: TierMap,
    command: Command,
    ref: str,
    old: str,
    new: str,
    reason: str,
    evidence: Evidence,
) -> Event:
    return Event(
        version=after.version,
        time=command.time,
        ref=ref,
        from_state=str(old),
        to_state=str(new),
        by=command.by,
        reason=reason,
        evidence=evidence,
    )
