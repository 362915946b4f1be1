"""Verdicts: what a command would make of a map, before it is stamped and recorded."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .types import TIERS, Member, OutcomeCode, TierMap, TierRecord, TierRef


@dataclass(frozen=True, slots=True)
class Verdict:
    """``after`` is the map as it should be, its version and digest not yet moved; None or an equal
    map means that nothing changes."""

    code: OutcomeCode
    reason: str = ""
    after: TierMap | None = None


def done(after: TierMap, reason: str = "") -> Verdict:
    """``reason``: only what the changes do not say by themselves."""
    return Verdict(OutcomeCode.DONE, reason, after)


def noop(reason: str) -> Verdict:
    return Verdict(OutcomeCode.NOOP, reason)


def stale(reason: str) -> Verdict:
    return Verdict(OutcomeCode.STALE, reason)


def refused(reason: str, after: TierMap | None = None) -> Verdict:
    return Verdict(OutcomeCode.REFUSED, reason, after)


def unknown(node: str) -> Verdict:
    return Verdict(OutcomeCode.UNKNOWN, f"no node {node} in this cluster")


def with_member(tier_map: TierMap, member: Member) -> TierMap:
    """The map with this member put in or replaced, in the order of ids."""
    members = {m.id: m for m in tier_map.members} | {member.id: member}
    return replace(tier_map, members=tuple(members[node] for node in sorted(members)))


def with_records(member: Member, *records: TierRecord) -> Member:
    """The member with these tiers replaced."""
    changed = {record.tier: record for record in records}
    return replace(member, tiers=tuple(changed.get(t, member.tier(t)) for t in TIERS))


def with_record(tier_map: TierMap, ref: TierRef, record: TierRecord) -> TierMap:
    member = tier_map.member(ref.node)
    return with_member(tier_map, with_records(member, record)) if member else tier_map
