"""The circuit breaker of one tier: pure, on the caller's monotonic clock.

    CLOSED --k failures at the failure rate, within the window: of its reads, writes or both--> OPEN
    CLOSED --k failures in a row, that of reads and that of writes together--> OPEN
    OPEN --cooldown over--> HALF_OPEN
    HALF_OPEN --the one probe succeeded--> HALF_OPEN, the next probe may go
    HALF_OPEN --the one probe failed--> OPEN
    HALF_OPEN --the probe was never answered for a cooldown--> HALF_OPEN, another probe may go
    any --reset (the map brought the tier back)--> CLOSED
    any --trip (its worker died)--> OPEN

While it is not CLOSED nothing but probes may use the tier, one at a time. No probe closes it: what
brings a tier back is the map, once the prober has had enough of them succeed (`prober`). Of a tier
that is CLOSED here anybody may ask any number of probes. Each trip and each closing begins a new
``epoch``: the result of an operation that began in another epoch changes nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from .failures import COUNTS, FailureKind
from .settings import TierSettings

BUCKETS = 10  # the window is counted in this many steps


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Trip:
    """Why the breaker opened: what stood in the window then. Times are monotonic seconds."""

    at: float
    kind: FailureKind
    failures: int
    calls: int
    first_error_at: float


@dataclass(slots=True)
class _Bucket:
    """Each count is that of reads and that of writes: it is indexed by ``is_write``."""

    start: float
    calls: list[int] = field(default_factory=lambda: [0, 0])
    failures: list[int] = field(default_factory=lambda: [0, 0])
    first_error_at: float = 0.0


class Breaker:
    """Opens on ``trip_failures`` failures that are ``trip_rate`` of all calls in ``window_s``, or
    that come in a row: a window full of successes from before says nothing about a tier that has
    just died. Reads and writes are judged apart, too: writes that succeed say nothing about a disk
    that spoils all that is read from it, nor does what is read from one that is full.

    The window is counted in BUCKETS steps and may be up to one step shorter, never longer.
    """

    def __init__(self, settings: TierSettings) -> None:
        self._settings = settings
        self._step_s = settings.window_s / BUCKETS
        self._past: deque[_Bucket] = deque()
        self._bucket = _Bucket(float("-inf"))
        self._edge = float("-inf")
        self._in_a_row = [0, 0]  # failures; indexed by is_write, as the counts of a bucket
        self._closed = True
        self._half_open_at = 0.0
        self._epoch = 0
        self._probes = 0
        self._probe: int | None = None
        self._probe_until = 0.0
        self._last_trip: Trip | None = None

    def __repr__(self) -> str:
        word = "closed" if self._closed else f"tripped, half-open at {self._half_open_at:.3f}"
        return f"<Breaker {word}, epoch {self._epoch}, last trip {self._last_trip}>"

    @property
    def epoch(self) -> int:
        """Remember it with an operation that ends later, and give it back with its result."""
        return self._epoch

    @property
    def last_trip(self) -> Trip | None:
        """The evidence of the last trip; kept after closing."""
        return self._last_trip

    def allows(self, now: float) -> bool:
        """Whether work other than a probe may use the tier."""
        return self._closed

    def state(self, now: float) -> BreakerState:
        if self._closed:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if now >= self._half_open_at else BreakerState.OPEN

    def record_success(
        self, now: float, epoch: int | None = None, *, is_write: bool = False
    ) -> None:
        """A hit or a miss, or a write that was done: the tier answered."""
        if now >= self._edge:
            self._begin_bucket(now)
        if epoch is None or epoch == self._epoch:
            self._bucket.calls[is_write] += 1
            self._in_a_row[is_write] = 0

    def record_failure(
        self, now: float, kind: FailureKind, epoch: int | None = None, *, is_write: bool = False
    ) -> bool:
        """True when this failure opened the breaker. Kinds that are overload are not counted, not
        even as calls."""
        if kind not in COUNTS or not self._closed or (epoch is not None and epoch != self._epoch):
            return False
        if now >= self._edge:
            self._begin_bucket(now)
        self._count_failure(now, is_write)
        self._forget_before(now - self._settings.window_s)
        if not self._is_failing():
            return False
        self._open(now, kind)
        return True

    def _is_failing(self) -> bool:
        enough, rate = self._settings.trip_failures, self._settings.trip_rate
        failures, calls = self._tally()
        shares = [*zip(failures, calls, strict=True), (sum(failures), sum(calls))]
        by_rate = any(failed >= max(enough, rate * of) for failed, of in shares)
        return by_rate or min(sum(failures), sum(self._in_a_row)) >= enough

    def trip(self, now: float, kind: FailureKind) -> bool:
        """Open at once, whatever the window says: no operation can succeed any more (its worker
        is dead). False if it was open already."""
        if not self._closed:
            return False
        if now >= self._edge:
            self._begin_bucket(now)
        self._count_failure(now, is_write=True)  # either way: it opens whatever is counted
        self._open(now, kind)
        return True

    def reset(self, now: float) -> None:
        """Close: the map says that the tier is back. A probe that is out no longer matters."""
        self._closed = True
        self._begin_epoch()

    def is_probing(self, now: float) -> bool:
        """Whether the one probe is out and may still be answered."""
        return self._probe is not None and now < self._probe_until

    def try_probe(self, now: float) -> int | None:
        """A token for the one probe that may go now, or None."""
        if self._closed or now < self._half_open_at or self.is_probing(now):
            return None
        self._probes += 1
        self._probe = self._probes
        # One that is never answered makes way for another, so it cannot wedge us.
        self._probe_until = now + max(self._settings.cooldown_s, self._settings.deadline_s)
        return self._probe

    def probe_wait_s(self, now: float) -> float:
        """How long it stays open yet: until then `try_probe` gives no token."""
        return 0.0 if self._closed else max(0.0, self._half_open_at - now)

    def probe_result(self, token: int, ok: bool, now: float) -> None:
        """What became of the probe; a token that is not the last one given changes nothing."""
        if token != self._probe:
            return
        self._probe = None
        if not ok:
            self._half_open_at = now + self._settings.cooldown_s

    def _open(self, now: float, kind: FailureKind) -> None:
        failures, calls = self._tally()
        first_error_at = next(b.first_error_at for b in self._window() if any(b.failures))
        self._last_trip = Trip(now, kind, sum(failures), sum(calls), first_error_at)
        self._closed = False
        self._half_open_at = now + self._settings.cooldown_s
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._epoch += 1
        self._probe = None
        self._in_a_row = [0, 0]
        self._past.clear()
        self._bucket = _Bucket(float("-inf"))
        self._edge = float("-inf")

    def _begin_bucket(self, now: float) -> None:
        self._past.append(self._bucket)
        self._bucket = _Bucket(now)
        self._edge = now + self._step_s
        self._forget_before(now - self._settings.window_s)

    def _forget_before(self, oldest: float) -> None:
        # By its start: a bucket is gone before its oldest call leaves the window.
        while self._past and self._past[0].start <= oldest:
            self._past.popleft()

    def _count_failure(self, now: float, is_write: bool) -> None:
        bucket = self._bucket
        if not any(bucket.failures):
            bucket.first_error_at = now
        bucket.calls[is_write] += 1
        bucket.failures[is_write] += 1
        self._in_a_row[is_write] += 1

    def _window(self) -> list[_Bucket]:
        return [*self._past, self._bucket]

    def _tally(self) -> tuple[list[int], list[int]]:
        """Failures and calls in the window."""
        window = self._window()
        failures = [sum(b.failures[kind] for b in window) for kind in (False, True)]
        calls = [sum(b.calls[kind] for b in window) for kind in (False, True)]
        return failures, calls
