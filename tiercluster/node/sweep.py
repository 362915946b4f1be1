"""The sweep: entries that can never be read again leave the directory, a bucket at a time."""

from __future__ import annotations

from .directory import BUCKETS
from .entry import Entry
from .holdings import Holdings

SHORTEST_PAUSE_S = 0.02  # between two buckets
PAUSE_AN_ENTRY_S = 50e-6  # looking at an entry takes about a hundredth of this


class Sweep:
    """Never takes more than some 2 % of the shard's time, however many entries there are."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._next = 0
        self._due = 0.0
        self.swept = 0

    def tick(self, now: float) -> None:
        """A bucket, if it is time for one."""
        if now >= self._due:
            size = len(self._holdings.directory.buckets[self._next])
            self._due = now + max(SHORTEST_PAUSE_S, size * PAUSE_AN_ENTRY_S)
            self.sweep_bucket(now)

    def sweep_bucket(self, now: float) -> None:
        """The next one; BUCKETS calls see every entry."""
        bucket = self._holdings.directory.buckets[self._next]
        self._next = (self._next + 1) % BUCKETS
        garbage: list[Entry] = [e for e in bucket.values() if self._holdings.is_garbage(e, now)]
        for entry in garbage:
            self._holdings.forget(entry)
        self.swept += len(garbage)
