"""Everything this node holds: the directory, and for each entry the one tier where its value is."""

from __future__ import annotations

from xxhash import xxh3_64_intdigest

from tiercluster.cluster.ring import SLOT_MASK

from .coldqueue import ColdQueue
from .directory import BUCKET_SHIFT, Directory
from .entry import COLD, OVERHEAD_BYTES, REMOTE, Entry
from .failures import Failure, FailureKind
from .policy import Policy, S3Fifo
from .settings import NodeSettings
from .standing import UNCONFIRMED, Standing
from .tiers.hot import HotTier
from .tiers.resident import LARGEST_SHARE
from .tiers.warm import Packer, WarmTier
from .watches import Watches

FOREIGN_SHARE = 0.25  # of cold, at most, for other nodes whose cold tier is out
MAX_RETIMED = 10_000  # cold entries that were touched since they were written

MemoryTier = HotTier | WarmTier


class ColdBook:
    """What the cold tier holds, by the directory: order, bytes, and rows that tell another time."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity = capacity_bytes  # in force now
        self.remote_capacity = capacity_bytes  # of what others keep for us: not their fault
        self.largest = capacity_bytes // LARGEST_SHARE
        self.policy: Policy = S3Fifo()
        self.foreign_bytes = 0
        self.retimed: dict[bytes, int] = {}  # key to version
        self.lost_times = False  # too many to remember

    @property
    def size_bytes(self) -> int:
        return self.policy.size_bytes + self.foreign_bytes

    @property
    def foreign_capacity(self) -> int:
        return int(self.capacity * FOREIGN_SHARE)

    def retime(self, entry: Entry) -> None:
        """The row of the entry has another expiry than the entry: a restart must not trust it."""
        if len(self.retimed) >= MAX_RETIMED:
            self.lost_times = True
        else:
            self.retimed[entry.key] = entry.version


class Holdings:
    """Keeps one truth: an entry in the directory stands in exactly the tier that its place names,
    and a value without an entry is nowhere, or a row that is doomed."""

    def __init__(
        self, settings: NodeSettings, standing: Standing, queue: ColdQueue, watches: Watches
    ) -> None:
        self.standing = standing
        self.queue = queue
        self.directory = Directory()
        self.watches = watches  # told of every write, before its new value can be read
        self.packer = Packer()
        self.hot = HotTier(settings.hot)
        self.warm = WarmTier(settings.warm, self.packer)
        self.cold = ColdBook(settings.cold.capacity_bytes)
        self.remote_bytes = 0  # what the entries that others keep for us would cost
        self.memory: tuple[MemoryTier, MemoryTier] = (self.hot, self.warm)

    def visible(self, key: bytes, now: float) -> Entry | None:
        """The key's entry, if it may be read: alive, owned, its tier in service."""
        slot = xxh3_64_intdigest(key) & SLOT_MASK
        entry = self.directory.buckets[slot >> BUCKET_SHIFT].get(key)
        if (
            entry is None
            or entry.expires <= now
            or entry.born < self.directory.floors[slot]
            or entry.generation != self.standing.live[entry.place]
        ):
            return None
        return entry

    def is_being_written(self, key: bytes, now: float) -> bool:
        """Whether a write of the key waits for its tier: it cannot be read, and is not absent,
        unless this node has ceased to keep the key meanwhile."""
        entry = self.directory.get(key)
        return (
            entry is not None
            and entry.generation == UNCONFIRMED
            and entry.expires > now
            and self.directory.is_above_floor(entry)
        )

    def is_visible(self, entry: Entry, now: float) -> bool:
        return (
            entry.expires > now
            and entry.generation == self.standing.live[entry.place]
            and self.directory.is_above_floor(entry)
        )

    def is_garbage(self, entry: Entry, now: float) -> bool:
        """Whether it can never be read again. What is on its way to a tier has no generation yet
        and is none."""
        if entry.expires <= now or not self.directory.is_above_floor(entry):
            return True
        return entry.generation >= 0 and self.standing.is_dead(entry.place, entry.generation)

    def is_lost(self, entry: Entry) -> bool:
        """Whether its tier is out, or began anew since."""
        return entry.generation != self.standing.live[entry.place]

    def is_current(self, entry: Entry, version: int) -> bool:
        """Whether the entry still stands for its key with this version."""
        return entry.version == version and self.directory.get(entry.key) is entry

    def detach(self, entry: Entry) -> None:
        """Take it out of its tier; it stays in the directory and has no value."""
        if entry.place == COLD:
            if entry.queue:
                self.cold.policy.discard(entry)
            self.queue.doom(entry.key, entry.version)
        elif entry.place == REMOTE:
            self.remote_bytes -= entry.cost
        else:
            self.memory[entry.place].drop(entry)
        entry.leaving = 0

    def forget(self, entry: Entry) -> None:
        """Out of its tier and the directory."""
        self.detach(entry)
        self.directory.remove(entry)

    def read_memory(self, entry: Entry, now: float) -> bytes | None:
        """The value of an entry in hot or warm; None if the tier failed. A value that is damaged
        is forgotten."""
        value = self.memory[entry.place].read(entry)
        if not isinstance(value, Failure):
            self.standing.succeeded(entry.place, now)
            return value
        if value.kind is FailureKind.CORRUPT:
            place = entry.place
            self.forget(entry)
            self.standing.failed(place, value, now)
        else:
            self.standing.failed(entry.place, value, now)
        return None

    def settle_in_cold(
        self, entry: Entry, blob: bytes, packed: bool, generation: int, proven: bool
    ) -> None:
        """The entry (in no tier) is in cold from now on."""
        entry.place = COLD
        entry.value = None
        entry.packed = packed
        entry.generation = generation
        entry.cost = len(blob) + len(entry.key) + OVERHEAD_BYTES
        self.cold.policy.add(entry, proven)
