"""What ``on_error="miss"`` does with errors: count each, log the first of a burst."""

from __future__ import annotations

import logging
import time
from collections import Counter

from .errors import TierclusterError
from .forks import fork_lock

QUIET_S = 10.0  # without an error ends a burst

_log = logging.getLogger("tiercluster")


class Swallowed:
    """Shared by all threads of a client; only failing calls come here."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._last = -QUIET_S

    def note(self, error: TierclusterError) -> None:
        now = time.monotonic()
        with fork_lock():
            self._counts[type(error).__name__] += 1
            is_first = now - self._last >= QUIET_S
            self._last = now
        if is_first:
            _log.warning(
                "%s: %s (answered as a miss; more of these are counted in stats() and not logged "
                "until it was quiet for %g s)", type(error).__name__, error, QUIET_S,
            )  # fmt: skip

    def counts(self) -> dict[str, int]:
        with fork_lock():
            return dict(self._counts)
