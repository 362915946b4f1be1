"""Injected faults: what a game day does to a tier, inside the tier's own I/O path."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

FAULT_KINDS = ("eio", "enospc", "slow", "corrupt", "hang")
MAX_FAULT_MS = 10_000.0  # one I/O; a longer hang is the same, an I/O later
MAX_FAULT_FOR_MS = 300_000.0  # a longer one has been forgotten by whoever asked for it
DEFAULT_HANG_MS = 1000.0


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """``kind`` one of FAULT_KINDS; ``ms`` for slow and hang (hang without one: a second); ``rate``
    is the share of operations hit, 0 to 1; after ``for_ms`` it is over by itself (0: when it is
    cleared). ValueError for anything else."""

    kind: str
    ms: float = 0.0
    rate: float = 1.0
    for_ms: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise ValueError(f"no fault {self.kind!r}: one of {', '.join(FAULT_KINDS)}")
        if not 0 <= self.ms <= MAX_FAULT_MS:
            raise ValueError(f"a fault takes 0 to {MAX_FAULT_MS:g} ms an operation")
        if not 0 <= self.rate <= 1:
            raise ValueError("the rate of a fault is 0 to 1")
        if not 0 <= self.for_ms <= MAX_FAULT_FOR_MS:
            raise ValueError(f"a fault lasts at most {MAX_FAULT_FOR_MS / 1000:g} s")

    def ends_at(self, now: float) -> float:
        """When it is over if it begins ``now``, in seconds; inf: when it is cleared."""
        return now + self.for_ms / 1000 if self.for_ms else math.inf

    def hits(self, count: int) -> bool:
        """Whether the operation with this number (from 0) is hit: evenly spread, always alike."""
        return int((count + 1) * self.rate) > int(count * self.rate)

    @property
    def delay_s(self) -> float:
        """How long an operation that is hit is held up."""
        if self.kind == "hang":
            return (self.ms or DEFAULT_HANG_MS) / 1000
        return self.ms / 1000 if self.kind == "slow" else 0.0


class Faults:
    """The hook that a store calls before each I/O. ``sleep`` (seconds) holds an operation up."""

    def __init__(
        self, sleep: Callable[[float], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sleep = sleep
        self._clock = clock
        self._plan: FaultPlan | None = None
        self._ends_at = math.inf
        self._count = 0
        self._spoils = False

    @property
    def plan(self) -> FaultPlan | None:
        """The one in force; None once its time is over."""
        if self._plan is not None and self._clock() >= self._ends_at:
            self.use(None)
        return self._plan

    def use(self, plan: FaultPlan | None) -> None:
        """From now on this plan; None: no faults."""
        self._plan = plan
        self._ends_at = plan.ends_at(self._clock()) if plan is not None else math.inf
        self._count = 0
        self._spoils = False

    def before_io(self, *, writes: bool) -> None:
        """Raises OSError, sleeps, or does nothing, as the plan says."""
        plan = self.plan
        if plan is None:
            return
        self._spoils = plan.hits(self._count)
        self._count += 1
        if not self._spoils:
            return
        if plan.kind == "eio":
            raise OSError(errno.EIO, os.strerror(errno.EIO) + " (injected)")
        if plan.kind == "enospc" and writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC) + " (injected)")
        if plan.delay_s:
            self._sleep(plan.delay_s)

    def after_read(self, value: bytes) -> bytes:
        """The value as the sick medium gives it back: with ``corrupt`` one byte is wrong."""
        if self._plan is None or self._plan.kind != "corrupt" or not self._spoils:
            return value
        return bytes((value[0] ^ 0xFF,)) + value[1:] if value else b"\0"
