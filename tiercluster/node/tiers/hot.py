"""The hot tier: values in memory, as they were received."""

from __future__ import annotations

from tiercluster.node.entry import HOT, OVERHEAD_BYTES, Entry
from tiercluster.node.failures import Failure, FailureKind

from .resident import Residents

_TOO_LARGE = Failure(FailureKind.TOO_LARGE)


class HotTier(Residents):
    """Holds the values of entries whose place is HOT."""

    place = HOT

    __slots__ = ()

    def store(self, entry: Entry, value: bytes, proven: bool = False) -> Failure | None:
        """Take in an entry that is in no tier."""
        failure = self._refusal(value)
        if failure is None:
            entry.place = HOT
            entry.value = value
            entry.size = len(value)
            entry.cost = len(value) + len(entry.key) + OVERHEAD_BYTES
            self.policy.add(entry, proven)
        return failure

    def _refusal(self, value: bytes) -> Failure | None:
        if len(value) > self.largest:
            return _TOO_LARGE
        return self.faults.on_write() if self.faults.is_on else None

    def read(self, entry: Entry) -> bytes | Failure:
        failure = self.faults.on_read()
        return failure or entry.value or b""
