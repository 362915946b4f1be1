"""Watching over a cold tier that takes no writes: do its reads work, and when does it write again?

    read-only --a read asked for that succeeded--> proven --a probe wrote--> as before
       \\--it failed--> failed over

Hot and warm are memory and never become read-only.
"""

from __future__ import annotations

from .coldqueue import Job, Outcome
from .entry import COLD
from .failures import Failure, FailureKind
from .holdings import Holdings
from .messages import ColdDone, ColdGet, ColdProbe
from .remedies import Remedies
from .settings import NodeSettings


class ReadOnlyWatch:
    def __init__(self, holdings: Holdings, remedies: Remedies, settings: NodeSettings) -> None:
        self._holdings = holdings
        self._remedies = remedies
        self._deadline_s = settings.cold.deadline_s
        self._interval_s = settings.recovery.probe_interval_s
        self._is_proven = False
        self._is_asking = False
        self._probe_at: float | None = None  # None: nothing to watch

    def tick(self, now: float) -> None:
        standing = self._holdings.standing.tiers[COLD]
        if not standing.is_read_only or not standing.is_readable:
            self._probe_at = None
            return
        if self._probe_at is None:
            self._is_proven, self._probe_at = False, now + self._interval_s
        if self._is_asking:
            return
        if not self._is_proven:
            self._ask(Job(lambda token: ColdGet(token, b"", 0), self._read), now)
        elif now >= self._probe_at:
            self._probe_at = now + self._interval_s
            self._ask(Job(ColdProbe, self._probed), now)

    def _ask(self, job: Job, now: float) -> None:
        self._is_asking = True
        self._holdings.queue.serve(job, now, self._deadline_s)

    def _read(self, outcome: Outcome, now: float) -> None:
        self._is_asking = False
        failure = outcome if isinstance(outcome, Failure) else None
        is_busy = failure is not None and failure.kind is FailureKind.SHED
        if self._probe_at is None or is_busy:
            return
        self._is_proven = True
        self._remedies.reads_are_proven(COLD, failure, now)

    def _probed(self, outcome: Outcome, now: float) -> None:
        self._is_asking = False
        if isinstance(outcome, ColdDone) and self._probe_at is not None:
            self._remedies.write_succeeded(COLD)
