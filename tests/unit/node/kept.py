"""Maps of three nodes, and what one of them keeps by them."""

from __future__ import annotations

from dataclasses import replace

from tiercluster.cluster.ring import SLOTS
from tiercluster.node.keeping import Keeping
from tiercluster.tiermap import Member, NodeState, TierMap


def member(node: str, stint: int = 1) -> Member:
    return Member(node, f"{node}:1", incarnation=f"{node}#{stint}")


ALL = tuple(map(member, ("n1", "n2", "n3")))


def map_of(version: int, *members: Member, replicas: int = 3) -> TierMap:
    return TierMap("c", version, version, members, replicas=replicas)


def down(member: Member, version: int) -> Member:
    return replace(member, state=NodeState.DOWN, since_version=version)


def keeping(node: str, *maps: TierMap) -> Keeping:
    made = Keeping(node, node)
    for tier_map in maps:
        made.use_map(tier_map)
    return made


def slots_of(kept: Keeping, *owners: str) -> list[int]:
    return [slot for slot in range(SLOTS) if kept.table[slot][:1] == owners[:1]]
