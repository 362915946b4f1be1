"""What is done about a failure: a table from its kind to strategies, and the attempt to carry one
out, which has succeeded only when it is done.

    PENDING --done, and seen to be done--> DONE (True)
    PENDING --refused, out of time, nowhere to go--> GIVEN_UP (False)

| strategy | what it does | order | done when |
| --- | --- | --- | --- |
| RETRY | the same operation again, a bounded number of times, after a jittered pause | TryAgain | it succeeded |
| REALLOCATE | the tier's capacity shrinks below what it holds, it evicts, the operation is tried again | ShrinkTier | the operation succeeded |
| DEGRADE | the tier serves what it holds and takes nothing new | MakeReadOnly | a read succeeded after it |
| TIER_FAILOVER | the tier is not used any more, its work goes to the next one | Failover | DOWN is committed and applied |
| EMERGENCY | no tier is left: reads miss at once, writes are shed | Emergency | the order was carried out |
"""  # noqa: E501 (a table)

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from tiercluster.tiermap import Health, Member, NodeState, OutcomeCode, Tier, TierMap, TierRef

from .failures import COUNTS, FailureKind

RETRY_LIMIT = 2  # of one operation
RETRY_PAUSE_S = 0.01  # before the first; doubles
RETRY_BUDGET = 0.1  # retries are at most this share of all operations
SHRINK_TO = 0.9  # of what the tier holds
SHRINK_LIMIT = 3  # within the breaker's window; then the disk is somebody else's, or sick


class Strategy(StrEnum):
    RETRY = "retry"
    REALLOCATE = "reallocate"
    DEGRADE = "degrade"
    TIER_FAILOVER = "tier_failover"
    EMERGENCY = "emergency"


@dataclass(frozen=True, slots=True)
class Context:
    """What is known when the failure comes. ``is_tripped``: the breaker is open. ``retries``: of
    this operation so far. ``retry_share``: of all operations in the window. ``shrinks``: of the
    tier in the window; ``can_shrink``: it holds something to give up. ``is_read_only``: it was
    degraded already. ``reads_work``: the last one succeeded. ``has_other_tier``: another tier, here
    or elsewhere, can take over."""

    is_tripped: bool = False
    retries: int = 0
    retry_share: float = 0.0
    shrinks: int = 0
    can_shrink: bool = True
    is_read_only: bool = False
    reads_work: bool = True
    has_other_tier: bool = True


_RETRY_FIRST = (Strategy.RETRY, Strategy.TIER_FAILOVER)
_OTHER_TIER = (Strategy.TIER_FAILOVER,)

# The first that is possible is chosen; where none is, EMERGENCY.
RECOVERY: dict[FailureKind, tuple[Strategy, ...]] = {
    FailureKind.TIMEOUT: _RETRY_FIRST,
    FailureKind.IO_ERROR: _OTHER_TIER,
    FailureKind.GONE: _OTHER_TIER,
    FailureKind.CORRUPT: _OTHER_TIER,
    FailureKind.DEAD: _OTHER_TIER,
    FailureKind.NO_SPACE: (Strategy.REALLOCATE, Strategy.TIER_FAILOVER),
    FailureKind.READ_ONLY: (Strategy.DEGRADE, Strategy.TIER_FAILOVER),
    # Overload says nothing against the tier. Only the place for this value is looked for.
    FailureKind.SHED: _RETRY_FIRST,
    FailureKind.FULL: (Strategy.REALLOCATE, Strategy.TIER_FAILOVER),
    FailureKind.TOO_LARGE: _OTHER_TIER,
}
# One is proof enough: nothing the tier could still do would succeed.
TRIPS_AT_ONCE: frozenset[FailureKind] = frozenset({FailureKind.GONE, FailureKind.DEAD})


def decide(kind: FailureKind, context: Context) -> Strategy:
    """The strategy for a failure of this kind."""
    possible = (s for s in RECOVERY[kind] if _is_possible(s, context))
    return next(possible, Strategy.EMERGENCY)


def _is_possible(strategy: Strategy, context: Context) -> bool:
    match strategy:
        case Strategy.RETRY:
            has_budget = context.retry_share < RETRY_BUDGET
            return not context.is_tripped and context.retries < RETRY_LIMIT and has_budget
        case Strategy.REALLOCATE:
            has_more = context.can_shrink and context.shrinks < SHRINK_LIMIT
            return has_more and not context.is_tripped
        case Strategy.DEGRADE:
            return context.reads_work and not context.is_read_only
        case Strategy.TIER_FAILOVER:
            return context.has_other_tier
        case Strategy.EMERGENCY:
            return True
        case _:
            assert_never(strategy)


