"""STORE, DELETE, TOUCH and INCR."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tiercluster.cluster.codec import values_of
from tiercluster.cluster.ring import slot_of
from tiercluster.cluster.wire import (
    Counter,
    Delete,
    Flags,
    Incr,
    Mode,
    Refusal,
    Status,
    Store,
    Stored,
    Touch,
)

from .coldreads import ColdReads
from .effects import Answered, Effects, Origin
from .entry import COLD, NEVER, Entry, is_read
from .holdings import Holdings
from .moves import Moves
from .placing import NOT_STORED, Placing
from .standing import UNCONFIRMED
from .stream import COUNTED, NO_NAME
from .streams import Streams

ROOM_EACH = 32  # keys of one STORE between two looks at the limits of the tiers
MOST_MS = 2**32 - 1
INT64 = range(-(2**63), 2**63)
COUNTER_FLAGS = 0  # of every integer; what has other flags is none (cluster/values.py)
_INTEGER = re.compile(rb"-?[0-9]{1,19}")

_OVERFLOW = Status.BAD_REQUEST, Refusal("the counter would leave the range of 64 bits"), b""
_UNREADABLE = Status.RETRY, Refusal("the counter cannot be read now"), b""
_NOT_KEPT = Status.RETRY, Refusal("the counter cannot be stored now"), b""
# Not RETRY: that would have the client wait for what does not come back within its deadline.
_NO_TIER = Status.SHED, Refusal("no tier is left to store the counter"), b""
_ABSENT = Status.OK, Counter(False, True, 0, 0), b""


def expires_at(ttl: float | None, now: float) -> float:
    """``ttl`` in seconds; one that is not above 0 has passed."""
    if ttl is None:
        return NEVER
    return now + ttl if ttl > 0 else now


def integer_of(value: bytes) -> int | None:
    """What a counter holds; None for anything else."""
    if not _INTEGER.fullmatch(value):
        return None
    return int(value) if int(value) in INT64 else None


class _Storing:
    """A STORE some of whose keys wait for a confirmation."""

    __slots__ = ("origin", "versions", "waiting")

    def __init__(self, origin: Origin, count: int) -> None:
        self.origin = origin
        self.versions = [NOT_STORED] * count
        self.waiting = 0

    def answer(self) -> Answered:
        return Status.OK, Stored(tuple(self.versions)), b""


class WriteVerbs:
    def __init__(
        self,
        holdings: Holdings,
        moves: Moves,
        placing: Placing,
        reads: ColdReads,
        effects: Effects,
        streams: Streams,
    ) -> None:
        self._holdings = holdings
        self._moves = moves
        self._placing = placing
        self._reads = reads
        self._effects = effects
        self._streams = streams
        self.stored = self.not_stored = self.deleted = 0

    # --- STORE ----------------------------------------------------------------------------------

    def store(
        self, asked: Store, slots: Sequence[int], body: bytes, origin: Origin, now: float
    ) -> Answered | None:
        storing = _Storing(origin, len(asked.keys))
        streams = self._streams
        is_copied, name = streams.is_on, self._name(origin, now)
        versions, put_in_hot = storing.versions, self._placing.put_in_hot
        is_plain = asked.mode == Mode.SET
        expires = expires_at(asked.ttls[0], now)
        for index, (key, slot, value, flags) in enumerate(
            zip(asked.keys, slots, values_of(body, asked.sizes), asked.flags, strict=True)
        ):
            if index and len(asked.ttls) > 1:
                expires = expires_at(asked.ttls[index], now)
            if not is_plain and not self._is_allowed(asked, index, now):
                self.not_stored += 1
            elif version := put_in_hot(key, slot, value, flags, expires):
                versions[index] = version
                self.stored += 1
                if is_copied:
                    streams.put(slot, key, version, flags, expires, value, name)
            else:
                self._store_one(storing, index, key, value, flags, expires, name, now)
            if index % ROOM_EACH == 0:
                self._moves.make_room(now)
        self._moves.make_room(now)
        return None if storing.waiting else storing.answer()

    def _is_allowed(self, asked: Store, index: int, now: float) -> bool:
        key = asked.keys[index]
        entry = self._holdings.visible(key, now)
        match asked.mode:
            case Mode.ADD:
                return entry is None and not self._holdings.is_being_written(key, now)
            case Mode.REPLACE:
                return entry is not None
            case _:
                return entry is not None and entry.version == asked.versions[index]

    def _name(self, origin: Origin, now: float, counts: bool = False) -> bytes:
        """Of a write of one key: its retry may come to the next owner."""
        if len(origin.keys) != 1 or origin.client is None or not self._streams.is_on:
            return NO_NAME
        left_ms = min(max(int((origin.deadline - now) * 1000), 0), MOST_MS)
        rid = origin.rid | (COUNTED << 56 if counts else 0)
        return origin.client + rid.to_bytes(8, "big") + left_ms.to_bytes(4, "big")

    def _copy(self, key: bytes, version: int, flags: int, expires: float, value: bytes,
              name: bytes) -> None:  # fmt: skip
        """Tell who keeps copies what has become of a write; a later one that is stored has told by
        itself, and so has another owner, if the key was away meanwhile."""
        if not self._streams.is_on:
            return
        entry = self._holdings.directory.get(key)
        if entry is None or (entry.version != version and entry.generation == UNCONFIRMED):
            # The later one may still fail, and this one is done: what was before both must go.
            self._streams.drop(slot_of(key), key)
        elif entry.version == version and self._holdings.directory.is_above_floor(entry):
            self._streams.put(slot_of(key), key, version, flags, expires, value, name)

    def _store_one(self, storing: _Storing, index: int, key: bytes, value: bytes, flags: int,
                   expires: float, name: bytes, now: float) -> None:  # fmt: skip
        def done(version: int, now: float) -> None:
            storing.versions[index] = version
            storing.waiting -= 1
            self._count(version)
            self._copy(key, version, flags, expires, value, name)
            if not storing.waiting:
                self._effects.answer(storing.origin, storing.answer())

        deadline = storing.origin.deadline
        version = self._placing.put(key, value, flags, expires, now, done, deadline)
        if version is None:
            storing.waiting += 1
        else:
            storing.versions[index] = version
            self._count(version)
            self._copy(key, version, flags, expires, value, name)

    def _count(self, version: int) -> None:
        if version == NOT_STORED:
            self.not_stored += 1
        else:
            self.stored += 1

    # --- DELETE, TOUCH --------------------------------------------------------------------------

    def delete(self, asked: Delete, origin: Origin, now: float) -> Answered:
        """With a version only that version is deleted."""
        name = self._name(origin, now)
        found = tuple([self._delete(k, asked.version, name, now) for k in asked.keys])
        return Status.OK, Flags(found), b""

    def _delete(self, key: bytes, version: int | None, name: bytes, now: float) -> bool:
        self._fire(key)
        entry = self._holdings.directory.get(key)
        if version is not None and entry is not None and entry.version != version:
            return False
        was_visible = entry is not None and self._holdings.is_visible(entry, now)
        if entry is not None:
            # An invisible one goes too: its tier may come back with what it holds.
            self._holdings.forget(entry)
        if self._streams.is_on:
            # Here it may be evicted, and there not.
            self._streams.drop(slot_of(key), key, was_visible, name)
        self.deleted += was_visible
        return was_visible

    def touch(self, asked: Touch, now: float) -> Answered:
        expires = expires_at(asked.ttl, now)
        return Status.OK, Flags(tuple(self._touch(k, expires, now) for k in asked.keys)), b""

    def _touch(self, key: bytes, expires: float, now: float) -> bool:
        entry = self._holdings.visible(key, now)
        if entry is None:
            return False
        self._fire(key)
        if entry.place == COLD:
            self._holdings.cold.retime(entry)
        if entry.place <= COLD:
            entry.expires = expires
        else:
            # Another node keeps it no longer than it was asked to.
            entry.expires = min(entry.expires, expires)
        if self._streams.is_on:
            self._streams.touch(slot_of(key), key, entry.version, entry.expires)
        return True

    def _fire(self, key: bytes) -> None:
        """Near copies of the key are out of date from now on."""
        if self._holdings.watches.count:
            self._holdings.watches.fire(key, slot_of(key))

    # --- INCR -----------------------------------------------------------------------------------

    def incr(self, asked: Incr, origin: Origin, now: float) -> Answered | None:
        entry = self._holdings.visible(asked.key, now)
        if entry is None:
            if self._holdings.is_being_written(asked.key, now):
                return _UNREADABLE
            if asked.initial is None:
                return _ABSENT
            expires = expires_at(asked.ttl, now)
            return self._put_counter(asked, asked.initial, COUNTER_FLAGS, expires, origin, now)
        if entry.place < COLD:
            is_read(entry)
            value = self._holdings.read_memory(entry, now)
            return self._add(asked, entry, value, origin, now)
        return self._incr_later(asked, entry, origin, now)

    def _incr_later(self, asked: Incr, entry: Entry, origin: Origin, now: float) -> Answered | None:
        version = entry.version

        def arrived(value: bytes | None, read: Entry, failed: bool, now: float) -> None:
            if (value is None and failed) or not self._holdings.directory.is_owned(read):
                # Another node owns the counter by now: what it said is all that may be kept here.
                answered: Answered | None = _UNREADABLE
            elif value is not None and self._holdings.is_current(read, version):
                answered = self._add(asked, read, value, origin, now)
            else:
                # It is gone or another since: begin anew with what is there now.
                answered = self._incr_again(asked, origin, now)
            if answered is not None:
                self._effects.answer(origin, answered)

        asked_for = self._reads.ask(entry, arrived, now, origin.deadline)
        return None if asked_for else _UNREADABLE

    def _incr_again(self, asked: Incr, origin: Origin, now: float) -> Answered | None:
        entry = self._holdings.visible(asked.key, now)
        if entry is not None and entry.place >= COLD:
            return _UNREADABLE  # once is enough: the client may ask again
        return self.incr(asked, origin, now)

    def _add(
        self, asked: Incr, entry: Entry, value: bytes | None, origin: Origin, now: float
    ) -> Answered | None:
        if value is None:
            return _UNREADABLE
        if entry.flags != COUNTER_FLAGS or not _INTEGER.fullmatch(value):
            return Status.OK, Counter(True, False, 0, entry.version), b""
        expires = entry.expires if asked.keep_ttl else expires_at(asked.ttl, now)
        total = int(value) + asked.delta
        return self._put_counter(asked, total, entry.flags, expires, origin, now)

    def _put_counter(
        self, asked: Incr, total: int, flags: int, expires: float, origin: Origin, now: float
    ) -> Answered | None:
        if total not in INT64:
            return _OVERFLOW

        value, deadline, name = b"%d" % total, origin.deadline, self._name(origin, now, True)

        def done(version: int, now: float) -> None:
            self._copy(asked.key, version, flags, expires, value, name)
            self._effects.answer(origin, self._counted(total, version))

        version = self._placing.put(asked.key, value, flags, expires, now, done, deadline)
        if version is None:
            return None
        self._copy(asked.key, version, flags, expires, value, name)
        self._moves.make_room(now)
        return self._counted(total, version)

    def _counted(self, total: int, version: int) -> Answered:
        if version:
            return Status.OK, Counter(True, True, total, version), b""
        return _NO_TIER if self._holdings.standing.is_emergency else _NOT_KEPT
