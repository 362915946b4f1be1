"""What the map should say about copies, as this node sees it. Pure and level-triggered.

A node that has all it will own serves; a peer that does not confirm our writes keeps no copies of
our keys until it answers again, for a while.
"""

from __future__ import annotations

from tiercluster.tiermap import (
    CopiesApart,
    CopiesTogether,
    Member,
    NodeFilled,
    NodeState,
    TierMap,
    evidence,
)

from .messages import ShardTurn
from .proposals import Desire

TOGETHER_AFTER_S = 1.0  # without a silence, the first time; doubles with each relapse
LONGEST_AFTER_S = 60.0
CALM_S = 300.0  # together for so long, a peer's relapses are forgotten
FILL_PATIENCE_S = 900.0  # then it serves with what it has


class CopyWatch:
    """``node`` is this node's id."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._unreachable: frozenset[str] = frozenset()
        self._seen_at: dict[str, float] = {}  # when a peer was unreachable last
        self._together_after_s: dict[str, float] = {}  # of peers that were apart
        self._apart: frozenset[str] = frozenset()  # from this node, by the map looked at last
        self._is_whole = False
        self._told_version = 0  # of the map by which the shard has told that
        self._phase: tuple[str, bool] = ("", False)  # incarnation, and whether it fills
        self._phase_version, self._phase_at = 0, 0.0

    def shard_turned(self, turn: ShardTurn) -> None:
        self._told_version = turn.version
        self._unreachable, self._is_whole = turn.unreachable, turn.whole
        self._seen_at.update(dict.fromkeys(turn.unreachable, turn.at))

    def desires(self, tier_map: TierMap, incarnation: str, now: float) -> list[Desire]:
        """What the map lacks. ``incarnation``: this node's stint."""
        me = tier_map.member(self._node)
        if me is None or me.incarnation != incarnation or tier_map.copies == 1:
            return []
        self._note_phase((incarnation, me.filling), tier_map.version, now)
        if self._told_version < self._phase_version:
            return []  # the shard has told of what was before: there it misses nothing
        self._note_apart(tier_map, now)
        found = []
        if me.filling and (self._has_all(me, tier_map) or now > self._phase_at + FILL_PATIENCE_S):
            facts = evidence(whole=int(self._is_whole))
            filled = NodeFilled(id="", by=self._node, node=self._node, incarnation=incarnation,
                                known=tier_map.version, evidence=facts)  # fmt: skip
            found.append(Desire("filled", (incarnation, me.apart_version), filled))
        for member in tier_map.members:
            if member.state is not NodeState.UP or member.id == self._node:
                continue
            is_apart, is_out = self._node in member.apart, self._is_out(member)
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

    def _has_all(self, me: Member, tier_map: TierMap) -> bool:
        """By this very map: it keeps nothing of an owner that it is apart from, and misses nothing
        of that until the shard knows that they are together again."""
        is_cut_off = any(m.serves and m.id in me.apart for m in tier_map.members)
        is_now = self._told_version >= tier_map.version
        return self._is_whole and is_now and not is_cut_off

    def _note_phase(self, phase: tuple[str, bool], version: int, now: float) -> None:
        if phase != self._phase:
            self._phase, self._phase_version, self._phase_at = phase, version, now

    def _is_out(self, member: Member) -> bool:
        """By a map that had this stint of it."""
        return member.id in self._unreachable and self._told_version >= member.since_version

    def _is_back(self, node: str, now: float) -> bool:
        return now - self._seen_at.get(node, 0.0) > self._together_after_s[node]

    def _note_apart(self, tier_map: TierMap, now: float) -> None:
        """A peer that comes and goes waits longer each time: each change costs every node work."""
        apart = frozenset(m.id for m in tier_map.members if self._node in m.apart)
        for node in apart - self._apart:
            was = self._together_after_s.get(node)
            longer = TOGETHER_AFTER_S if was is None else min(2 * was, LONGEST_AFTER_S)
            self._together_after_s[node] = longer
        calm = [n for n in self._together_after_s if now - self._seen_at.get(n, 0.0) > CALM_S]
        for node in set(calm) - apart:
            del self._together_after_s[node]
        self._apart = apart
