"""The guard: refuses a change that would take too many tiers of one class out of service.

It stands inside the state machine, so its limit is the map's and nobody's own: members with
different guards would disagree about the map.

Rules, for each class (hot, warm, cold) in which the change makes a tier unavailable that was not.
A tier is unavailable when its node or itself is not usable; LEFT members do not count.

1. At most ``max(1, floor(members * max_unavailable))`` tiers of the class are unavailable.
2. When it would not be the only one, the weights of the unavailable ones are at most
   ``max_unavailable`` of all weights, so the survivors get at most ``1 / (1 - max_unavailable)``
   times their share of the load (1.5 times by default), however unequal the nodes are.
3. A wish (a drain, which can wait) leaves at least one usable tier of any class in the cluster.
4. A tier that is only slow goes if it is the only one of its class that is out (`refusal_of_slow`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .types import (
    DEFAULT_MAX_UNAVAILABLE,
    FIRST_LEVEL,
    TIERS,
    Member,
    NodeState,
    Tier,
    TierMap,
    TierRef,
)

SLOW_LEAVES = 2  # tiers of the class in service, when a slow one is taken out
_ROUNDING = 1e-9  # makes a third of three one, whatever the setting's last digit


@dataclass(frozen=True, slots=True)
class Guard:
    """``max_unavailable``: share of the tiers of a class, 0 to 1; one may always be out."""

    max_unavailable: float = DEFAULT_MAX_UNAVAILABLE

    def __post_init__(self) -> None:
        if not 0 <= self.max_unavailable <= 1:
            raise ValueError(f"max_unavailable is {self.max_unavailable}; 0 to 1")

    @classmethod
    def of(cls, tier_map: TierMap) -> Guard:
        """The guard that the cluster of this map has agreed on."""
        return cls(tier_map.max_unavailable)

    def allowed_out(self, members: int) -> int:
        """How many tiers of a class may be out in a cluster of so many members."""
        return max(1, math.floor(members * self.max_unavailable + _ROUNDING))

    def refusal(self, before: TierMap, after: TierMap, *, is_wish: bool = False) -> str:
        """Why the step from ``before`` to ``after`` is refused, in words; empty if it is not."""
        reasons = (self._refusal_in(tier, before, after) for tier in TIERS)
        found = next((reason for reason in reasons if reason), "")
        return found or (_nothing_left(before, after) if is_wish else "")

    def _refusal_in(self, tier: Tier, before: TierMap, after: TierMap) -> str:
        were_out, are_out = unavailable(before, tier), unavailable(after, tier)
        if not set(are_out) - set(were_out):
            return ""
        members = _present(after)
        allowed = self.allowed_out(len(members))
        if len(are_out) > allowed:
            return _too_many(tier, were_out, len(members), allowed)
        share = _share(members, are_out)
        if len(are_out) > 1 and share > self.max_unavailable + _ROUNDING:
            return f"{share:.0%} of the weight of all {tier} tiers would be out; " + (
                f"max_unavailable allows {self.max_unavailable:.0%}"
            )
        return ""


def refusal_of_slow(tier_map: TierMap, ref: TierRef) -> str:
    """Why a tier that works, only slowly, is not taken out, in words; empty if it may be. It does
    more than none: so one of a class at a time, none while another of the class is out for
    whatever reason, and two at least are left. Members of level 1 would not ask that."""
    if tier_map.level == FIRST_LEVEL:
        return f"a cluster of level {FIRST_LEVEL} takes out what fails, and nothing that is slow"
    out = [node for node in unavailable(tier_map, ref.tier) if node != ref.node]
    if out:
        return f"{out[0]}/{ref.tier} is out already; a slow tier goes only where all others are in"
    if sum(is_available(m, ref.tier) for m in tier_map.members if m.id != ref.node) < SLOW_LEAVES:
        return f"fewer than {SLOW_LEAVES} other {ref.tier} tiers would be left"
    return ""


def is_available(member: Member, tier: Tier) -> bool:
    """Whether new work may be placed on this tier of this member."""
    return member.state is NodeState.UP and member.tier(tier).is_usable


def unavailable(tier_map: TierMap, tier: Tier) -> tuple[str, ...]:
    """The members whose tier of this class is out of service, LEFT ones apart."""
    return tuple(m.id for m in _present(tier_map) if not is_available(m, tier))


def _present(tier_map: TierMap) -> tuple[Member, ...]:
    return tuple(m for m in tier_map.members if m.state is not NodeState.LEFT)


def _share(members: Sequence[Member], out: tuple[str, ...]) -> float:
    return sum(m.weight for m in members if m.id in out) / sum(m.weight for m in members)


def _too_many(tier: Tier, were_out: tuple[str, ...], members: int, allowed: int) -> str:
    verb = "is" if len(were_out) == 1 else "are"
    named = ", ".join(f"{node}/{tier}" for node in were_out[:3])
    more = ", …" if len(were_out) > 3 else ""
    already = f"{len(were_out)} of {members} {tier} tiers {verb} already out"
    return f"{already} ({named}{more}); max_unavailable allows {allowed}"


def _nothing_left(before: TierMap, after: TierMap) -> str:
    if _count_usable(after) or not _count_usable(before):
        return ""
    return "no usable tier would be left in the whole cluster"


def _count_usable(tier_map: TierMap) -> int:
    return sum(is_available(m, tier) for m in tier_map.members for tier in TIERS)
