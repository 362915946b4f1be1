"""Injected faults of the two tiers in memory, in their own read and write paths."""

from __future__ import annotations

import math

from tiercluster.node.failures import Failure, FailureKind

from .faults import FaultPlan

_FAILS_AS = {
    "eio": FailureKind.IO_ERROR,
    "enospc": FailureKind.NO_SPACE,
    "slow": FailureKind.TIMEOUT,
    "corrupt": FailureKind.CORRUPT,
    "hang": FailureKind.TIMEOUT,
}


class MemoryFaults:
    """Decides which operations fail. A memory tier has no time of its own to lose and must not hold
    up the shard, so nothing sleeps: an operation that would be slower than the tier's deadline
    fails as its deadline would, a faster one is left alone."""

    __slots__ = ("_count", "_deadline_s", "_ends_at", "_plan", "is_on")

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self.use(None, 0.0)

    def use(self, plan: FaultPlan | None, now: float) -> None:
        """From now on this plan; None: no faults."""
        self._plan = plan
        self._ends_at = plan.ends_at(now) if plan is not None else math.inf
        self._count = 0
        self.is_on = plan is not None and not self._is_harmless(plan)

    def tick(self, now: float) -> None:
        """End the faults whose time is over."""
        if now >= self._ends_at:
            self.use(None, now)

    def _is_harmless(self, plan: FaultPlan) -> bool:
        return plan.kind in ("slow", "hang") and plan.delay_s < self._deadline_s

    def on_read(self) -> Failure | None:
        return self._next(spared="enospc") if self.is_on else None

    def on_write(self) -> Failure | None:
        return self._next(spared="corrupt") if self.is_on else None

    def _next(self, spared: str) -> Failure | None:
        plan = self._plan
        if plan is None or plan.kind == spared:
            return None
        self._count += 1
        if not plan.hits(self._count - 1):
            return None
        return Failure(_FAILS_AS[plan.kind], f"{plan.kind} (injected)")
