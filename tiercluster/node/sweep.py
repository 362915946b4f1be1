"""The sweep: entries that can never be read again leave the directory, a bucket at a time."""

from __future__ import annotations

from .directory import BUCKETS
from .entry import Entry
from .holdings import Holdings


class Sweep:
    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._next = 0
        self.swept = 0

    def tick(self, now: float) -> None:
        """One bucket; BUCKETS ticks see every entry."""
        bucket = self._holdings.directory.buckets[self._next]
        self._next = (self._next + 1) % BUCKETS
        garbage: list[Entry] = [e for e in bucket.values() if self._holdings.is_garbage(e, now)]
        for entry in garbage:
            self._holdings.forget(entry)
        self.swept += len(garbage)
