"""What a node shows of itself over HTTP, as one frozen value that the control worker publishes."""

from __future__ import annotations

from dataclasses import dataclass

from tiercluster.tiermap import TierMap

from .messages import ShardStats, StandingKnown


@dataclass(frozen=True, slots=True)
class NodeView:
    node: str
    ready: bool  # a barrier succeeded and this incarnation is in the map
    serving: bool
    serving_reason: str
    map: TierMap
    standing: StandingKnown
    stats: ShardStats | None
    counters: tuple[tuple[str, int], ...] = ()  # of the control worker
