"""What the software of each member speaks, and when the level of the cluster may rise. Pure.

The shard asks each member of a map below our own level what it speaks (HELLO), and tells the
control worker when all have answered (`LevelHeard`). A voter proposes the raise while that map
stands.
"""

from __future__ import annotations

from tiercluster.tiermap import LEVEL, LevelRaised, Member, NodeState, TierMap

from .messages import LevelHeard
from .proposals import Desire
from .settings import NodeSettings

SUBJECT = "level"


class PeerLevels:
    """The levels that the other members were heard to speak, each for the life of one process."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._heard: dict[str, tuple[str, int]] = {}  # node: process, level

    def heard(self, node: str, incarnation: str, level: int) -> None:
        self._heard[node] = incarnation.partition("#")[0], level

    def to_ask(self, tier_map: TierMap) -> list[str]:
        """Members that have not said what they speak, if it matters."""
        if tier_map.level >= LEVEL:
            return []
        return [m.id for m in self._others(tier_map) if not self._level_of(m)]

    def all_heard(self, tier_map: TierMap) -> LevelHeard | None:
        """What all members speak, if that is above the level of their map."""
        if not tier_map.members:
            return None
        level = min([LEVEL, *map(self._level_of, self._others(tier_map))])
        return LevelHeard(tier_map.digest, level) if level > tier_map.level else None

    def _others(self, tier_map: TierMap) -> list[Member]:
        members = (m for m in tier_map.members if m.state is not NodeState.LEFT)
        return [m for m in members if m.id != self._node]

    def _level_of(self, member: Member) -> int:
        """0 if it is not known."""
        process, level = self._heard.get(member.id, ("", 0))
        return level if process == member.process and member.state is NodeState.UP else 0


def level_to_join(tier_map: TierMap, voters: int) -> int:
    """What a join may say, so that everybody it reaches can read it. ``voters``: what a majority of
    them speaks, which is what a new cluster begins with; the rest of them must be upgraded."""
    return min(LEVEL, tier_map.level if tier_map.members else voters)


def raise_desire(
    tier_map: TierMap, heard: LevelHeard | None, voters: int, settings: NodeSettings
) -> list[Desire]:
    """LevelRaised while the map is the one in which all were heard. A majority of the voters must
    go along, whether they are in the map or not."""
    if heard is None or heard.map_digest != tier_map.digest:
        return []
    level = min(heard.level, voters)
    if level <= tier_map.level:
        return []
    command = LevelRaised(
        id="",
        by=settings.id,
        level=level,
        map_digest=heard.map_digest,
        replicas=settings.replicas,
    )
    return [Desire(SUBJECT, (level, heard.map_digest), command)]
