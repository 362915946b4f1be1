"""The hot tier: values in memory, as they were received."""

from __future__ import annotations

from tiercluster.node.entry import HOT, OVERHEAD_BYTES, Entry
from tiercluster.node.failures import Failure, FailureKind
from tiercluster.node.policy import Policy, S3Fifo
from tiercluster.node.settings import TierSettings

from .memory_faults import MemoryFaults

LARGEST_SHARE = 16  # a value above capacity / LARGEST_SHARE does not come in

_TOO_LARGE = Failure(FailureKind.TOO_LARGE)


class HotTier:
    """Holds the values of entries whose place is HOT. ``size_bytes`` counts keys, values, overhead,
    also of entries that are on their way to another tier but still here."""

    place = HOT

    __slots__ = ("capacity", "faults", "largest", "leaving_bytes", "policy")

    def __init__(self, settings: TierSettings, policy: Policy | None = None) -> None:
        self.capacity = settings.capacity_bytes
        self.largest = settings.capacity_bytes // LARGEST_SHARE
        self.policy: Policy = policy if policy is not None else S3Fifo()
        self.faults = MemoryFaults(settings.deadline_s)
        self.leaving_bytes = 0

    @property
    def size_bytes(self) -> int:
        return self.policy.size_bytes + self.leaving_bytes

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

    def rewrite(self, entry: Entry, value: bytes) -> Failure | None:
        """Another value for an entry that is here and not leaving."""
        failure = self._refusal(value)
        if failure is None:
            entry.value = value
            entry.size = len(value)
            self.policy.resize(entry, len(value) + len(entry.key) + OVERHEAD_BYTES)
        return failure

    def _refusal(self, value: bytes) -> Failure | None:
        if len(value) > self.largest:
            return _TOO_LARGE
        return self.faults.on_write() if self.faults.is_on else None

    def read(self, entry: Entry) -> bytes | Failure:
        failure = self.faults.on_read()
        return failure or entry.value or b""

    def begin_leaving(self, entry: Entry) -> None:
        """Its victim (no longer in the policy) stays until its copy is confirmed elsewhere."""
        self.leaving_bytes += entry.cost

    def stay(self, entry: Entry) -> None:
        """The copy failed."""
        self.leaving_bytes -= entry.cost
        self.policy.add(entry, entry.proven)

    def drop(self, entry: Entry) -> None:
        """Let go of the value."""
        if entry.leaving:
            self.leaving_bytes -= entry.cost
        elif entry.queue:
            self.policy.discard(entry)
        entry.value = None
