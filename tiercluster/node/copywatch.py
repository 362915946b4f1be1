"""What the map should say about copies, as this node sees it. Pure and level-triggered.

A node that has all it will own serves; a peer that does not confirm our writes keeps no copies of
our keys until it answers again, for a while.
"""

from __future__ import annotations

from tiercluster.tiermap import (
    CopiesApart,
    CopiesTogether,
    NodeFilled,
    NodeState,
    TierMap,
    evidence,
)

from .messages import ShardTurn
from .proposals import Desire

TOGETHER_AFTER_S = 1.0  # without a silence
FILL_PATIENCE_S = 900.0  # then it serves with what it has


class CopyWatch:
    """``node`` is this node's id."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._unreachable: frozenset[str] = frozenset()
        self._seen_at: dict[str, float] = {}  # when a peer was unreachable last
        self._is_whole = False
        self._fills_since: tuple[str, float] | None = None  # incarnation and time

    def shard_turned(self, turn: ShardTurn) -> None:
        self._unreachable, self._is_whole = turn.unreachable, turn.whole
        self._seen_at.update(dict.fromkeys(turn.unreachable, turn.at))

    def desires(self, tier_map: TierMap, incarnation: str, now: float) -> list[Desire]:
        """What the map lacks. ``incarnation``: this node's stint."""
        me = tier_map.member(self._node)
        if me is None or me.incarnation != incarnation or tier_map.copies == 1:
            return []
        found = []
        if me.filling and self._is_filled(incarnation, now):
            facts = evidence(whole=int(self._is_whole))
            filled = NodeFilled(id="", by=self._node, node=self._node, incarnation=incarnation,
                                evidence=facts)  # fmt: skip
            found.append(Desire("filled", incarnation, filled))
        for member in tier_map.members:
            if member.state is not NodeState.UP or member.id == self._node:
                continue
            is_apart, is_out = self._node in member.apart, member.id in self._unreachable
            wanted = is_out and not is_apart
            if wanted:
                command: CopiesApart | CopiesTogether = CopiesApart(
                    id="", by=self._node, node=member.id, incarnation=member.incarnation,
                    by_incarnation=incarnation, evidence=evidence(reason="confirms no writes"),
                )  # fmt: skip
            elif is_apart and self._is_back(member.id, now):
                command = CopiesTogether(
                    id="", by=self._node, node=member.id, incarnation=member.incarnation,
                    by_incarnation=incarnation,
                )  # fmt: skip
            else:
                continue
            found.append(Desire(f"copies:{member.id}", (member.incarnation, wanted), command))
        return found

    def _is_filled(self, incarnation: str, now: float) -> bool:
        if self._fills_since is None or self._fills_since[0] != incarnation:
            self._fills_since = incarnation, now
        return self._is_whole or now - self._fills_since[1] > FILL_PATIENCE_S

    def _is_back(self, node: str, now: float) -> bool:
        return now - self._seen_at.get(node, 0.0) > TOGETHER_AFTER_S
