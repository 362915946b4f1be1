"""The level that the members of a map speak together: how it rises, and what is above it.

    1 --LevelRaised: all are UP and were heard to speak 2--> 2
    no member yet --NodeJoined of level 2--> 2

A member reads what its level can say and passes over the rest. So that all do the same, a command
above the level of the map has no effect on anybody, with two exceptions that leave nobody behind:
the first member of all, and the raise itself. From then on whoever speaks less is refused.
"""

from __future__ import annotations

from dataclasses import replace

from .commands import Command, LevelRaised, NodeJoined
from .schema import version_of
from .types import NodeState, OutcomeCode, TierMap
from .verdict import Verdict, done, noop, stale


def is_passed_over(tier_map: TierMap, command: Command, verdict: Verdict) -> bool:
    """Whether a member of the map's level would not know that this command was ever there."""
    if version_of(command) <= tier_map.level:
        return False
    if isinstance(command, LevelRaised):
        return verdict.code is not OutcomeCode.DONE
    is_first = isinstance(command, NodeJoined) and not tier_map.members
    return not is_first


def level_raised(tier_map: TierMap, command: LevelRaised) -> Verdict:
    if command.level <= tier_map.level:
        return noop(f"the cluster runs at level {tier_map.level} already")
    if command.map_digest != tier_map.digest:
        return stale("the map has changed since all members were heard")
    takes_part = [m for m in tier_map.members if m.state is not NodeState.LEFT]
    out = [m.id for m in takes_part if m.state is not NodeState.UP]
    if out or not takes_part:
        return stale(f"{', '.join(out[:5])} is not UP" if out else "nobody is UP")
    members = tuple(
        m if m.state is NodeState.LEFT else replace(m, level=max(m.level, command.level))
        for m in tier_map.members
    )
    replicas = tier_map.replicas or command.replicas
    raised = replace(tier_map, members=members, replicas=replicas)
    return done(raised, f"the cluster runs at level {raised.level}")


def too_old(tier_map: TierMap, command: NodeJoined) -> str:
    """Why a node cannot join for what its software speaks; empty if it can."""
    if command.level >= tier_map.level:
        return ""
    return (
        f"this cluster runs at level {tier_map.level}; this node speaks {command.level}: upgrade it"
    )
