"""The directory: every key that this node holds, in 256 buckets by slot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xxhash import xxh3_64_intdigest

from tiercluster.cluster.ring import SLOT_MASK, SLOTS

from .entry import Entry
from .keeping import NOBODYS

BUCKETS = 256
BUCKET_SHIFT = 6  # slot >> BUCKET_SHIFT is the bucket
# A version is (ring version << VERSION_SHIFT) + counter: a trillion writes a stint, in 63 bits.
VERSION_SHIFT = 40


class Directory:
    """Keys to entries. Buckets keep each pause short: of a scan, a sweep, or a dict that grows.
    ``era`` is what an entry that is stored now is born in; ``floors`` are those below which an
    entry of a slot is invisible (`keeping`); ``owned`` has 1 for each slot that is this node's, and
    not only kept for another."""

    __slots__ = ("buckets", "count", "era", "floors", "highest_floor", "owned", "version")

    def __init__(self) -> None:
        self.buckets: tuple[dict[bytes, Entry], ...] = tuple({} for _ in range(BUCKETS))
        self.floors: list[int] = [0] * SLOTS
        self.highest_floor = 0  # of the slots that are kept
        self.era = 0
        self.owned = bytes((1,)) * SLOTS
        self.version = 0
        self.count = 0

    def set_stint(self, ring_version: int, floors: Sequence[int], era: int, owned: bytes) -> None:
        """``floors``: for each slot the era in which it began to be kept, or NOBODYS."""
        self.version = max(self.version, ring_version << VERSION_SHIFT)
        self.set_floors(floors, era)
        self.owned = owned

    def set_floors(self, floors: Sequence[int], era: int) -> None:
        """Within a stint."""
        self.floors, self.era = list(floors), era
        self.highest_floor = max((floor for floor in floors if floor < NOBODYS), default=0)

    def next_version(self) -> int:
        """Higher than any before."""
        self.version += 1
        return self.version

    def get(self, key: bytes) -> Entry | None:
        return self.buckets[(xxh3_64_intdigest(key) & SLOT_MASK) >> BUCKET_SHIFT].get(key)

    def is_above_floor(self, entry: Entry) -> bool:
        return entry.born >= self.floors[xxh3_64_intdigest(entry.key) & SLOT_MASK]

    def is_owned(self, entry: Entry) -> bool:
        return bool(self.owned[xxh3_64_intdigest(entry.key) & SLOT_MASK])

    def put(self, entry: Entry) -> None:
        """The key must not be there."""
        self.buckets[(xxh3_64_intdigest(entry.key) & SLOT_MASK) >> BUCKET_SHIFT][entry.key] = entry
        self.count += 1

    def remove(self, entry: Entry) -> None:
        """The entry must be there."""
        del self.buckets[(xxh3_64_intdigest(entry.key) & SLOT_MASK) >> BUCKET_SHIFT][entry.key]
        self.count -= 1

    def __iter__(self) -> Iterator[Entry]:
        for bucket in self.buckets:
            yield from bucket.values()
