"""What the commands about tiers make of the map: the two pictures in `types`, as code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .commands import Drain, Drained, Restore, TierFailed, TierRecovered, TierRecovering
from .guard import Guard, refusal_of_slow
from .limits import brief
from .types import FIRST_LEVEL, Admin, Health, Member, NodeState, Tier, TierMap, TierRecord
from .verdict import (
    Verdict,
    done,
    noop,
    refused,
    stale,
    unknown,
    with_member,
    with_record,
    with_records,
)

_Reported = TierFailed | TierRecovering | TierRecovered


def tier_failed(tier_map: TierMap, command: TierFailed) -> Verdict:
    record = _current(tier_map, command)
    if isinstance(record, Verdict):
        return record
    if record.health is Health.DOWN:
        return noop(f"{command.ref} is DOWN already")
    after = with_record(tier_map, command.ref, _failed(record, command))
    # A member of level 1 knows of no slow tiers, and must come to the same verdict.
    is_slow = command.is_slow and tier_map.level > FIRST_LEVEL
    refusal = refusal_of_slow(tier_map, command.ref) if is_slow else ""
    refusal = refusal or Guard.of(tier_map).refusal(tier_map, after)
    if not refusal:
        return done(after)
    reason = brief(f"refused by the guard: {refusal}")
    if is_slow:
        return refused(reason)
    return refused(reason, _suspected(tier_map, record, command, reason))


def _failed(record: TierRecord, command: TierFailed) -> TierRecord:
    return replace(
        record,
        health=Health.DOWN,
        # Nothing can be read from it any more, so its drain is over.
        admin=Admin.OUT if record.admin is Admin.DRAINING else record.admin,
        suspect=False,
        reason=command.reason,
        evidence=command.evidence,
    )


def _suspected(
    tier_map: TierMap, record: TierRecord, command: TierFailed, reason: str
) -> TierMap | None:
    if record.suspect:
        return None
    marked = replace(record, suspect=True, reason=reason, evidence=command.evidence)
    return with_record(tier_map, command.ref, marked)


def tier_recovering(tier_map: TierMap, command: TierRecovering) -> Verdict:
    record = _current(tier_map, command)
    if isinstance(record, Verdict):
        return record
    if record.health is Health.RECOVERING:
        return noop(f"{command.ref} is RECOVERING already")
    if record.health is Health.UP:
        return stale(f"{command.ref} is UP")
    probed = replace(
        record,
        health=Health.RECOVERING,
        reason="a probe succeeded",
        evidence=command.evidence,
    )
    return done(with_record(tier_map, command.ref, probed))


def tier_recovered(tier_map: TierMap, command: TierRecovered) -> Verdict:
    record = _current(tier_map, command)
    if isinstance(record, Verdict):
        return record
    if record.health is Health.UP and not record.suspect:
        return noop(f"{command.ref} is UP already")
    recovered = replace(
        record,
        health=Health.UP,
        suspect=False,
        generation=record.generation + (0 if command.keep else 1),
        reason="probes succeeded" + (", its data is kept" if command.keep else ""),
        evidence=command.evidence,
    )
    return done(with_record(tier_map, command.ref, recovered))


def _current(tier_map: TierMap, command: _Reported) -> TierRecord | Verdict:
    """The tier's record if the command is about its present generation."""
    member = tier_map.member(command.ref.node)
    if member is None:
        return unknown(command.ref.node)
    if member.state is NodeState.LEFT:
        return stale(f"{member.id} has left the cluster")
    record = member.tier(command.ref.tier)
    if record.generation != command.generation:
        return stale(f"{command.ref} is at generation {record.generation}")
    return record


def drain(tier_map: TierMap, command: Drain) -> Verdict:
    member = _present(tier_map, command.node)
    if isinstance(member, Verdict):
        return member
    changed = _changed(member, command.tiers, lambda record: _drain(record, member.state))
    if changed == member:
        return noop(f"{_named(command.node, command.tiers)} drained or draining already")
    after = with_member(tier_map, changed)
    guard = Guard.of(tier_map)
    refusal = "" if command.force else guard.refusal(tier_map, after, is_wish=True)
    return refused(brief(f"refused by the guard: {refusal}")) if refusal else done(after)


def _drain(record: TierRecord, node: NodeState) -> TierRecord:
    if record.admin is not Admin.IN:
        return record
    readable = node is NodeState.UP and record.health is Health.UP
    return replace(
        record,
        admin=Admin.DRAINING if readable else Admin.OUT,
        reason="drain asked for" + ("" if readable else "; nothing there could be read"),
        evidence=(),
    )


def drained(tier_map: TierMap, command: Drained) -> Verdict:
    member = _present(tier_map, command.node)
    if isinstance(member, Verdict):
        return member
    if member.incarnation != command.incarnation:
        return stale(f"{member.id} has joined as {member.incarnation} meanwhile")
    changed = _changed(member, command.tiers, lambda record: _drained(record, command))
    if changed != member:
        return done(with_member(tier_map, changed))
    if all(member.tier(tier).admin is Admin.OUT for tier in command.tiers):
        return noop(f"{_named(command.node, command.tiers)} drained already")
    return stale(f"{_named(command.node, command.tiers)} not draining any more")


def _drained(record: TierRecord, command: Drained) -> TierRecord:
    if record.admin is not Admin.DRAINING:
        return record
    return replace(record, admin=Admin.OUT, reason="drained", evidence=command.evidence)


def restore(tier_map: TierMap, command: Restore) -> Verdict:
    member = _present(tier_map, command.node)
    if isinstance(member, Verdict):
        return member
    changed = _changed(member, command.tiers, _restore)
    if changed == member:
        return noop(f"{_named(command.node, command.tiers)} in service or recovering already")
    return done(with_member(tier_map, changed))


def _restore(record: TierRecord) -> TierRecord:
    match record.admin, record.health:
        case Admin.OUT, _:
            return _put_back(record, Health.RECOVERING, record.generation + 1)
        case Admin.DRAINING, health:
            return _put_back(record, health, record.generation)
        case _, Health.DOWN:
            return _put_back(record, Health.RECOVERING, record.generation)
        case _:
            return record


def _put_back(record: TierRecord, health: Health, generation: int) -> TierRecord:
    return replace(
        record,
        health=health,
        admin=Admin.IN,
        generation=generation,
        suspect=record.suspect and health is Health.UP,
        reason="restore asked for",
        evidence=(),
    )


def _present(tier_map: TierMap, node: str) -> Member | Verdict:
    member = tier_map.member(node)
    if member is None:
        return unknown(node)
    if member.state is NodeState.LEFT:
        return stale(f"{node} has left the cluster")
    return member


def _changed(
    member: Member, tiers: tuple[Tier, ...], step: Callable[[TierRecord], TierRecord]
) -> Member:
    return with_records(member, *(step(member.tier(tier)) for tier in set(tiers)))


def _named(node: str, tiers: tuple[Tier, ...]) -> str:
    names = ", ".join(f"{node}/{tier}" for tier in tiers) or f"no tier of {node}"
    return f"{names} {'are' if len(tiers) > 1 else 'is'}"
