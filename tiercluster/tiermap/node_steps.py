"""What the commands about nodes make of the map.

(none) --NodeJoined--> UP --NodeStopped, a majority of reports--> DOWN --RemoveNode--> LEFT
                       ^--------------------NodeJoined--------------+-------------------+
"""

from __future__ import annotations

from dataclasses import replace

from .commands import NodeJoined, NodeStopped, RemoveNode, ReportReachable, ReportUnreachable
from .level_steps import too_old
from .limits import MAX_MEMBERS, brief
from .types import Admin, Health, Member, NodeState, Tier, TierMap, TierRecord
from .verdict import Verdict, done, noop, refused, stale, unknown, with_member, with_records


def node_joined(tier_map: TierMap, command: NodeJoined) -> Verdict:
    if tier_map.cluster and command.cluster != tier_map.cluster:
        return refused(f"this is cluster {tier_map.cluster}, not {command.cluster or 'a new one'}")
    if reason := too_old(tier_map, command):
        return refused(reason)
    member = tier_map.member(command.node)
    if member is None:
        return _join_first(tier_map, command)
    if member.incarnation == command.incarnation:
        return _joined_already(member)
    if member.incarnation != command.expected:
        return stale(f"{member.id} has joined as {member.incarnation} meanwhile")
    return _join(tier_map, _rejoined(tier_map, member, command), command)


def _joined_already(member: Member) -> Verdict:
    if member.state is NodeState.UP:
        return noop(f"{member.id} has joined as {member.incarnation} already")
    return stale(f"{member.incarnation} of {member.id} is over; it needs a new incarnation")


def _join_first(tier_map: TierMap, command: NodeJoined) -> Verdict:
    if command.expected:
        return stale(f"{command.node} is not a member, so it has no earlier incarnation")
    roomy = _make_room(tier_map)
    if len(roomy.members) >= MAX_MEMBERS:
        return refused(f"the cluster has {MAX_MEMBERS} members, which is the limit")
    return _join(roomy, _newcomer(command), command)


def _join(tier_map: TierMap, member: Member, command: NodeJoined) -> Verdict:
    if not tier_map.cluster and not tier_map.members:
        limit = command.max_unavailable
        founded = replace(tier_map, max_unavailable=limit, founded=command.incarnation)
        return done(_with_joined(founded, member, command))
    unused = [*_unused_limit(tier_map, command), *_unused_replicas(tier_map, command)]
    if not unused:
        return done(_with_joined(tier_map, member, command))
    told = replace(member, reason="; ".join((member.reason, *unused)))
    return done(_with_joined(tier_map, told, command), told.reason)


def _with_joined(tier_map: TierMap, member: Member, command: NodeJoined) -> TierMap:
    # What an earlier incarnation reported about others is not what this one sees.
    after = _without_reports_of({member.id}, with_member(tier_map, member))
    replicas = tier_map.replicas or (command.replicas if command.level >= 2 else 0)
    return replace(after, cluster=tier_map.cluster or command.cluster, replicas=replicas)


def _unused_replicas(tier_map: TierMap, command: NodeJoined) -> list[str]:
    """What a node is told whose replicas are not the cluster's."""
    agreed = tier_map.replicas
    if command.level < 2 or agreed in (0, command.replicas):
        return []
    return [f"the cluster's replicas is {agreed}; this node's {command.replicas} is not used"]


def _unused_limit(tier_map: TierMap, command: NodeJoined) -> list[str]:
    """What a node is told whose max_unavailable is not the cluster's."""
    # What prints the same is the same: a third is written with more digits or fewer.
    agreed, offered = f"{tier_map.max_unavailable:g}", f"{command.max_unavailable:g}"
    if agreed == offered:
        return []
    return [f"the cluster's max_unavailable is {agreed}; this node's {offered} is not used"]


def _make_room(tier_map: TierMap) -> TierMap:
    """In a full map the member that left the longest ago is forgotten."""
    left = [m for m in tier_map.members if m.state is NodeState.LEFT]
    if len(tier_map.members) < MAX_MEMBERS or not left:
        return tier_map
    oldest = min(left, key=lambda m: (m.since_version, m.id))
    return replace(tier_map, members=tuple(m for m in tier_map.members if m is not oldest))


def _newcomer(command: NodeJoined) -> Member:
    return Member(
        id=command.node,
        address=command.address,
        raft=command.raft,
        weight=command.weight,
        incarnation=command.incarnation,
        level=command.level,
        reason="joined",
    )


def _rejoined(tier_map: TierMap, member: Member, command: NodeJoined) -> Member:
    keeps_cold = command.keep_cold and _cold_is_current(tier_map, member)
    return replace(
        member,
        address=command.address,
        raft=command.raft,
        weight=command.weight,
        state=NodeState.UP,
        incarnation=command.incarnation,
        level=command.level,
        unreachable_by=(),
        apart_version=0,
        reason="restarted" if member.state is NodeState.UP else f"came back after {member.state}",
        tiers=tuple(_fresh(r, member.state, keeps_cold) for r in member.tiers),
    )


def _cold_is_current(tier_map: TierMap, member: Member) -> bool:
    """Whether nobody else can have owned the member's keys since its last incarnation served, nor
    changed them without it."""
    if member.apart_version:
        return False
    if member.state is NodeState.UP:
        return True
    nobody_serves = not any(m.serves for m in tier_map.members)
    # It was the last to serve, and nobody has served in any version since.
    return (
        member.state is NodeState.DOWN
        and nobody_serves
        and tier_map.ring_version == member.since_version
    )


