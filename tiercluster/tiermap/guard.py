"""The guard: refuses a change that would take too many tiers of one class out of service.

It stands inside the state machine, so every member must be given the same one: members with
different guards would disagree about the map (their digests tell).

Rules, for each class (hot, warm, cold) in which the change makes a tier unavailable that was not.
A tier is unavailable when its node or itself is not usable; LEFT members do not count.

1. At most ``max(1, floor(members * max_unavailable))`` tiers of the class are unavailable.
2. When it would not be the only one: the weights of what is left are at least ``1 / max_load`` of
   all weights, so that no survivor gets more than ``max_load`` times its share.
3. A wish (a drain, which can wait) leaves at least one usable tier of any class in the cluster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .types import TIERS, Member, NodeState, Tier, TierMap


@dataclass(frozen=True, slots=True)
class Guard:
    """``max_unavailable``: share of the tiers of a class, 0 to 1 (one may always be out).
    ``max_load``: how many times its share a survivor may get, from 1."""

    max_unavailable: float = 1 / 3
    max_load: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.max_unavailable <= 1:
            raise ValueError(f"max_unavailable is {self.max_unavailable}; 0 to 1")
        if not 1 <= self.max_load < math.inf:
            raise ValueError(f"max_load is {self.max_load}; 1 or more")

    def allowed_out(self, members: int) -> int:
        """How many tiers of a class may be out in a cluster of so many members."""
        # The sum makes a third of three one, whatever the rounding of the setting.
        return max(1, math.floor(members * self.max_unavailable + 1e-9))

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
        load = _load(members, are_out)
        if len(are_out) > 1 and load > self.max_load:
            return f"the {tier} tiers left would get {load:.1f} times their share; " + (
                f"max_load allows {self.max_load:g}"
            )
        return ""


def is_available(member: Member, tier: Tier) -> bool:
    """Whether new work may be placed on this tier of this member."""
    return member.state is NodeState.UP and member.tier(tier).is_usable


def unavailable(tier_map: TierMap, tier: Tier) -> tuple[str, ...]:
    """The members whose tier of this class is out of service, LEFT ones apart."""
    return tuple(m.id for m in _present(tier_map) if not is_available(m, tier))


def _present(tier_map: TierMap) -> tuple[Member, ...]:
    return tuple(m for m in tier_map.members if m.state is not NodeState.LEFT)


def _load(members: Sequence[Member], out: tuple[str, ...]) -> float:
    left = sum(m.weight for m in members if m.id not in out)
    return sum(m.weight for m in members) / left if left else math.inf


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
