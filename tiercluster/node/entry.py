"""One key's entry in the directory: the only truth about its value and where that is."""

from __future__ import annotations

from tiercluster.cluster.wire import Place

# Memory that an entry takes beside its key and value: 380 as tracemalloc measures it over 200 k
# entries (`benchmarks/policies.py --memory`), and what the allocator rounds up. Counted for cold
# too, whose entries stand in memory as well.
OVERHEAD_BYTES = 400
NEVER = float("inf")
PACKED = 0x100  # beside the user's flags in a cold row: the value is compressed
MOST_FREQ = 3  # reads are counted up to this

HOT, WARM, COLD, REMOTE = (int(p) for p in Place)


class Entry:
    """``place`` is a wire Place; ``value`` is None where that is cold or remote.

    ``version`` changes with each write, so that (object, version) names one value for good.
    ``born`` is the era in which it was stored here (`keeping`).
    ``expires`` is in monotonic seconds. ``size`` is that of the value as the user gave it, ``cost``
    what its tier counts for it. ``freq`` counts reads since it came to its tier, up to MOST_FREQ,
    ``proven`` whether an eviction policy has seen it read. ``older``, ``newer`` and ``queue``
    belong to the policy; ``packed`` and ``check`` to warm; ``leaving`` is the number of the move
    that takes it to another tier, 0 for none; ``home`` is the stand-in node of a remote entry.
    """

    __slots__ = (
        "born", "check", "cost", "expires", "flags", "freq", "generation", "home", "key", "leaving",
        "newer", "older", "packed", "place", "proven", "queue", "size", "value", "version",
    )  # fmt: skip

    def __init__(self, key: bytes, version: int, flags: int, expires: float, size: int,
                 born: int) -> None:  # fmt: skip
        self.key = key
        self.born = born
        self.version = version
        self.flags = flags
        self.expires = expires
        self.size = size
        self.place = HOT
        self.value: bytes | None = None
        self.generation = 0
        self.cost = 0
        self.freq = 0
        self.proven = False
        self.leaving = 0
        self.packed = False
        self.check = 0
        self.queue = 0
        self.older: Entry | None = None
        self.newer: Entry | None = None
        self.home = ""

    def __repr__(self) -> str:
        place = Place(self.place).name.lower()
        return f"<Entry {self.key!r} v{self.version:x} {place}@{self.generation} {self.size} B>"


def is_read(entry: Entry) -> None:
    """Count a read."""
    if entry.freq < MOST_FREQ:
        entry.freq += 1
