"""Which entry a full tier gives up next: LRU and S3-FIFO over one intrusive list."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

from xxhash import xxh3_64_intdigest

from .entry import Entry, is_read

SMALL_SHARE = 0.1  # of a tier's bytes, for entries that are new to it: at first
LEAST_SHARE, MOST_SHARE = 0.05, 0.9  # as it learns
READS_TO_STAY = 1  # an entry read this often while in the small queue goes to the main queue
GHOST_SHARE = 0.9  # remembered keys, of the number of entries
MOST_GHOSTS = 1 << 18  # some 100 bytes each

_NONE, _SMALL, _MAIN = 0, 1, 2


class Policy(Protocol):
    """The entries of one tier in the order in which it gives them up. An entry is in at most one
    policy; ``entry.cost`` must not change while it is (but through `resize`)."""

    @property
    def size_bytes(self) -> int: ...

    @property
    def count(self) -> int: ...

    def add(self, entry: Entry, proven: bool = False) -> None:
        """``proven``: it was read often enough where it comes from."""

    def hit(self, entry: Entry) -> None:
        """It was read."""

    def resize(self, entry: Entry, cost: int) -> None:
        """It was written anew, with another cost."""

    def discard(self, entry: Entry) -> None:
        """It left the tier for another reason than eviction."""

    def victim(self) -> Entry | None:
        """The next to go, which leaves the policy; None when empty."""

    def hottest_first(self) -> Iterator[Entry]:
        """All entries; the policy must not change meanwhile."""


class Queue:
    """A doubly linked list through the entries themselves: no allocation, removal anywhere."""

    __slots__ = ("count", "newest", "oldest", "size_bytes")

    def __init__(self) -> None:
        self.size_bytes = 0
        self.count = 0
        self.newest: Entry | None = None
        self.oldest: Entry | None = None

    def push(self, entry: Entry) -> None:
        before = self.newest
        entry.older, entry.newer = before, None
        if before is None:
            self.oldest = entry
        else:
            before.newer = entry
        self.newest = entry
        self.size_bytes += entry.cost
        self.count += 1

    def take(self, entry: Entry) -> None:
        older, newer = entry.older, entry.newer
        if older is None:
            self.oldest = newer
        else:
            older.newer = newer
        if newer is None:
            self.newest = older
        else:
            newer.older = older
        entry.older = entry.newer = None
        self.size_bytes -= entry.cost
        self.count -= 1

    def newest_first(self) -> Iterator[Entry]:
        entry = self.newest
        while entry is not None:
            following = entry.older
            yield entry
            entry = following


class Lru:
    """Least recently used."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue = Queue()

    @property
    def size_bytes(self) -> int:
        return self._queue.size_bytes

    @property
    def count(self) -> int:
        return self._queue.count

    def add(self, entry: Entry, proven: bool = False) -> None:
        entry.queue = _MAIN
        self._queue.push(entry)

    def hit(self, entry: Entry) -> None:
        is_read(entry)
        self._queue.take(entry)
        self._queue.push(entry)

    def resize(self, entry: Entry, cost: int) -> None:
        self._queue.take(entry)
        entry.cost = cost
        self._queue.push(entry)

    def discard(self, entry: Entry) -> None:
        self._queue.take(entry)
        entry.queue = _NONE

    def victim(self) -> Entry | None:
        entry = self._queue.oldest
        if entry is not None:
            self.discard(entry)
        return entry

    def hottest_first(self) -> Iterator[Entry]:
        return self._queue.newest_first()


class Ghosts:
    """Keys that were given up lately, oldest first."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def take(self, key: bytes) -> bool:
        """Whether the key was here; it is not any more."""
        return bool(self._keys) and self._keys.pop(xxh3_64_intdigest(key), 0) is None

    def remember(self, key: bytes, most: float) -> None:
        self._keys[xxh3_64_intdigest(key)] = None
        while len(self._keys) > min(most, MOST_GHOSTS):
            self._keys.popitem(last=False)


class S3Fifo:
    """S3-FIFO (Yang et al., SOSP 2023) that learns how large its small queue should be.

    New entries are on probation in a small queue; those read there go to the main queue, which
    gives second chances. Two ghost queues remember what each gave up: a key that comes back soon
    after the small queue gave it up says that the small queue is too small, one that the main queue
    gave up that it is too large (as in ARC, Megiddo and Modha 2003). So it resists scans, and where
    only recency counts it comes within 5 % of LRU. A hit only raises ``entry.freq``, which readers
    may do themselves.
    """

    __slots__ = ("_main", "_main_ghosts", "_share", "_small", "_small_ghosts")

    def __init__(self) -> None:
        self._share = SMALL_SHARE
        self._small = Queue()
        self._main = Queue()
        self._small_ghosts = Ghosts()
        self._main_ghosts = Ghosts()

    @property
    def size_bytes(self) -> int:
        return self._small.size_bytes + self._main.size_bytes

    @property
    def count(self) -> int:
        return self._small.count + self._main.count

    def add(self, entry: Entry, proven: bool = False) -> None:
        entry.freq = 0
        if self._was_here(entry.key) or proven:
            entry.queue = _MAIN
            self._main.push(entry)
        else:
            entry.queue = _SMALL
            self._small.push(entry)

    def _was_here(self, key: bytes) -> bool:
        small, main = self._small_ghosts, self._main_ghosts
        if small.take(key):
            self._learn(max(1.0, len(main) / (len(small) + 1)))
            return True
        if main.take(key):
            self._learn(-max(1.0, len(small) / (len(main) + 1)))
            return True
        return False

    def _learn(self, entries: float) -> None:
        share = self._share + entries / max(self.count, 1)
        self._share = min(max(share, LEAST_SHARE), MOST_SHARE)

    def hit(self, entry: Entry) -> None:
        is_read(entry)

    def _queue_of(self, entry: Entry) -> Queue:
        return self._main if entry.queue == _MAIN else self._small

    def resize(self, entry: Entry, cost: int) -> None:
        self._queue_of(entry).size_bytes += cost - entry.cost
        entry.cost = cost

    def discard(self, entry: Entry) -> None:
        self._queue_of(entry).take(entry)
        entry.queue = _NONE

    def victim(self) -> Entry | None:
        # Each turn gives up an entry, moves one from small to main, or uses up one of at most
        # MOST_FREQ second chances.
        while True:
            small, main = self._small, self._main
            if small.oldest is not None and (
                main.oldest is None or small.size_bytes > self._share * self.size_bytes
            ):
                given_up = self._leave_small(small.oldest)
            elif main.oldest is not None:
                given_up = self._leave_main(main.oldest)
            else:
                return None
            if given_up is not None:
                return given_up

    def _leave_small(self, entry: Entry) -> Entry | None:
        self._small.take(entry)
        if entry.freq >= READS_TO_STAY:
            entry.freq = 0
            self._stay(entry)
            return None
        entry.queue = _NONE
        self._small_ghosts.remember(entry.key, self.count * GHOST_SHARE)
        return entry

    def _leave_main(self, entry: Entry) -> Entry | None:
        self._main.take(entry)
        if entry.freq:
            entry.freq -= 1
            self._stay(entry)
            return None
        entry.queue = _NONE
        self._main_ghosts.remember(entry.key, self.count * GHOST_SHARE)
        return entry

    def _stay(self, entry: Entry) -> None:
        entry.proven = True
        entry.queue = _MAIN
        self._main.push(entry)

    def hottest_first(self) -> Iterator[Entry]:
        yield from self._main.newest_first()
        yield from self._small.newest_first()