def _fresh(record: TierRecord, was: NodeState, keeps_cold: bool) -> TierRecord:
    """A tier in a new process: memory is empty and works; a disk is what it was; an operator's
    drain stands. After LEFT everything is new, the drain forgotten."""
    if was is NodeState.LEFT:
        return _renewed(replace(record, admin=Admin.IN))
    if record.tier is not Tier.COLD:
        return _renewed(record)
    generation = record.generation + (0 if keeps_cold else 1)
    return replace(record, generation=generation, suspect=False)


def _renewed(record: TierRecord) -> TierRecord:
    return replace(
        record,
        health=Health.UP,
        generation=record.generation + 1,
        suspect=False,
        reason="its node started anew",
        evidence=(),
    )


def node_stopped(tier_map: TierMap, command: NodeStopped) -> Verdict:
    member = tier_map.member(command.node)
    if member is None:
        return unknown(command.node)
    if member.incarnation != command.incarnation:
        return stale(f"{member.id} has joined as {member.incarnation} meanwhile")
    if member.state is not NodeState.UP:
        return noop(f"{member.id} is {member.state} already")
    return done(with_member(tier_map, _out(member, NodeState.DOWN, "stopped")))


def remove_node(tier_map: TierMap, command: RemoveNode) -> Verdict:
    member = tier_map.member(command.node)
    if member is None:
        return unknown(command.node)
    if member.state is NodeState.LEFT:
        return noop(f"{member.id} has left already")
    if member.state is NodeState.UP and not command.force:
        return refused(f"{member.id} is UP: stop it first, or force the removal")
    reason = brief(f"removed by {command.by}" if command.by else "removed")
    return done(with_member(tier_map, _out(member, NodeState.LEFT, reason)))


def report_unreachable(tier_map: TierMap, command: ReportUnreachable) -> Verdict:
    member, reporter = tier_map.member(command.node), tier_map.member(command.by)
    if member is None:
        return unknown(command.node)
    if member.incarnation != command.incarnation:
        return stale(f"{member.id} has joined as {member.incarnation} meanwhile")
    if member.state is not NodeState.UP:
        return noop(f"{member.id} is {member.state} already")
    if reporter is None or reporter is member or reporter.state is not NodeState.UP:
        return stale(f"{command.by or 'nobody'} is no other member that is UP")
    if command.by_incarnation not in ("", reporter.incarnation):
        return stale(f"{reporter.id} has joined as {reporter.incarnation} meanwhile")
    if reporter.id in member.unreachable_by:
        return noop(f"{reporter.id} has reported {member.id} already")
    reports = tuple(sorted((*member.unreachable_by, reporter.id)))
    return done(with_member(tier_map, replace(member, unreachable_by=reports)))


def report_reachable(tier_map: TierMap, command: ReportReachable) -> Verdict:
    member = tier_map.member(command.node)
    if member is None:
        return unknown(command.node)
    if member.incarnation != command.incarnation:
        return stale(f"{member.id} has joined as {member.incarnation} meanwhile")
    if command.by not in member.unreachable_by:
        return noop(f"{command.by or 'nobody'} does not report {member.id} unreachable")
    reports = tuple(r for r in member.unreachable_by if r != command.by)
    return done(with_member(tier_map, replace(member, unreachable_by=reports)))


def settle(tier_map: TierMap) -> TierMap:
    """Forgets reports by members that are not UP, and votes out, one at a time in the order of
    ids, whoever a majority of the other members that are UP reports."""
    while True:
        up = {m.id for m in tier_map.members if m.state is NodeState.UP}
        tier_map = _without_reports_of({m.id for m in tier_map.members} - up, tier_map)
        accused = next((m for m in tier_map.members if _is_voted_out(m, len(up) - 1)), None)
        if accused is None:
            return tier_map
        tier_map = with_member(tier_map, _voted_out(accused, len(up) - 1))


def _is_voted_out(member: Member, others: int) -> bool:
    return member.state is NodeState.UP and 2 * len(member.unreachable_by) > others


def _voted_out(member: Member, others: int) -> Member:
    named = ", ".join(member.unreachable_by[:5]) + (", …" if member.unreachable_by[5:] else "")
    reason = f"unreachable for {len(member.unreachable_by)} of {others} other members ({named})"
    return _out(member, NodeState.DOWN, reason)


def _without_reports_of(nodes: set[str], tier_map: TierMap) -> TierMap:
    if not any(nodes.intersection(m.unreachable_by) for m in tier_map.members):
        return tier_map
    kept = (
        replace(m, unreachable_by=tuple(r for r in m.unreachable_by if r not in nodes))
        for m in tier_map.members
    )
    return replace(tier_map, members=tuple(kept))


def _out(member: Member, state: NodeState, reason: str) -> Member:
    """Not UP any more; nothing is left to move off its draining tiers."""
    drained = (
        replace(r, admin=Admin.OUT, reason=f"drained when its node went {state}", evidence=())
        for r in member.tiers
        if r.admin is Admin.DRAINING
    )
    gone = replace(member, state=state, reason=reason, unreachable_by=())
    return with_records(gone, *drained)
