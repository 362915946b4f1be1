"""The virtual clock: events in the order of time, chance from one seed, and a trace of it all.

Nothing here or in what it runs reads a real clock, a real random source or the order of a set, so
one seed gives one history. `Trace.digest` proves it: it covers every line, kept or not.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable
from random import Random
from typing import Any


class Trace:
    """What happened, a line an event. Lines are kept only if asked for; the digest covers all."""

    def __init__(self, keeps: bool) -> None:
        self._keeps = keeps
        self.lines: list[str] = []
        self.digest = 0

    def note(self, now: float, who: str, what: str) -> None:
        line = f"{now:10.4f} {who:<4} {what}"
        self.digest = zlib.crc32(line.encode(), self.digest)
        if self._keeps:
            self.lines.append(line)


class Loop:
    """Runs events at their times; equal times in the order in which they were asked for."""

    def __init__(self, seed: int, keeps_trace: bool = False) -> None:
        self.now = 0.0
        self.random = Random(seed)
        self.trace = Trace(keeps_trace)
        self._events: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when: float, action: Callable[..., object], *args: Any) -> None:
        """Call ``action(*args)`` at ``when`` (virtual seconds), or now if that is past."""
        self._count += 1
        heapq.heappush(self._events, (max(when, self.now), self._count, action, args))

    def after(self, delay_s: float, action: Callable[..., object], *args: Any) -> None:
        self.at(self.now + delay_s, action, *args)

    def note(self, who: str, what: str) -> None:
        self.trace.note(self.now, who, what)

    def run(self, until: float) -> None:
        """All events up to ``until``."""
        events = self._events
        while events and events[0][0] <= until:
            self.now, _, action, args = heapq.heappop(events)
            action(*args)
        self.now = until

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.random.random()

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability
