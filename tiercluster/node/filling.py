"""Sending a node all entries of slots that it began to keep: in the stream of its writes, a bucket
at a time, at a limited rate and never far ahead of what it has confirmed.

    asked for --> bucket: memory at once, cold by reads --> all of it queued: `filled` --> next
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tiercluster.cluster.ring import slot_of

from .coldreads import ColdReads
from .directory import BUCKET_SHIFT
from .entry import COLD, Entry
from .holdings import Holdings
from .streams import Streams

FILL_BYTES_PER_S = 32 * 2**20
MOST_AHEAD_BYTES = 2 * 2**20  # unconfirmed in the stream: writes do not wait long behind it
MOST_READING = 8  # cold entries at one time, beside what clients read
BURST_S = 0.05  # a late tick sends no more than this at once
ENTRY_BYTES = 100  # counted for each entry beside its value


@dataclass(slots=True)
class _Fill:
    """For one node. ``slots`` are still to come; ``at_work`` those of the bucket being sent."""

    epoch: int  # of the stream
    version: int  # of the newest map under which the node has asked
    slots: set[int] = field(default_factory=set)
    at_work: frozenset[int] = frozenset()
    keys: Iterator[bytes] | None = None
    again: list[bytes] = field(default_factory=list)  # their entries changed while they were read
    reading: int = 0
    sent: int = 0


class Filling:
    """``bytes_per_s`` for each node that is filled."""

    def __init__(
        self,
        holdings: Holdings,
        reads: ColdReads,
        streams: Streams,
        bytes_per_s: float = FILL_BYTES_PER_S,
    ) -> None:
        self._holdings = holdings
        self._reads = reads
        self._streams = streams
        self._bytes_per_s = bytes_per_s
        self._fills: dict[str, _Fill] = {}
        self._last = 0.0
        self.entries = self.bytes = 0

    def begin(self, node: str, slots: tuple[int, ...], version: int) -> None:
        """Slots that are being sent already are sent once. ``version``: of the map under which the
        node asks; by a newer one it may have begun anew, and what it got before is nothing."""
        epoch = self._streams.epoch(node)
        fill = self._fills.get(node)
        if fill is None or fill.epoch != epoch:
            fill = self._fills[node] = _Fill(epoch, version)
        if version > fill.version:
            fill.version = version
            fill.slots |= fill.at_work
            fill.at_work, fill.keys = frozenset(), None
        fill.slots.update(slot for slot in slots if slot not in fill.at_work)

    @property
    def slots_left(self) -> int:
        return sum(len(f.slots) + len(f.at_work) for f in self._fills.values())

    def tick(self, now: float) -> None:
        elapsed, self._last = min(now - self._last, BURST_S), now
        for node, fill in list(self._fills.items()):
            if not fill.epoch or self._streams.epoch(node) != fill.epoch:
                del self._fills[node]  # it will ask again, whoever is to send it then
                continue
            allowance = self._bytes_per_s * elapsed
            while allowance > 0 and self._streams.backlog(node) < MOST_AHEAD_BYTES:
                if fill.keys is None and not self._next_bucket(fill):
                    del self._fills[node]
                    break
                spent = self._send_one(node, fill, now)
                if not spent:
                    break
                allowance -= spent

    def _next_bucket(self, fill: _Fill) -> bool:
        if not fill.slots:
            return False
        bucket = min(fill.slots) >> BUCKET_SHIFT
        fill.at_work = frozenset(s for s in fill.slots if s >> BUCKET_SHIFT == bucket)
        fill.slots -= fill.at_work
        # What is written meanwhile goes through the stream by itself.
        fill.keys = iter(list(self._holdings.directory.buckets[bucket]))
        fill.again = []
        return True

    def _send_one(self, node: str, fill: _Fill, now: float) -> int:
        """The bytes of one entry; 0 if nothing can be sent at the moment."""
        assert fill.keys is not None
        if fill.reading >= MOST_READING:
            return 0
        for key in fill.keys:
            slot, entry = slot_of(key), self._holdings.visible(key, now)
            if slot not in fill.at_work or entry is None:
                continue
            if entry.place < COLD:
                value = self._holdings.read_memory(entry, now)
                if value is not None:
                    self._send(node, slot, entry, value)
            else:
                self._read_cold(node, fill, slot, entry, now)
            return entry.size + len(entry.key) + ENTRY_BYTES
        if fill.reading:
            return 0
        if fill.again:
            fill.keys, fill.again = iter(fill.again), []
            return ENTRY_BYTES
        self._streams.filled(node, tuple(sorted(fill.at_work)))
        fill.keys, fill.at_work = None, frozenset()
        return ENTRY_BYTES

    def _is_current(self, entry: Entry, version: int, now: float) -> bool:
        holdings = self._holdings
        return holdings.is_current(entry, version) and holdings.is_visible(entry, now)

    def _send(self, node: str, slot: int, entry: Entry, value: bytes) -> None:
        self.entries += 1
        self.bytes += len(value)
        self._streams.fill(node, slot, entry.key, entry.version, entry.flags, entry.expires, value)

    def _read_cold(self, node: str, fill: _Fill, slot: int, entry: Entry, now: float) -> None:
        version = entry.version

        def arrived(value: bytes | None, read: Entry, failed: bool, now: float) -> None:
            fill.reading -= 1
            if value is not None and self._is_current(read, version, now):
                self._send(node, slot, read, value)
            elif not failed:  # it is elsewhere by now, or another
                fill.again.append(read.key)

        fill.reading += 1
        if not self._reads.ask(entry, arrived, now, quiet=True):
            fill.reading -= 1

    def counters(self) -> tuple[tuple[str, int], ...]:
        return (
            ("filled_entries", self.entries),
            ("filled_bytes", self.bytes),
            ("slots_being_filled", self.slots_left),
        )
