"""The circuit breaker of one tier: pure, on the caller's monotonic clock.

    CLOSED --k failures at the failure rate, within the window--> OPEN
    CLOSED --k failures in a row--> OPEN
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
from dataclasses import dataclass
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
    start: float
    successes: int = 0
    failures: int = 0
    first_error_at: float = 0.0


class Breaker:
    """Opens on ``trip_failures`` failures that are ``trip_rate`` of all calls in ``window_s``, or
    that come in a row: a window full of successes from before says nothing about a tier that has
    just died.

    The window is counted in BUCKETS steps and may be up to one step shorter, never longer.
    """

    def __init__(self, settings: TierSettings) -> None:
        self._settings = settings
        self._step_s = settings.window_s / BUCKETS
        self._past: deque[_Bucket] = deque()
        self._bucket = _Bucket(float("-inf"))
        self._edge = float("-inf")
        self._in_a_row = 0
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

    def record_success(self, now: float, epoch: int | None = None) -> None:
        """A hit or a miss: the tier answered."""
        if now >= self._edge:
            self._begin_bucket(now)
        if epoch is None or epoch == self._epoch:
            self._bucket.successes += 1
            self._in_a_row = 0

    def record_failure(self, now: float, kind: FailureKind, epoch: int | None = None) -> bool:
        """True when this failure opened the breaker. Kinds that are overload are not counted, not
        even as calls."""
        if kind not in COUNTS or not self._closed or (epoch is not None and epoch != self._epoch):
            return False
        if now >= self._edge:
            self._begin_bucket(now)
        self._count_failure(now)
        self._forget_before(now - self._settings.window_s)
        failures, calls, _ = self._tally()
        enough = self._settings.trip_failures
        is_rate = failures >= self._settings.trip_rate * calls or self._in_a_row >= enough
        if failures < enough or not is_rate:
            return False
        self._open(now, kind)
        return True

    def trip(self, now: float, kind: FailureKind) -> bool:
        """Open at once, whatever the window says: no operation can succeed any more (its worker
        is dead). False if it was open already."""
        if not self._closed:
            return False
        if now >= self._edge:
            self._begin_bucket(now)
        self._count_failure(now)
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
        failures, calls, first_error_at = self._tally()
        self._last_trip = Trip(now, kind, failures, calls, first_error_at)
        self._closed = False
        self._half_open_at = now + self._settings.cooldown_s
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._epoch += 1
        self._probe = None
        self._in_a_row = 0
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

    def _count_failure(self, now: float) -> None:
        if not self._bucket.failures:
            self._bucket.first_error_at = now
        self._bucket.failures += 1
        self._in_a_row += 1

    def _tally(self) -> tuple[int, int, float]:
        """Failures, calls and the time of the first failure in the window."""
        buckets = [*self._past, self._bucket]
        failures = sum(b.failures for b in buckets)
        calls = failures + sum(b.successes for b in buckets)
        return failures, calls, next((b.first_error_at for b in buckets if b.failures), 0.0)
