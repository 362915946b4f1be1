"""Carrying out what the recovery table orders about this node's tiers.

    an operation failed --it is of another epoch, or its tier is out already--> nothing
                        --an order given since it began covers it--> that order
                        --order_for--> TryAgain      counted; the caller asks again after the pause
                                       ShrinkTier    the limit drops, what is above it leaves
                                       MakeReadOnly  no new placement; `readonly` watches over it
                                       Failover      counted, or the breaker opens at once
                                       Emergency     counted, or the breaker opens at once

    shrunk, read-only --UP in a newer version of the map, or as good as before--> as before

What a caller does about its operation is the order that it gets back. An order of a tier is done
once it is seen to have worked; then, or when it is seen not to have, control is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tiercluster.tiermap import TIERS, Tier, TierRecord, evidence

from .effects import Effects
from .failures import Failure, FailureKind
from .messages import TierRemedied
from .recovery import (
    RETRY_LIMIT,
    TRIPS_AT_ONCE,
    Context,
    Emergency,
    Failover,
    MakeReadOnly,
    Order,
    ShrinkTier,
    Strategy,
    TryAgain,
    order_for,
)
from .settings import NodeSettings
from .standing import Standing

SHRINK_QUIET_S = 30.0  # without NO_SPACE, and a write succeeded: the tier gets its limit back
_GOLDEN = 0.6180339887498949  # its multiples spread evenly over 0 to 1: jitter without a dice


class Sized(Protocol):
    """A tier's limit, which may be lowered, and what it holds."""

    capacity: int

    @property
    def size_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Trial:
    """The operation that failed. ``epoch`` of the breaker and ``shrinks`` of the tier when it
    began, None for one that ends where it begins; ``may_wait``: it can be asked again later."""

    is_write: bool
    epoch: int | None = None
    shrinks: int | None = None
    retries: int = 0
    may_wait: bool = False


MEMORY_WRITE = Trial(is_write=True)  # of hot or warm, in the straight-line path: never waits


@dataclass(slots=True)
class _Treated:
    """What was done about one tier. ``since``: the version of its record then."""

    shrunk_at: deque[float] = field(default_factory=deque)  # within the breaker's window
    shrinks: int = 0  # ever
    last_shrink: float = 0.0
    unproven: bool = False  # shrunk, and no write has succeeded since
    reads_work: bool = True
    since: int = 0


class _Budget:
    """Operations and retries of the last one to two half windows."""

    def __init__(self, window_s: float) -> None:
        self._step_s = window_s / 2
        self._edge = 0.0
        self._last = self._here = (0, 0)

    def count(self, now: float, is_retry: bool) -> None:
        self._turn(now)
        asked, retried = self._here
        self._here = (asked, retried + 1) if is_retry else (asked + 1, retried)

    def share(self, now: float) -> float:
        self._turn(now)
        asked, retried = (a + b for a, b in zip(self._last, self._here, strict=True))
        return retried / max(asked, 1)

    def _turn(self, now: float) -> None:
        if now >= self._edge:
            is_next = now < self._edge + self._step_s
            self._last, self._here = (self._here if is_next else (0, 0)), (0, 0)
            self._edge = now + self._step_s


