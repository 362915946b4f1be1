"""The tier map and what each node says of itself, as the documents that commands print.

Pure. What a node did not answer is not known: its numbers are 0 in JSON, as the contract has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tiercluster.tiermap import Admin, Member, NodeState, TierMap, TierRecord, TierRef, TierState

Said = Mapping[str, Any]  # a node's answer to STATUS


@dataclass(frozen=True, slots=True)
class View:
    """One look at the cluster. ``said`` has the nodes that answered."""

    map: TierMap
    said: Mapping[str, Said] = field(default_factory=dict)

    @property
    def newest(self) -> Said:
        """What the answering member with the highest version says, of several one that knows of a
        quorum and its leader; nothing if none answered."""
        return max(self.said.values(), key=_authority, default={})


def _authority(said: Said) -> tuple[int, bool, bool]:
    return int(said.get("version", 0)), bool(said.get("quorum")), bool(said.get("leader"))


def state_of(member: Member, record: TierRecord) -> TierState:
    """A tier's state as people see it: what is on a node that is not UP cannot be used, whatever
    its own record says."""
    if member.state is NodeState.UP or record.admin is Admin.OUT:
        return record.state
    return TierState.DOWN


def reason_of(member: Member, record: TierRecord) -> str:
    if member.state is NodeState.UP or record.admin is Admin.OUT:
        return record.reason
    return f"{member.id} is {member.state}" + (f": {member.reason}" if member.reason else "")


def cluster_document(view: View) -> dict[str, Any]:
    """What `status --json` prints."""
    newest = view.newest
    has_quorum = bool(newest.get("quorum", False))
    return {
        "cluster": view.map.cluster,
        "version": max(view.map.version, int(newest.get("version", 0))),
        # A member that is cut off still remembers the last leader.
        "leader": newest.get("leader") or None if has_quorum else None,
        "quorum": has_quorum,
        "nodes": [node_document(view, member) for member in view.map.members],
    }


def node_document(view: View, member: Member) -> dict[str, Any]:
    return {
        "id": member.id,
        "state": str(member.state),
        "address": member.address,
        "tiers": [tier_document(view, member, record) for record in member.tiers],
    }


def tier_document(view: View, member: Member, record: TierRecord) -> dict[str, Any]:
    told = _told(view.said.get(member.id, {}), record)
    return {
        "ref": str(TierRef(member.id, record.tier)),
        "tier": str(record.tier),
        "state": str(state_of(member, record)),
        "generation": record.generation,
        "entries": int(told.get("entries", 0)),
        "bytes": int(told.get("bytes", 0)),
        "capacity_bytes": int(told.get("capacity_bytes", 0)),
        "hits": int(told.get("hits", 0)),
        "misses": int(told.get("misses", 0)),
    }


def _told(said: Said, record: TierRecord) -> Said:
    tiers: Iterable[Said] = said.get("tiers", ())
    return next((tier for tier in tiers if tier.get("tier") == str(record.tier)), {})


def tier_list_document(view: View) -> list[dict[str, Any]]:
    """What `tier list --json` prints; nodes that have left are left out."""
    return [
        {
            **tier_document(view, member, record),
            "reason": reason_of(member, record),
            "since_version": _since(member, record),
        }
        for member in view.map.members
        if member.state is not NodeState.LEFT
        for record in member.tiers
    ]


def _since(member: Member, record: TierRecord) -> int:
    if member.state is NodeState.UP or record.admin is Admin.OUT:
        return record.since_version
    return member.since_version


def node_list_document(view: View) -> list[dict[str, Any]]:
    """What `node list --json` prints."""
    return [
        {
            "id": member.id,
            "state": str(member.state),
            "address": member.address,
            "raft": member.raft,
            "weight": member.weight,
            "reason": member.reason,
            "since_version": member.since_version,
            "unreachable_by": list(member.unreachable_by),
            "tiers": {str(r.tier): str(state_of(member, r)) for r in member.tiers},
        }
        for member in view.map.members
    ]


def hit_ratio(hits: int, misses: int) -> str:
    """For a table; a dash where nothing was asked, for no ratio was measured."""
    asked = hits + misses
    return f"{hits / asked:.1%}" if asked else "-"
