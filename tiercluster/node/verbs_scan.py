"""SCAN and DELETE_PREFIX: through the directory a bucket at a time, in bounded steps.

A cursor is ``bucket + 256 * part``, part 0 to 63: a bucket with very many entries is given in parts
by slot. The first cursor is 0, END says that there is no more. Keys that stand through the whole
scan are seen exactly once; those that come or go meanwhile may be seen or not.
"""

from __future__ import annotations

from tiercluster.cluster.ring import slot_of
from tiercluster.cluster.wire import (
    MAX_SCAN_PAGE,
    Count,
    DeletePrefix,
    Page,
    Refusal,
    Scan,
    Status,
)

from .directory import BUCKET_SHIFT, BUCKETS, Directory
from .effects import Answered
from .entry import Entry
from .holdings import Holdings
from .streams import Streams

END = -1
ENTRIES_A_CALL = 2000  # looked at; a call always ends a bucket or part it began
PARTS = 1 << BUCKET_SHIFT
_PART_MASK = PARTS - 1

_NO_CURSOR = Status.BAD_REQUEST, Refusal("no such cursor"), b""


def step_of(directory: Directory, cursor: int) -> list[tuple[Entry, int]]:
    """The entries under a cursor, with their slots."""
    if not 0 <= cursor < BUCKETS * PARTS:
        return []
    part, index = divmod(cursor, BUCKETS)
    placed = [(e, slot_of(e.key)) for e in directory.buckets[index].values()]
    # The first part stands for the whole bucket where that is small.
    return [(e, slot) for e, slot in placed if not part or slot & _PART_MASK == part]


class ScanVerbs:
    """Only of slots that are this node's: what it keeps for others, they tell themselves."""

    def __init__(self, holdings: Holdings, streams: Streams) -> None:
        self._holdings = holdings
        self._streams = streams

    def scan(self, asked: Scan, now: float) -> Answered:
        """A page of at least one bucket or part; it may be longer than ``limit``."""
        limit = min(max(asked.limit, 1), MAX_SCAN_PAGE)
        keys: list[bytes] = []
        cursor, budget = asked.cursor, ENTRIES_A_CALL
        while cursor != END and budget > 0 and len(keys) < limit:
            if not self._is_cursor(cursor):
                return _NO_CURSOR
            entries, cursor, looked = self._step(cursor)
            budget -= looked
            keys.extend(
                e.key
                for e in entries
                if e.key.startswith(asked.prefix)
                and self._holdings.is_visible(e, now)
                and self._holdings.directory.is_owned(e)
            )
        return Status.OK, Page(tuple(keys), cursor), b""

    def delete_prefix(self, asked: DeletePrefix, now: float) -> Answered:
        """Counts what could be read; what could not is deleted too."""
        count = 0
        cursor, budget = asked.cursor, ENTRIES_A_CALL
        while cursor != END and budget > 0:
            if not self._is_cursor(cursor):
                return _NO_CURSOR
            self._streams.clear(asked.prefix, cursor)
            if self._holdings.watches.count:
                self._holdings.watches.fire_bucket(cursor % BUCKETS, asked.prefix)
            entries, cursor, looked = self._step(cursor)
            budget -= looked
            for entry in [e for e in entries if e.key.startswith(asked.prefix)]:
                if self._holdings.directory.is_owned(entry):
                    count += self._holdings.is_visible(entry, now)
                    self._holdings.forget(entry)
        return Status.OK, Count(count, cursor), b""

    def _is_cursor(self, cursor: int) -> bool:
        return 0 <= cursor < BUCKETS * PARTS

    def _step(self, cursor: int) -> tuple[list[Entry], int, int]:
        """The entries under a cursor, the next cursor, and how many were looked at."""
        part, index = divmod(cursor, BUCKETS)
        bucket = self._holdings.directory.buckets[index]
        if part == 0 and len(bucket) <= ENTRIES_A_CALL:
            return list(bucket.values()), self._after(index), len(bucket) + 1
        entries = [e for e in bucket.values() if slot_of(e.key) & _PART_MASK == part]
        following = cursor + BUCKETS if part + 1 < PARTS else self._after(index)
        return entries, following, len(bucket)

    def _after(self, index: int) -> int:
        return index + 1 if index + 1 < BUCKETS else END