# --- orders -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TryAgain:
    """The same operation after ``pause_s``."""

    pause_s: float


@dataclass(frozen=True, slots=True)
class ShrinkTier:
    """Evict down to ``capacity_bytes`` and keep to it until the tier has recovered."""

    tier: Tier
    capacity_bytes: int


@dataclass(frozen=True, slots=True)
class MakeReadOnly:
    """No new placement in the tier; what it holds is served."""

    tier: Tier


@dataclass(frozen=True, slots=True)
class Failover:
    """This operation goes to the next tier. With ``of_the_tier`` all do from now on: open the
    breaker and tell control, which has the DOWN committed."""

    tier: Tier
    of_the_tier: bool


@dataclass(frozen=True, slots=True)
class Emergency:
    """Answer misses at once, shed writes."""


Order = TryAgain | ShrinkTier | MakeReadOnly | Failover | Emergency


def order_for(
    kind: FailureKind, tier: Tier, context: Context, *, used_bytes: int, jitter: float
) -> Order:
    """What the shard is to do now. ``jitter``: a random number from 0 to 1."""
    strategy = decide(kind, context)
    match strategy:
        case Strategy.RETRY:
            return TryAgain(RETRY_PAUSE_S * 2**context.retries * (0.5 + jitter))
        case Strategy.REALLOCATE:
            return ShrinkTier(tier, int(used_bytes * SHRINK_TO))
        case Strategy.DEGRADE:
            return MakeReadOnly(tier)
        case Strategy.TIER_FAILOVER:
            is_proof = kind in TRIPS_AT_ONCE or _is_hopeless(kind, context)
            return Failover(tier, (context.is_tripped or is_proof) and kind in COUNTS)
        case Strategy.EMERGENCY:
            return Emergency()
        case _:
            assert_never(strategy)


def _is_hopeless(kind: FailureKind, context: Context) -> bool:
    """Whether it has given up so much in vain that giving up more will not help."""
    return kind is FailureKind.NO_SPACE and context.shrinks >= SHRINK_LIMIT


# --- the attempt to fail a tier over ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt ended: ``ok`` only if what it set out to do is done."""

    ok: bool
    reason: str


@dataclass(frozen=True, slots=True)
class FailoverAttempt:
    """A failover of ``ref`` that began at ``started`` and must be done by ``deadline`` (monotonic
    seconds)."""

    ref: TierRef
    generation: int
    started: float
    deadline: float


def attempt_recovery(
    attempt: FailoverAttempt, tier_map: TierMap, outcome: OutcomeCode | None, now: float
) -> Verdict | None:
    """The end of a failover, None while it is under way. ``tier_map`` is the one applied here;
    ``outcome`` what became of its TierFailed, None if that is not known yet."""
    record = tier_map.record(attempt.ref)
    if not has_target(tier_map, attempt.ref):
        return Verdict(False, "no other tier is left to take over")
    if record is not None and record.health is not Health.UP:
        return Verdict(True, "DOWN is committed and applied")
    if record is not None and record.generation != attempt.generation:
        return Verdict(False, f"overtaken: the tier is at generation {record.generation}")
    if outcome is OutcomeCode.REFUSED or (record is not None and record.suspect):
        return Verdict(False, "refused by the guard; the tier is suspect and not used here")
    if now >= attempt.deadline:
        return Verdict(False, f"not committed within {attempt.deadline - attempt.started:.1f} s")
    return None


def has_target(tier_map: TierMap, ref: TierRef) -> bool:
    """Whether the work of ``ref`` can go anywhere: to another usable tier of its node, or (cold)
    to the cold tier of another node."""
    member = tier_map.member(ref.node)
    if member is None:
        return False
    if any(r.is_usable for r in member.tiers if r.tier is not ref.tier):
        return True
    return has_cold_elsewhere(tier_map, ref.node)


def has_cold_elsewhere(tier_map: TierMap, node: str) -> bool:
    """Whether another node's cold tier can stand in for that of ``node``."""
    return any(_takes_cold(m) for m in tier_map.members if m.id != node)


def _takes_cold(member: Member) -> bool:
    return member.state is NodeState.UP and member.tier(Tier.COLD).is_usable
