"""What hot and warm have in common: entries in memory up to a limit, and on their way out."""

from __future__ import annotations

from tiercluster.node.entry import Entry
from tiercluster.node.policy import Policy, S3Fifo
from tiercluster.node.settings import TierSettings

from .memory_faults import MemoryFaults

LARGEST_SHARE = 16  # a value above capacity / LARGEST_SHARE does not come in


class Residents:
    """Keeps account of entries in memory. ``size_bytes`` counts keys, values, overhead, also of
    entries that are on their way to another tier but still here."""

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
