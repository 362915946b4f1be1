"""The other members as this node sees them: silent, back, or holding another map. Pure."""

from __future__ import annotations

from tiercluster.tiermap import Command, ReportReachable, ReportUnreachable, TierMap, evidence

from .detector import Back, Detector, Silent, Watch
from .messages import PeerHeard, ShardTurn
from .proposals import Desire
from .settings import NodeSettings


class PeerWatch:
    """The detector's findings as wishes, and the comparison of digests."""

    def __init__(self, settings: NodeSettings) -> None:
        self._node = settings.id
        self._detector = Detector(settings.detector, settings.id)
        self._watch = Watch((), frozenset(), 0.0)
        self._told_split_at = -1

    @property
    def withheld(self) -> frozenset[str]:
        """Whose pings get no grant."""
        return self._watch.withheld

    def heard(self, heard: PeerHeard, mine: TierMap) -> bool:
        """True when its map differs from ours at the same version: once for each version."""
        self._detector.heard(heard.node, heard.incarnation, heard.at, heard.leaving)
        if heard.map_version != mine.version or heard.digest == mine.digest:
            return False
        is_news, self._told_split_at = self._told_split_at != mine.version, mine.version
        return is_news

    def shard_turned(self, turn: ShardTurn) -> float:
        """For how long the shard was stalled, 0 if it was not."""
        return self._detector.shard_turned(turn.at, turn.withheld)

    def tick(self, now: float, tier_map: TierMap, unsettled: frozenset[str]) -> float:
        """For how long this node was stalled, 0 if it was not."""
        self._watch = self._detector.tick(now, tier_map, unsettled)
        return self._watch.stalled_s

    def desires(self, incarnation: str) -> list[Desire]:
        """The reports and withdrawals that the map lacks; ``incarnation`` is this node's."""
        return [self._desire(finding, incarnation) for finding in self._watch.findings]

    def _desire(self, finding: Silent | Back, incarnation: str) -> Desire:
        node, theirs = finding.node, finding.incarnation
        command: Command
        match finding:
            case Silent(silent_s=silent_s):
                command = ReportUnreachable(
                    id="",
                    by=self._node,
                    node=node,
                    incarnation=theirs,
                    by_incarnation=incarnation,
                    evidence=evidence(silent_s=round(silent_s, 3)),
                )
            case Back():
                command = ReportReachable(id="", by=self._node, node=node, incarnation=theirs)
        return Desire(f"peer:{node}", (type(command).__name__, theirs, incarnation), command)
