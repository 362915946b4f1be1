"""What the commands about copies of entries make of the map, where ``copies`` is more than one.

    (out) --its first readable tier--> filling --NodeFilled--> serves

A member that comes takes copies first and owns its keys once it has them. Where nobody is left who
serves, there is nothing to take, and all who fill serve at once.

    reached --CopiesApart by an owner--> apart from it --CopiesTogether, or a new stint--> reached
"""

from __future__ import annotations

from dataclasses import replace

from .commands import CopiesApart, CopiesTogether, NodeFilled
from .types import Member, NodeState, TierMap
from .verdict import Verdict, done, noop, stale, unknown, with_member


def node_filled(tier_map: TierMap, command: NodeFilled) -> Verdict:
    member = tier_map.member(command.node)
    if member is None:
        return unknown(command.node)
    if member.incarnation != command.incarnation:
        return stale(f"{member.id} has joined as {member.incarnation} meanwhile")
    if not member.filling:
        return noop(f"{member.id} serves already")
    if member.apart_version > command.known:
        return stale(f"{member.id} was called apart in version {member.apart_version}")
    return done(with_member(tier_map, replace(member, filling=False)), f"{member.id} serves")


def copies_apart(tier_map: TierMap, command: CopiesApart) -> Verdict:
    reason = _not_these(tier_map, command)
    if reason:
        return stale(reason)
    member = tier_map.member(command.node)
    assert member is not None
    if command.by in member.apart:
        return noop(f"{member.id} is apart from {command.by} already")
    apart = replace(member, apart=tuple(sorted((*member.apart, command.by))))
    return done(with_member(tier_map, apart), f"{member.id} keeps no copies for {command.by}")


def copies_together(tier_map: TierMap, command: CopiesTogether) -> Verdict:
    reason = _not_these(tier_map, command)
    if reason:
        return stale(reason)
    member = tier_map.member(command.node)
    assert member is not None
    if command.by not in member.apart:
        return noop(f"{member.id} is not apart from {command.by}")
    together = replace(member, apart=tuple(a for a in member.apart if a != command.by))
    return done(with_member(tier_map, together), f"{member.id} keeps copies for {command.by}")


def _not_these(tier_map: TierMap, command: CopiesApart | CopiesTogether) -> str:
    """Why the command is about others than those of this map; empty if it is about them."""
    if tier_map.copies == 1:
        return "nobody keeps copies"
    for node, stint in (command.node, command.incarnation), (command.by, command.by_incarnation):
        member = tier_map.member(node)
        if member is None or member.state is not NodeState.UP:
            return f"{node or 'nobody'} is no member that is UP"
        if member.incarnation != stint:
            return f"{node} has joined as {member.incarnation} meanwhile"
    return "" if command.node != command.by else f"{command.node} cannot be apart from itself"


def settle(before: TierMap, after: TierMap, version: int) -> TierMap:
    """Who begins to fill, who is apart from nobody any more, who serves because nobody else does.
    ``version`` is that of ``after``."""
    if after.copies == 1:
        return replace(after, members=tuple(map(_plain, after.members)))
    earlier = {m.id: m for m in before.members}
    anew = {m.id for m in after.members if _is_anew(earlier.get(m.id), m)}
    members = tuple(_one(earlier.get(m.id), m, anew, version) for m in after.members)
    if not any(m.serves for m in members):
        members = tuple(replace(m, filling=False) for m in members)
    return replace(after, members=members)


def _plain(member: Member) -> Member:
    if not member.filling and not member.apart:
        return member
    return replace(member, filling=False, apart=())


def _is_anew(was: Member | None, member: Member) -> bool:
    is_same = was is not None and was.incarnation == member.incarnation
    return not is_same or member.state is NodeState.LEFT


def _one(was: Member | None, member: Member, anew: set[str], version: int) -> Member:
    begins = member.has_tier and (member.id in anew or was is None or not was.has_tier)
    apart = () if member.id in anew else tuple(a for a in member.apart if a not in anew)
    is_further = bool(set(apart) - set(was.apart if was is not None else ()))
    return replace(
        member,
        filling=member.has_tier and (begins or member.filling),
        apart=apart,
        apart_version=version if is_further else member.apart_version,
    )
