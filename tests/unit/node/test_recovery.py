"""The recovery policy: which failure leads where, and when an attempt may say that it is done."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiercluster.node.failures import COUNTS, FailureKind
from tiercluster.node.recovery import (
    RECOVERY,
    RETRY_LIMIT,
    SHRINK_LIMIT,
    Context,
    Emergency,
    Failover,
    FailoverAttempt,
    MakeReadOnly,
    ShrinkTier,
    Strategy,
    TryAgain,
    attempt_recovery,
    decide,
    order_for,
)
from tiercluster.tiermap import Health, Member, OutcomeCode, Tier, TierMap, TierRecord, TierRef

K, S = FailureKind, Strategy
CALM = Context()
TRIPPED = Context(is_tripped=True)


@pytest.mark.parametrize(
    ("kind", "context", "strategy"),
    [
        (K.TIMEOUT, CALM, S.RETRY),
        (K.TIMEOUT, Context(retries=RETRY_LIMIT), S.TIER_FAILOVER),
        (K.TIMEOUT, Context(retry_share=0.5), S.TIER_FAILOVER),
        (K.TIMEOUT, TRIPPED, S.TIER_FAILOVER),
        (K.IO_ERROR, CALM, S.TIER_FAILOVER),
        (K.GONE, CALM, S.TIER_FAILOVER),
        (K.CORRUPT, CALM, S.TIER_FAILOVER),
        (K.DEAD, CALM, S.TIER_FAILOVER),
        (K.NO_SPACE, CALM, S.REALLOCATE),
        (K.NO_SPACE, Context(shrinks=SHRINK_LIMIT), S.TIER_FAILOVER),
        (K.NO_SPACE, TRIPPED, S.TIER_FAILOVER),
        (K.READ_ONLY, CALM, S.DEGRADE),
        (K.READ_ONLY, Context(reads_work=False), S.TIER_FAILOVER),
        (K.READ_ONLY, Context(is_read_only=True), S.TIER_FAILOVER),
        (K.FULL, CALM, S.REALLOCATE),
        (K.SHED, CALM, S.RETRY),
        (K.TOO_LARGE, CALM, S.TIER_FAILOVER),
        (K.IO_ERROR, Context(has_other_tier=False), S.EMERGENCY),
        (K.TIMEOUT, Context(is_tripped=True, has_other_tier=False), S.EMERGENCY),
    ],
)
def test_each_kind_leads_where_the_table_says(
    kind: FailureKind, context: Context, strategy: Strategy
) -> None:
    assert decide(kind, context) is strategy


def test_the_table_is_whole() -> None:
    assert set(RECOVERY) == set(FailureKind)
    assert all(RECOVERY.values())


@given(st.sampled_from(list(FailureKind)), st.integers(0, 5), st.integers(0, 5), st.booleans())
def test_no_failure_is_retried_without_end(
    kind: FailureKind, retries: int, shrinks: int, has_other: bool
) -> None:
    late = Context(retries=RETRY_LIMIT + retries, shrinks=SHRINK_LIMIT + shrinks,
                   is_read_only=True, has_other_tier=has_other)  # fmt: skip
    assert decide(kind, late) is (S.TIER_FAILOVER if has_other else S.EMERGENCY)


@pytest.mark.parametrize("kind", sorted(set(FailureKind) - COUNTS))
def test_overload_moves_the_operation_but_never_fails_the_tier_over(kind: FailureKind) -> None:
    worn_out = Context(is_tripped=True, retries=9, shrinks=9)
    order = order_for(kind, Tier.COLD, worn_out, used_bytes=100, jitter=0.5)
    assert order == Failover(Tier.COLD, of_the_tier=False)


@pytest.mark.parametrize(
    ("kind", "context", "order"),
    [
        (K.TIMEOUT, Context(retries=1), TryAgain(0.02)),
        (K.NO_SPACE, CALM, ShrinkTier(Tier.COLD, 900)),
        (K.READ_ONLY, CALM, MakeReadOnly(Tier.COLD)),
        (K.IO_ERROR, CALM, Failover(Tier.COLD, of_the_tier=False)),
        (K.IO_ERROR, TRIPPED, Failover(Tier.COLD, of_the_tier=True)),
        (K.GONE, CALM, Failover(Tier.COLD, of_the_tier=True)),
        (K.DEAD, CALM, Failover(Tier.COLD, of_the_tier=True)),
        (K.DEAD, Context(has_other_tier=False), Emergency()),
    ],
)
def test_each_strategy_becomes_an_order(kind: FailureKind, context: Context, order: object) -> None:
    assert order_for(kind, Tier.COLD, context, used_bytes=1000, jitter=0.5) == order


REF = TierRef("n1", Tier.COLD)
ATTEMPT = FailoverAttempt(REF, generation=1, started=10.0, deadline=12.0)


def a_map(**changes: object) -> TierMap:
    record = replace(TierRecord(Tier.COLD), **changes)  # type: ignore[arg-type]
    tiers = (TierRecord(Tier.HOT), TierRecord(Tier.WARM), record)
    return TierMap(members=(Member("n1", "a:1", tiers=tiers), Member("n2", "b:1")))


def test_a_failover_is_done_only_when_its_down_is_applied() -> None:
    assert attempt_recovery(ATTEMPT, a_map(), None, 11.0) is None
    assert attempt_recovery(ATTEMPT, a_map(), OutcomeCode.STALE, 11.0) is None
    verdict = attempt_recovery(ATTEMPT, a_map(health=Health.DOWN), OutcomeCode.DONE, 11.0)
    assert verdict is not None
    assert verdict.ok


@pytest.mark.parametrize(
    ("tier_map", "outcome", "now", "why"),
    [
        (a_map(suspect=True), OutcomeCode.REFUSED, 11.0, "guard"),
        (a_map(), OutcomeCode.REFUSED, 11.0, "guard"),
        (a_map(), None, 12.0, "not committed"),
        (a_map(generation=2), None, 11.0, "overtaken"),
        (TierMap(), None, 11.0, "no other tier"),
    ],
)
def test_a_failover_that_is_not_done_is_false(
    tier_map: TierMap, outcome: OutcomeCode | None, now: float, why: str
) -> None:
    verdict = attempt_recovery(ATTEMPT, tier_map, outcome, now)
    assert verdict is not None
    assert not verdict.ok
    assert why in verdict.reason


def test_the_last_tier_of_a_cluster_has_nowhere_to_go() -> None:
    down = tuple(TierRecord(t, Health.DOWN) for t in (Tier.HOT, Tier.WARM))
    alone = TierMap(members=(Member("n1", "a:1", tiers=(*down, TierRecord(Tier.COLD))),))
    verdict = attempt_recovery(ATTEMPT, alone, None, 10.0)
    assert verdict is not None
    assert not verdict.ok
    with_n2 = replace(alone, members=(*alone.members, Member("n2", "b:1")))
    assert attempt_recovery(ATTEMPT, with_n2, None, 10.0) is None
