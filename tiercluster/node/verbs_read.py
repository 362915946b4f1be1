"""GET and PEEK."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from tiercluster.cluster.wire import (
    LEFT_OUT,
    MAX_BODY_BYTES,
    MAX_VALUE_BYTES,
    MISS,
    Get,
    Peek,
    Peeked,
    Status,
    Values,
)

from .coldreads import ColdReads
from .directory import BUCKET_SHIFT
from .effects import Answered, Effects, Origin
from .entry import COLD, HOT, MOST_FREQ, NEVER, Entry, is_read
from .holdings import Holdings
from .moves import READS_TO_PROMOTE, Moves

_SAFE_KEYS = MAX_BODY_BYTES // MAX_VALUE_BYTES  # so many values always fit into one body


class _Gathering:
    """A GET some of whose values are still on their way."""

    __slots__ = ("_reads", "chunks", "entries", "flags", "meta", "origin", "places", "sizes",
                 "waiting")  # fmt: skip

    def __init__(self, origin: Origin, meta: bool, sizes: list[int], flags: list[int],
                 chunks: list[bytes]) -> None:  # fmt: skip
        self.origin = origin
        self.meta = meta
        self.sizes, self.flags, self.chunks = sizes, flags, chunks
        self.entries: dict[int, tuple[int, float, int]] = {}  # version, expires, place
        self.waiting = 0

    def fill(self, index: int, value: bytes, entry: Entry, place: int) -> None:
        self.sizes[index] = len(value)
        self.flags[index] = entry.flags
        self.chunks[index] = value
        if self.meta:
            self.entries[index] = entry.version, entry.expires, place

    def answer(self, now: float) -> Answered:
        if len(self.sizes) > _SAFE_KEYS:
            self._trim()
        body = b"".join(self.chunks)
        if not self.meta:
            return Status.OK, Values(tuple(self.sizes), bytes(self.flags)), body
        nothing = 0, NEVER, 0
        found = [self.entries.get(i, nothing) for i in range(len(self.sizes))]
        return (
            Status.OK,
            Values(
                tuple(self.sizes),
                bytes(self.flags),
                tuple(version for version, _, _ in found),
                tuple(seconds_left(expires, now) for _, expires, _ in found),
                bytes([place for _, _, place in found]),
            ),
            body,
        )

    def _trim(self) -> None:
        """What does not fit into one body is left out."""
        for index, total in enumerate(accumulate(map(len, self.chunks))):
            if total > MAX_BODY_BYTES and self.sizes[index] > 0:
                self.sizes[index] = LEFT_OUT
                self.chunks[index] = b""


def seconds_left(expires: float, now: float) -> float | None:
    """None: never expires."""
    return None if expires == NEVER else max(expires - now, 0.0)


class ReadVerbs:
    """``hits`` by place; ``misses`` are keys that were answered with none."""

    def __init__(
        self, holdings: Holdings, moves: Moves, reads: ColdReads, effects: Effects
    ) -> None:
        self._holdings = holdings
        self._moves = moves
        self._reads = reads
        self._effects = effects
        self.hits = [0, 0, 0, 0]
        self.misses = 0

    def get(self, asked: Get, slots: Sequence[int], origin: Origin, now: float) -> Answered | None:
        """Straight-line code for values in hot; None if any has to be waited for."""
        if asked.meta or self._holdings.hot.faults.is_on:
            return self._get_slowly(asked, origin, now)
        directory, generation = self._holdings.directory, self._holdings.standing.live[HOT]
        buckets, floors, above_all = directory.buckets, directory.floors, directory.highest_floor
        flags: list[int] = []
        chunks: list[bytes] = []
        holes: list[int] = []  # indices of keys that are not in hot
        elsewhere: list[tuple[int, Entry]] = []
        for key, slot in zip(asked.keys, slots, strict=True):
            entry = buckets[slot >> BUCKET_SHIFT].get(key)
            if (
                entry is not None
                and entry.place == HOT
                and entry.generation == generation
                and entry.expires > now
                and (entry.born >= above_all or entry.born >= floors[slot])
            ):
                # What S3Fifo.hit does.
                if entry.freq < MOST_FREQ:
                    entry.freq += 1
                flags.append(entry.flags)
                chunks.append(entry.value)  # type: ignore[arg-type]  # it is in hot, so it has one
                continue
            if entry is not None and self._holdings.is_visible(entry, now):
                elsewhere.append((len(chunks), entry))
            holes.append(len(chunks))
            flags.append(0)
            chunks.append(b"")
        sizes = list(map(len, chunks))
        for index in holes:
            sizes[index] = MISS
        self.misses += len(holes) - len(elsewhere)
        if hits := len(sizes) - len(holes):
            self.hits[HOT] += hits
            self._holdings.standing.succeeded(HOT, now)
        # A miss counts as -1.
        if not elsewhere and sum(sizes) + len(sizes) <= MAX_BODY_BYTES:
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            return Status.OK, Values(tuple(sizes), bytes(flags)), body
        gathering = _Gathering(origin, False, sizes, flags, chunks)
        return self._gather(gathering, elsewhere, now)

    def _get_slowly(self, asked: Get, origin: Origin, now: float) -> Answered | None:
        n = len(asked.keys)
        gathering = _Gathering(origin, asked.meta, [MISS] * n, [0] * n, [b""] * n)
        found = [self._holdings.visible(key, now) for key in asked.keys]
        self.misses += found.count(None)
        return self._gather(gathering, [(i, e) for i, e in enumerate(found) if e], now)

    def _gather(
        self, gathering: _Gathering, found: list[tuple[int, Entry]], now: float
    ) -> Answered | None:
        for index, entry in found:
            # An entry read before it in this request may have moved or dropped it.
            if not self._holdings.is_current(entry, entry.version):
                moved = self._holdings.visible(entry.key, now)
                if moved is None:
                    self.misses += 1
                    continue
                entry = moved
            if entry.place < COLD:
                self._read_memory(gathering, index, entry, now)
            else:
                self._read_below(gathering, index, entry, now)
        return None if gathering.waiting else gathering.answer(now)

    def _read_memory(self, gathering: _Gathering, index: int, entry: Entry, now: float) -> None:
        place = entry.place
        value = self._holdings.read_memory(entry, now)
        if value is None:
            self.misses += 1
            return
        self.hits[place] += 1
        is_read(entry)
        gathering.fill(index, value, entry, place)
        if place != HOT and entry.freq >= READS_TO_PROMOTE:
            self._moves.promote(entry, value, now)

    def _read_below(self, gathering: _Gathering, index: int, entry: Entry, now: float) -> None:
        place = entry.place

        def arrived(value: bytes | None, read: Entry, failed: bool, now: float) -> None:
            if value is None and not failed:
                value, read = self._newer(read, now)
            if value is None:
                self.misses += 1
            else:
                self.hits[place] += 1
                gathering.fill(index, value, read, place)
            gathering.waiting -= 1
            if not gathering.waiting:
                self._effects.answer(gathering.origin, gathering.answer(now))

        gathering.waiting += 1
        if not self._reads.ask(entry, arrived, now, gathering.origin.deadline):
            gathering.waiting -= 1
            self.misses += 1

    def _newer(self, read: Entry, now: float) -> tuple[bytes | None, Entry]:
        """What was written while the read was under way, if it is in memory."""
        entry = self._holdings.visible(read.key, now)
        if entry is None or entry.place >= COLD:
            return None, read
        return self._holdings.read_memory(entry, now), entry

    def peek(self, asked: Peek, now: float) -> Answered:
        found = [self._holdings.visible(key, now) for key in asked.keys]
        return (
            Status.OK,
            Peeked(
                tuple(e.version if e else 0 for e in found),
                tuple(seconds_left(e.expires, now) if e else None for e in found),
            ),
            b"",
        )
