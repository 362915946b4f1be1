"""Latencies of any number of operations in a bounded space: counted in buckets 5 % apart."""

from __future__ import annotations

import math
from array import array

LEAST_S = 1e-6
GROWTH = 1.05
BUCKETS = 400  # up to about 300 s
_LOG_GROWTH = math.log(GROWTH)


class Latencies:
    """Percentiles are upper bounds of their bucket, so at most 5 % too high, never too low."""

    __slots__ = ("_counts", "count", "longest_s", "total_s")

    def __init__(self) -> None:
        self._counts = array("Q", bytes(8 * BUCKETS))
        self.count = 0
        self.total_s = 0.0
        self.longest_s = 0.0

    def record(self, took_s: float) -> None:
        self._counts[_bucket(took_s)] += 1
        self.count += 1
        self.total_s += took_s
        self.longest_s = max(self.longest_s, took_s)

    def merge(self, other: Latencies) -> None:
        for bucket, count in enumerate(other._counts):
            self._counts[bucket] += count
        self.count += other.count
        self.total_s += other.total_s
        self.longest_s = max(self.longest_s, other.longest_s)

    def percentile(self, percent: float) -> float:
        """Seconds within which this share of the operations ended; 0 if there was none."""
        wanted, seen = math.ceil(self.count * percent / 100), 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min(LEAST_S * GROWTH**bucket, self.longest_s)
        return 0.0


def _bucket(took_s: float) -> int:
    if took_s <= LEAST_S:
        return 0
    return min(BUCKETS - 1, math.ceil(math.log(took_s / LEAST_S) / _LOG_GROWTH))
