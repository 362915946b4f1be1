"""Whether this process takes part: joining, joining anew after it was voted out, leaving. Pure.

OUTSIDE --caught up: NodeJoined(token#n) applied--> JOINED
JOINED --DOWN in the map, or another incarnation stands there--> OUTSIDE, n + 1
JOINED --LEFT: an operator removed it--> REMOVED, until the process is started anew
JOINED --stopping, the shard has stopped: NodeStopped applied--> GONE
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from tiercluster.tiermap import (
    FIRST_LEVEL,
    LEVEL,
    Member,
    NodeJoined,
    NodeState,
    NodeStopped,
    Tier,
    TierMap,
)

from .messages import ColdReady
from .proposals import Desire
from .settings import NodeSettings

REJOIN_PAUSE_S = 1.0  # between two joins of one process
SUBJECT = "membership"


class Stage(StrEnum):
    OUTSIDE = "outside"
    JOINED = "joined"
    REMOVED = "removed"


class Membership:
    """``token`` names this process for ever."""

    def __init__(self, settings: NodeSettings, token: str) -> None:
        self._settings = settings
        self._token = token
        self._count = 1
        self._not_before = 0.0
        self._stage = Stage.OUTSIDE

    @property
    def incarnation(self) -> str:
        """The one that it has, or joins with next."""
        return f"{self._token}#{self._count}"

    @property
    def stage(self) -> Stage:
        return self._stage

    def use_map(self, tier_map: TierMap, now: float) -> Stage:
        """The stage that this map puts it in."""
        me = tier_map.member(self._settings.id)
        if me is not None and me.incarnation == self.incarnation:
            self._stage = self._as_shown(me, now)
        elif self._stage is Stage.JOINED:
            self._lose(now)
        return self._stage

    def _as_shown(self, me: Member, now: float) -> Stage:
        if me.state is NodeState.UP:
            if self._stage is not Stage.JOINED:
                self._not_before = now + REJOIN_PAUSE_S
            return Stage.JOINED
        if me.state is NodeState.LEFT:
            return Stage.REMOVED
        self._lose(now)
        return Stage.OUTSIDE

    def _lose(self, now: float) -> None:
        self._count += 1
        self._stage = Stage.OUTSIDE

    def join_desire(
        self, tier_map: TierMap, cold: ColdReady | None, level: int, now: float
    ) -> Desire | None:
        """NodeJoined while it should be in the map and is not. ``cold``: what the store said when
        it was opened at start; ``level``: what the join may say of levels."""
        if self._stage is not Stage.OUTSIDE or now < self._not_before:
            return None
        me, settings = tier_map.member(self._settings.id), self._settings
        expected = me.incarnation if me is not None else ""
        command = NodeJoined(
            id="",
            by=settings.id,
            node=settings.id,
            cluster=settings.cluster,
            address=settings.listen,
            raft="" if settings.join else settings.raft,
            weight=settings.weight,
            expected=expected,
            incarnation=self.incarnation,
            keep_cold=self._keeps_cold(me, cold),
            max_unavailable=settings.max_unavailable,
        )
        if level > FIRST_LEVEL:
            command = replace(command, level=LEVEL, replicas=settings.replicas)
        return Desire(SUBJECT, ("join", self.incarnation, expected, command.level), command)

    def _keeps_cold(self, me: Member | None, cold: ColdReady | None) -> bool:
        """Only the first join of a process, and only what the last incarnation closed cleanly."""
        if self._count != 1 or me is None or cold is None or not cold.keepable:
            return False
        written = (cold.incarnation.partition("#")[0], cold.generation)
        return written == (me.process, me.tier(Tier.COLD).generation)

    def leave_desire(self) -> Desire | None:
        """NodeStopped, once nothing is served any more."""
        if self._stage is not Stage.JOINED:
            return None
        node, mine = self._settings.id, self.incarnation
        command = NodeStopped(id="", by=node, node=node, incarnation=mine)
        return Desire(SUBJECT, ("leave", mine), command)
