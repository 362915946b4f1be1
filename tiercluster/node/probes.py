"""Probes: an entry written, read back, verified and deleted through a tier's own path."""

from __future__ import annotations

from tiercluster.tiermap import TIERS, Tier

from .coldqueue import Job, Outcome
from .effects import Effects
from .entry import COLD, NEVER, Entry
from .failures import Failure, FailureKind
from .holdings import Holdings, MemoryTier
from .messages import ColdDone, ColdProbe, Probed
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
        if place == COLD:
            job = Job(ColdProbe, self._cold_probed)
            self._holdings.queue.serve(job, now, self._deadline_s)
        else:
            failure = _probe_memory(self._holdings.memory[place])
            self._effects.control(Probed(tier, failure, 0.0))

    def _cold_probed(self, outcome: Outcome, now: float) -> None:
        match outcome:
            case ColdDone(_, took_s):
                self._remedies.write_succeeded(COLD)
                self._effects.control(Probed(Tier.COLD, None, took_s))
            case Failure():
                self._effects.control(Probed(Tier.COLD, outcome, self._deadline_s))
            case _:
                self._effects.control(Probed(Tier.COLD, _BUSY, 0.0))


def _probe_memory(tier: MemoryTier) -> Failure | None:
    entry = Entry(PROBE_KEY, 1, 0, NEVER, len(PROBE_VALUE))
    failure = tier.store(entry, PROBE_VALUE)
    if failure is not None:
        return failure
    found = tier.read(entry)
    tier.drop(entry)
    if isinstance(found, Failure):
        return found
    return None if found == PROBE_VALUE else _WRONG
