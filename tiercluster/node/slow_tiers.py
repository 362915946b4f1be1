"""What is done about a tier of this node that is SLOW (`slowness`): proposed, and judged on return.

    SLOW --two peers, none of the class out--> TierFailed proposed until the map shows it
         --otherwise--> told once, and used as before
    taken out --a probe within twice the bar--> comes back as after any outage
              --a slower probe--> that probe has failed

Pure and level-triggered. The shard uses the tier until the map says DOWN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tiercluster.tiermap import (
    SLOW,
    Command,
    Evidence,
    Outcome,
    OutcomeCode,
    Tier,
    TierFailed,
    TierMap,
    TierRef,
    brief,
    refusal_of_slow,
)

from .messages import PeerPaced
from .pace import Pace
from .proposals import Desire
from .settings import NodeSettings
from .slowness import Slow, Slowness

PROBE_SHARE = 2.0  # a probe writes, syncs, reads and deletes: it may take so many bars


@dataclass(frozen=True, slots=True)
class Finding:
    """A tier has become SLOW. ``refusal``: why it stays in service, empty if it is to go."""

    slow: Slow
    refusal: str


class SlowTiers:
    """``found`` and ``refused`` count findings since the start."""

    def __init__(self, settings: NodeSettings) -> None:
        self._node = settings.id
        self._settings = settings.slowness
        self._slowness = Slowness(settings.id, settings.slowness)
        self._told: dict[Tier, str] = {}  # the refusal last told of each that is SLOW
        self._limits: dict[Tier, float] = {}  # of probes of what was taken out
        self._wanted: dict[Tier, Slow] = {}
        self.found = self.refused = 0

    # --- events ---------------------------------------------------------------------------------

    def mine(self, paces: Sequence[tuple[Pace, Pace]], incarnation: str, now: float) -> None:
        self._slowness.mine(paces, incarnation, now)

    def peer(self, told: PeerPaced, now: float) -> None:
        self._slowness.peer(told, now)

    def settled(self, command: Command, outcome: Outcome) -> tuple[Tier, Evidence] | None:
        """The tier that a command of ours has taken out, with the evidence."""
        if not isinstance(command, TierFailed) or not command.is_slow:
            return None
        slow = self._wanted.get(command.ref.tier)
        if outcome.code is not OutcomeCode.DONE or slow is None:
            return None
        self._limits[slow.tier] = PROBE_SHARE * slow.bar_s
        return slow.tier, command.evidence

    # --- what follows ---------------------------------------------------------------------------

    def tick(self, tier_map: TierMap, now: float) -> list[Finding]:
        """The tiers that have become SLOW, or may not go for another reason than was told."""
        slow = {s.tier: s for s in self._slowness.judge(tier_map, now)}
        self._told = {tier: told for tier, told in self._told.items() if tier in slow}
        refusals = {tier: self._refusal(s, tier_map) for tier, s in slow.items()}
        self._wanted = {tier: s for tier, s in slow.items() if not refusals[tier]}
        findings = [
            Finding(slow[tier], refusal)
            for tier, refusal in refusals.items()
            if self._told.get(tier) != refusal
        ]
        self._told |= refusals
        self.found += len(findings)
        self.refused += sum(bool(f.refusal) for f in findings)
        me = tier_map.member(self._node)
        for tier in list(self._limits):
            if me is None or me.tier(tier).is_usable:
                del self._limits[tier]
            else:
                bar_s = PROBE_SHARE * self._slowness.bar_s(tier_map, tier, now)
                self._limits[tier] = max(self._limits[tier], bar_s)
        return findings

    def _refusal(self, slow: Slow, tier_map: TierMap) -> str:
        if not self._settings.eject:
            return "slowness.eject is off"
        if not slow.may_act:
            return "one peer alone cannot tell which of the two is slow"
        return refusal_of_slow(tier_map, TierRef(self._node, slow.tier))

    def desires(self, tier_map: TierMap) -> list[Desire]:
        """The decisions that the map lacks."""
        me = tier_map.member(self._node)
        if me is None:
            return []
        return [self._desire(s, me.tier(s.tier).generation) for s in self._wanted.values()]

    def _desire(self, slow: Slow, generation: int) -> Desire:
        command = TierFailed(
            id="",
            by=self._node,
            ref=TierRef(self._node, slow.tier),
            generation=generation,
            reason=brief(SLOW + slow.text),
            evidence=slow.evidence,
        )
        return Desire(str(command.ref), ("slow", generation), command)

    def too_slow(self, tier: Tier, took_s: float) -> str:
        """Why a probe that succeeded proves nothing, in words; empty if it does."""
        limit_s = self._limits.get(tier)
        if limit_s is None or took_s <= limit_s:
            return ""
        return f"{SLOW}it took {took_s * 1000:.1f} ms, {limit_s * 1000:.1f} ms are allowed"
