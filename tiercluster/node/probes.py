"""Probes: an entry written, read back, verified and deleted through a tier's own path.

asked --its breaker is closed--> under way --> Probed
      --half-open, none is under way--> under way, the breaker hears of it --> Probed
      --half-open, one is under way--> the result of that one is the answer
      --open--> ProbeDenied: not now
"""

from __future__ import annotations

from tiercluster.tiermap import TIERS, Tier

from .coldqueue import Job, Outcome
from .effects import Effects
from .entry import COLD, NEVER, Entry
from .failures import Failure, FailureKind
from .holdings import Holdings, MemoryTier
from .messages import ColdDone, ColdProbe, Probed, ProbeDenied
from .remedies import Remedies
from .settings import NodeSettings

PROBE_KEY = b"\xfeprobe"  # no wire key begins so
PROBE_VALUE = bytes(range(256)) * 4

_BUSY = Failure(FailureKind.SHED, "the cold worker's inbox was full")
_WRONG = Failure(FailureKind.CORRUPT, "the probe read back something else")


class Probes:
    def __init__(
        self, holdings: Holdings, remedies: Remedies, settings: NodeSettings, effects: Effects
    ) -> None:
        self._remedies = remedies
        self._holdings = holdings
        self._deadline_s = settings.cold.deadline_s
        self._effects = effects

    def probe(self, tier: Tier, now: float) -> None:
        place = TIERS.index(tier)
        breaker = self._holdings.standing.tiers[place].breaker
        if breaker.is_probing(now):
            return
        token = breaker.try_probe(now)
        if token is not None or breaker.allows(now):
            self._begin(place, token, now)
        else:
            self._effects.control(ProbeDenied(tier, breaker.probe_wait_s(now)))

    def _begin(self, place: int, token: int | None, now: float) -> None:
        """``token`` of the breaker, None if it is closed."""
        if place == COLD:
            job = Job(ColdProbe, lambda outcome, at: self._cold_probed(token, outcome, at))
            self._holdings.queue.serve(job, now, self._deadline_s)
        else:
            self._end(place, token, _probe_memory(self._holdings.memory[place]), 0.0, now)

    def _cold_probed(self, token: int | None, outcome: Outcome, now: float) -> None:
        match outcome:
            case ColdDone(_, took_s):
                self._remedies.write_succeeded(COLD)
                self._end(COLD, token, None, took_s, now)
            case Failure():
                self._end(COLD, token, outcome, self._deadline_s, now)
            case _:
                self._end(COLD, token, _BUSY, 0.0, now)

    def _end(
        self, place: int, token: int | None, failure: Failure | None, took_s: float, now: float
    ) -> None:
        standing = self._holdings.standing.tiers[place]
        if token is not None:
            standing.breaker.probe_result(token, failure is None, now)
        if place == COLD and standing.closed_generation is not None:
            # It has opened the store of a tier that is drained, whose disk may be taken out.
            self._holdings.queue.close_store(now)
        self._effects.control(Probed(TIERS[place], failure, took_s))


def _probe_memory(tier: MemoryTier) -> Failure | None:
    entry = Entry(PROBE_KEY, 1, 0, NEVER, len(PROBE_VALUE), born=0)
    failure = tier.store(entry, PROBE_VALUE)
    if failure is not None:
        return failure
    found = tier.read(entry)
    tier.drop(entry)
    if isinstance(found, Failure):
        return found
    return None if found == PROBE_VALUE else _WRONG