class Remedies:
    """``evict`` brings a place below its limit. Retries are budgeted over all operations of cold,
    the only tier whose operations may wait."""

    def __init__(self, settings: NodeSettings, standing: Standing, effects: Effects) -> None:
        limits = (settings.hot, settings.warm, settings.cold)
        self._full = tuple(limit.capacity_bytes for limit in limits)
        self._windows_s = tuple(limit.window_s for limit in limits)
        self._standing = standing
        self._effects = effects
        self._treated = tuple(_Treated() for _ in TIERS)
        self._budget = _Budget(settings.cold.window_s)
        self._jitters = 0
        self._sized: tuple[Sized, ...] = ()
        self._evict: Callable[[int, float], None] = lambda place, now: None
        self._last: tuple[Tier, str] = (Tier.COLD, "map")  # what failed last, for the evidence
        self._is_emergency = False
        self.retries = self.shrinks = self.degradations = self.emergencies = 0

    def watch(self, sized: tuple[Sized, ...], evict: Callable[[int, float], None]) -> None:
        """The tiers to treat, in the order of TIERS."""
        self._sized, self._evict = sized, evict

    # --- what operations come to ----------------------------------------------------------------

    def begun(self, place: int) -> int:
        """To be remembered by an operation and given back in its Trial."""
        return self._treated[place].shrinks

    def asked(self, now: float, is_retry: bool) -> None:
        """An operation of cold goes to its worker."""
        self._budget.count(now, is_retry)
        self.retries += is_retry

    def succeeded(self, place: int, is_write: bool, now: float) -> None:
        """For the breaker, use `Standing.succeeded`."""
        treated = self._treated[place]
        if not is_write:
            treated.reads_work = True
        elif treated.unproven:
            treated.unproven = False
            self._tell(place, Strategy.REALLOCATE, FailureKind.NO_SPACE, True, "a write succeeded")

    def failed(self, place: int, failure: Failure, now: float, trial: Trial) -> Order:
        """Carry out what follows for the tier; the order is for the operation."""
        standing, tier = self._standing.tiers[place], TIERS[place]
        is_of_now = trial.epoch is None or trial.epoch == standing.breaker.epoch
        if not is_of_now or not standing.is_readable:
            return Failover(tier, of_the_tier=False)
        if failure.counts:
            self._last = tier, str(failure.kind)
            self._treated[place].reads_work &= trial.is_write
        covered = self._covered(place, failure.kind, trial)
        if covered is not None:
            return covered
        order = self._order(place, failure.kind, trial, now)
        self._carry_out(order, place, failure, trial, now)
        if isinstance(order, TryAgain) and not standing.breaker.allows(now):
            return Failover(tier, of_the_tier=True)
        return order

    def _covered(self, place: int, kind: FailureKind, trial: Trial) -> Order | None:
        """A failure of an operation that began before the order that answers it is no news."""
        treated, tier = self._treated[place], TIERS[place]
        if kind is FailureKind.READ_ONLY and trial.is_write:
            is_known = self._standing.tiers[place].is_read_only
            return Failover(tier, of_the_tier=False) if is_known else None
        if kind is FailureKind.NO_SPACE and trial.shrinks is not None:
            is_known = trial.shrinks < treated.shrinks
            return ShrinkTier(tier, self._sized[place].capacity) if is_known else None
        return None

    def _order(self, place: int, kind: FailureKind, trial: Trial, now: float) -> Order:
        standing, treated = self._standing.tiers[place], self._treated[place]
        used = self._sized[place].size_bytes
        while treated.shrunk_at and treated.shrunk_at[0] <= now - self._windows_s[place]:
            treated.shrunk_at.popleft()
        self._jitters += 1
        context = Context(
            is_tripped=not standing.breaker.allows(now),
            retries=trial.retries if trial.may_wait else RETRY_LIMIT,
            retry_share=self._budget.share(now),
            shrinks=len(treated.shrunk_at),
            can_shrink=used > 0 and trial.is_write,
            is_read_only=standing.is_read_only,
            reads_work=treated.reads_work,
            has_other_tier=self._standing.has_other(place),
        )
        jitter = self._jitters * _GOLDEN % 1.0
        return order_for(kind, TIERS[place], context, used_bytes=used, jitter=jitter)

    def _carry_out(
        self, order: Order, place: int, failure: Failure, trial: Trial, now: float
    ) -> None:
        match order:
            case ShrinkTier():
                self._shrink(order, place, now)
            case MakeReadOnly():
                self.degradations += 1
                self._remember(place)
                self._standing.make_read_only(place, True)
            case Failover(of_the_tier=True):
                self._fail_over(place, failure, now)
            case Emergency() if failure.kind in TRIPS_AT_ONCE:
                self._fail_over(place, failure, now)
            case _:
                self._standing.failed(place, failure, now, is_write=trial.is_write)

    def _fail_over(self, place: int, failure: Failure, now: float) -> None:
        if self._treated[place].unproven:
            self._treated[place].unproven = False
            self._tell(place, Strategy.REALLOCATE, failure.kind, False, "there is no space still")
        self._standing.is_dead_now(place, failure, now)

    # --- REALLOCATE -----------------------------------------------------------------------------

    def _shrink(self, order: ShrinkTier, place: int, now: float) -> None:
        treated, sized = self._treated[place], self._sized[place]
        treated.shrunk_at.append(now)
        treated.shrinks += 1
        treated.last_shrink, treated.unproven = now, True
        self.shrinks += 1
        self._remember(place)
        sized.capacity = min(sized.capacity, order.capacity_bytes)
        self._evict(place, now)

    def _remember(self, place: int) -> None:
        record = self._standing.tiers[place].record
        self._treated[place].since = record.since_version if record is not None else 0

    # --- DEGRADE --------------------------------------------------------------------------------

    def reads_are_proven(self, place: int, failure: Failure | None, now: float) -> None:
        """What a read came to that was asked for because the tier became read-only."""
        if failure is None:
            self._tell(place, Strategy.DEGRADE, FailureKind.READ_ONLY, True, "a read succeeded")
            return
        self._tell(place, Strategy.DEGRADE, failure.kind, False, "reads fail, too")
        self._standing.is_dead_now(place, failure, now)

    def write_succeeded(self, place: int) -> None:
        """A probe wrote to a tier that is read-only."""
        if self._standing.tiers[place].is_read_only:
            self._standing.make_read_only(place, False)
            self._tell(place, Strategy.DEGRADE, FailureKind.READ_ONLY, True, "it writes again")

    # --- the end of it, and EMERGENCY -----------------------------------------------------------

    def use_map(self) -> None:
        """A tier that the map brought back is as before."""
        for place, standing in enumerate(self._standing.tiers):
            if _is_back(standing.record, self._treated[place].since):
                self._restore(place)
                if standing.is_read_only:
                    self._standing.make_read_only(place, False)

    def tick(self, now: float) -> None:
        for place, treated in enumerate(self._treated):
            is_quiet = now >= treated.last_shrink + SHRINK_QUIET_S and not treated.unproven
            is_in_use = self._standing.tiers[place].is_readable
            if is_quiet and is_in_use and self._is_shrunk(place):
                self._restore(place)
        self._watch_emergency()

    def _is_shrunk(self, place: int) -> bool:
        return self._sized[place].capacity < self._full[place]

    def _restore(self, place: int) -> None:
        self._sized[place].capacity = self._full[place]
        self._treated[place].shrunk_at.clear()
        self._treated[place].unproven = False
        self._treated[place].reads_work = True

    def _watch_emergency(self) -> None:
        """It is a state of all tiers together: begun and over as they stand."""
        if self._standing.is_emergency is self._is_emergency:
            return
        self._is_emergency = self._standing.is_emergency
        self.emergencies += self._is_emergency
        note = "reads miss, writes are not stored" if self._is_emergency else "it is over"
        tier, kind = self._last
        self._effects.control(
            TierRemedied(tier, str(Strategy.EMERGENCY), kind, True, evidence(note=note))
        )

    # --- what it shows --------------------------------------------------------------------------

    def note(self, place: int) -> str:
        """``read-only``, ``shrunk``, or "": nothing is done about the tier."""
        if self._standing.tiers[place].is_read_only:
            return "read-only"
        return "shrunk" if self._is_shrunk(place) else ""

    def counters(self) -> tuple[tuple[str, int], ...]:
        return (
            ("cold_retries", self.retries),
            ("reallocations", self.shrinks),
            ("degradations", self.degradations),
            ("emergencies", self.emergencies),
        )

    def _tell(self, place: int, strategy: Strategy, kind: FailureKind, ok: bool, note: str) -> None:
        sized = self._sized[place]
        facts = evidence(note=note, capacity_bytes=sized.capacity, holds_bytes=sized.size_bytes)
        self._effects.control(TierRemedied(TIERS[place], str(strategy), str(kind), ok, facts))


def _is_back(record: TierRecord | None, since: int) -> bool:
    return (
        record is not None
        and since < record.since_version
        and record.is_usable
        and not record.suspect
    )
