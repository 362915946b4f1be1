"""The books of the demo: the database behind the cache, and what every read was worth.

The promise that is checked: a read that started after a write was acknowledged returns that write,
a later one, or a miss.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

SMALLEST, SPREAD = 1000, 3000  # characters of a value
PHASES = ("warm-up", "before", "during", "after")


class Database:
    """What the cache stands in front of: the current version of each row, and the newest one whose
    write to the cache was acknowledged. One thread writes a row; all may read."""

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}
        self._acknowledged: dict[str, int] = {}

    def load(self, key: str) -> list[Any]:
        """The value to cache: its version, and a text that is always the same for the key."""
        return [self._versions.get(key, 1), text_of(key)]

    def update(self, key: str) -> list[Any]:
        """Changes the row; the new value."""
        self._versions[key] = self._versions.get(key, 1) + 1
        return self.load(key)

    def acknowledge(self, key: str, version: int) -> None:
        self._acknowledged[key] = max(version, self._acknowledged.get(key, 0))

    def floor(self, key: str) -> int:
        """The least version that a read which starts now may return."""
        return self._acknowledged.get(key, 0)

    def is_stale(self, key: str, floor: int, value: Any) -> bool:
        """Whether a hit is older than ``floor``, taken before the read, or never was this row."""
        return not floor <= value[0] <= self._versions.get(key, 1) or value[1] != text_of(key)


def text_of(key: str) -> str:
    """Text that compresses by half, as text does; its length follows from the key, too."""
    length = SMALLEST + zlib.crc32(key.encode()) % SPREAD
    return hashlib.shake_128(key.encode()).hexdigest(length // 2)


def player_of(key: str, players: int) -> int:
    """Which player asks for a key: always the same, so that a row has one writer."""
    return zlib.crc32(b"player" + key.encode()) % players


def shares(trace: Iterable[str], players: int) -> list[list[str]]:
    """The trace, dealt out to its players in order."""
    dealt: list[list[str]] = [[] for _ in range(players)]
    for key in trace:
        dealt[player_of(key, players)].append(key)
    return dealt


@dataclass(slots=True)
class Tally:
    """What one thread saw in one phase. ``seconds`` are the durations of reads."""

    reads: int = 0
    hits: int = 0
    failed_reads: int = 0
    stale_reads: int = 0
    writes: int = 0
    failed_writes: int = 0
    seconds: list[float] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.reads += other.reads
        self.hits += other.hits
        self.failed_reads += other.failed_reads
        self.stale_reads += other.stale_reads
        self.writes += other.writes
        self.failed_writes += other.failed_writes
        self.seconds += other.seconds

    @property
    def hit_ratio(self) -> float:
        return self.hits / self.reads if self.reads else 0.0

    def percentile_us(self, share: float) -> float:
        """Of the reads, microseconds, by nearest rank."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e6 if ordered else 0.0


def total(tallies: Iterable[Tally]) -> Tally:
    summed = Tally()
    for tally in tallies:
        summed.add(tally)
    return summed


@dataclass(frozen=True, slots=True)
class Moments:
    """When things happened, monotonic seconds; None: they did not. ``routed`` has one entry for
    each client that has noticed."""

    broken: float
    first_error: float | None = None
    committed: float | None = None
    routed: tuple[float, ...] = ()
    healed: float | None = None
    enabled: float | None = None

    def figures(self, clients: int) -> dict[str, float | None]:
        """The intervals that people ask about, in seconds."""
        last = max(self.routed) if len(self.routed) == clients else None
        return {
            "break_to_first_error": _between(self.broken, self.first_error),
            "first_error_to_commit": _between(self.first_error, self.committed),
            "first_error_to_last_client": _between(self.first_error, last),
            "healed_to_enabled": _between(self.healed, self.enabled),
        }


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else round(max(0.0, end - start), 4)


@dataclass(frozen=True, slots=True)
class Findings:
    """All that the demo measured."""

    fault: str
    ref: str
    trace_requests: int
    clients: int
    phases: dict[str, Tally]
    phase_seconds: dict[str, float]
    moments: Moments

    @property
    def total(self) -> Tally:
        return total(self.phases.values())

    @property
    def is_good(self) -> bool:
        """No read failed or was stale, and the tier failed over and came back."""
        return not self.problems()

    def problems(self) -> list[str]:
        seen = self.total
        figures = self.moments.figures(self.clients)
        checks: Sequence[tuple[bool, str]] = (
            (seen.reads == 0, "nothing was read"),
            (seen.failed_reads > 0, f"{seen.failed_reads} reads failed"),
            (seen.stale_reads > 0, f"{seen.stale_reads} reads were stale"),
            (self.moments.committed is None, f"{self.ref} never failed over"),
            (figures["first_error_to_last_client"] is None, "a client kept using the tier"),
            (self.moments.enabled is None, f"{self.ref} never came back"),
        )
        return [text for wrong, text in checks if wrong]

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        seen = self.total
        return {
            "ok": self.is_good,
            "problems": self.problems(),
            "fault": {"ref": self.ref, "how": self.fault},
            "trace": {"name": "web07", "requests": self.trace_requests},
            "clients": self.clients,
            "reads": seen.reads,
            "writes": seen.writes,
            "failed_reads": seen.failed_reads,
            "stale_reads": seen.stale_reads,
            "failed_writes": seen.failed_writes,
            "seconds": self.moments.figures(self.clients),
            "phases": {name: self._phase(name) for name in PHASES},
        }

    def _phase(self, name: str) -> dict[str, Any]:
        tally, seconds = self.phases[name], self.phase_seconds[name]
        return {
            "seconds": round(seconds, 2),
            "reads": tally.reads,
            "reads_per_s": round(tally.reads / seconds) if seconds else 0,
            "hit_ratio": round(tally.hit_ratio, 4),
            "read_p50_us": round(tally.percentile_us(0.50)),
            "read_p99_us": round(tally.percentile_us(0.99)),
        }
