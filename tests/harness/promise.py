"""The promise on stale reads, judged while the traffic runs.

Each key has one writer at a time, which writes 1, 2, 3, ...; a delete takes a number too. A read
that started after write k was acknowledged must return a number >= k (> k if k was a delete), or
miss; and never a number that nobody has begun to write.

    number = oracle.begin(key); store(key, number); oracle.acknowledge(key, number)
    floor = oracle.floor(key);  value = read(key);  oracle.judge(key, floor, value)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

MAX_KEPT_BREACHES = 20


class Verdict(StrEnum):
    FRESH = "fresh"
    MISS = "miss"
    STALE = "stale"
    INVENTED = "invented"


@dataclass(frozen=True, slots=True)
class Breach:
    """A read that broke the promise."""

    key: str
    floor: int
    value: int
    verdict: Verdict


@dataclass(slots=True)
class Oracle:
    """Counters by verdict and the first breaches. Each dictionary entry has one writing thread, so
    reader threads need no lock."""

    counts: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(Verdict, 0))
    breaches: list[Breach] = field(default_factory=list)
    _begun: dict[str, int] = field(default_factory=dict)
    _acknowledged: dict[str, int] = field(default_factory=dict)

    def begin(self, key: str) -> int:
        """The number to write next."""
        number = self._begun.get(key, 0) + 1
        self._begun[key] = number
        return number

    def acknowledge(self, key: str, number: int, *, deleted: bool = False) -> None:
        self._acknowledged[key] = number + deleted

    def floor(self, key: str) -> int:
        """The least number that a read which starts now may return; 0: no write is known."""
        return self._acknowledged.get(key, 0)

    def judge(self, key: str, floor: int, value: int | None) -> Verdict:
        """The verdict on a read that took ``floor`` before it started and returned ``value``."""
        verdict = self._verdict(key, floor, value)
        self.counts[verdict] += 1
        if verdict in (Verdict.STALE, Verdict.INVENTED) and value is not None:
            self.breaches.append(Breach(key, floor, value, verdict))
            del self.breaches[MAX_KEPT_BREACHES:]
        return verdict

    def _verdict(self, key: str, floor: int, value: int | None) -> Verdict:
        if value is None:
            return Verdict.MISS
        if value < floor:
            return Verdict.STALE
        return Verdict.FRESH if value <= self._begun.get(key, 0) else Verdict.INVENTED

    def keys(self) -> list[str]:
        return list(self._begun)

    @property
    def is_kept(self) -> bool:
        """Whether no read has broken the promise."""
        return not self.breaches
