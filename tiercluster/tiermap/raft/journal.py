"""The Raft log of this member: an append-only file that knows what a power cut may do to it.

    record = magic, length, crc32, durable, index, term, command

``durable`` is how far the file was known to be on the disk when the record was written. A power cut
can only harm what was not: so a bad record is a torn tail, to be cut, unless a sound record behind
it says that this place was durable. Then it is damage, and the member refuses to start. So it does
when a cut would reach below the commit index that the vote file remembers.

Entries are written at once and made durable by ``sync`` (one fdatasync for all of them), which the
replica calls before it acknowledges or counts them. Trims and other rewrites go to a new file that
is fsynced and renamed. After any error of the disk this object does nothing but raise.

It stands behind the journal interface of pysyncobj, hence the camelCase.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

from pysyncobj.journal import Journal as JournalInterface

from .files import (
    REJOIN,
    DamagedError,
    JournalError,
    read_file,
    replace_durably,
    sync_directory,
    write_all,
    wrote,
)
from .vote import Vote, read_vote, write_vote

log = logging.getLogger(__name__)

Entry = tuple[bytes, int, int]  # command, index, term

MAGIC = b"tcE1"
MAX_RECORD_BYTES = 2**20
MAX_BYTES = (
    2**32
)  # it is trimmed at 20,000 entries, of at most 256 KiB, mostly of some hundred bytes
_HEAD = struct.Struct("<4sII")  # magic, length of what follows, crc32 of it
_KEY = struct.Struct("<QQQ")  # durable, index, term


class Journal(JournalInterface):  # type: ignore[misc]
    """One member's log, term, vote and commit hint. DamagedError or JournalError at opening when
    they cannot be trusted; ``rewrite`` copies the log to a new, synced file first, which proves
    that the disk is well again after an error."""

    def __init__(self, directory: Path, fsync: bool = True, rewrite: bool = False) -> None:
        self._path = directory / "journal"
        self._vote_path = directory / "vote"
        self._fsync = fsync
        self._broken: JournalError | None = None
        self._fd = -1
        self._vote, data = self._read_files()
        self._hint_is_dirty = False
        self._entries, self._starts, self._end = _scan(self._path, data)
        self._check_cut(len(data))
        self._durable = self._end
        try:
            self._open()
            if rewrite:
                self._rewrite(self._entries)
        except BaseException:
            self._close()
            raise

    def _read_files(self) -> tuple[Vote, bytes]:
        vote, data = read_vote(self._vote_path), read_file(self._path, MAX_BYTES)
        if vote is None and data is not None:
            raise DamagedError(
                f"{self._path} has no vote file beside it: it may have voted already; {REJOIN}"
            )
        if data is None and vote is not None and vote != Vote():
            raise DamagedError(f"{self._path} is missing, its vote file is there; {REJOIN}")
        if data is None:
            # The vote first: a journal without one is refused, the other way round is not.
            write_vote(self._vote_path, Vote(), self._fsync)
            replace_durably(self._path, b"", self._fsync)
        return vote or Vote(), data or b""

    def _check_cut(self, size: int) -> None:
        last = self._entries[-1][1] if self._entries else 1
        if self._vote.commit > last:
            raise DamagedError(
                f"{self._path} ends at entry {last}, but entry {self._vote.commit} was committed; "
                f"{REJOIN}"
            )
        if self._end < size:
            log.warning("%s: a torn tail of %d bytes is cut", self._path, size - self._end)

    def _open(self) -> None:
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            if os.fstat(self._fd).st_size != self._end:
                os.ftruncate(self._fd, self._end)
                self._datasync()
        except OSError as error:
            raise self._failed(error) from error

    # --- entries ------------------------------------------------------------------------------

    def add(self, command: bytes, idx: int, term: int) -> None:
        self.extend(((command, idx, term),))

    def extend(self, entries: Iterable[Entry]) -> None:
        """Append in one write; durable only after ``sync``."""
        added = [(bytes(command), index, term) for command, index, term in entries]
        records = [_record(entry, self._durable) for entry in added]
        self._write(b"".join(records))
        for entry, record in zip(added, records, strict=True):
            self._entries.append(entry)
            self._starts.append(self._end)
            self._end += len(record)

    def sync(self) -> None:
        """What was added is on the disk when this returns."""
        self._check()
        if self._durable < self._end:
            try:
                self._datasync()
            except OSError as error:
                raise self._failed(error) from error
            self._durable = self._end

    def replace(self, entries: Sequence[Entry]) -> None:
        """The log is these entries or what it was before, whatever happens."""
        self._check()
        self._rewrite(entries)

    def clear(self) -> None:
        self.replace(())

    def deleteEntriesTo(self, entryTo: int) -> None:
        self.replace(self._entries[entryTo:])

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        """Durable at once: what is written here next must not mix with what stood here before."""
        self._check()
        if entryFrom >= len(self._entries):
            return
        end = self._starts[entryFrom]
        try:
            os.ftruncate(self._fd, end)
            self._datasync()
        except OSError as error:
            raise self._failed(error) from error
        self._durable = self._end = end
        del self._entries[entryFrom:], self._starts[entryFrom:]

    @overload
    def __getitem__(self, item: int) -> Entry: ...
    @overload
    def __getitem__(self, item: slice) -> list[Entry]: ...
    def __getitem__(self, item: int | slice) -> Entry | list[Entry]:
        return self._entries[item]

    def __len__(self) -> int:
        return len(self._entries)

    def is_synced(self) -> bool:
        return self._durable == self._end

    # --- term, vote, commit hint ----------------------------------------------------------------

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        """Durable when it returns, so that a vote may be answered."""
        self._keep(replace(self._vote, term=term, voted_for=votedForNodeId))

    def getCurrentTerm(self) -> int:
        return self._vote.term

    def getVotedForNodeId(self) -> str | None:
        return self._vote.voted_for

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:
        if raftCommitIndex != self._vote.commit:
            self._vote = replace(self._vote, commit=raftCommitIndex)
            self._hint_is_dirty = True

    def getRaftCommitIndex(self) -> int:
        return self._vote.commit

    def onOneSecondTimer(self) -> None:
        if self._hint_is_dirty:
            self.sync()  # the hint must not be durable before the entries that it speaks of
            self._keep(self._vote)

    def _keep(self, vote: Vote) -> None:
        self._check()
        try:
            write_vote(self._vote_path, vote, self._fsync)
        except JournalError as error:
            self._broken = error
            raise
        self._vote, self._hint_is_dirty = vote, False

    def _destroy(self) -> None:
        """Close; what can still be saved is saved."""
        try:
            if self._broken is None:
                self.onOneSecondTimer()
                self.sync()
        finally:
            self._close()

    # --- the file -------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        self._check()
        try:
            write_all(self._fd, data, self._end)
        except OSError as error:
            raise self._failed(error) from error

    def _rewrite(self, entries: Sequence[Entry]) -> None:
        kept = list(entries)
        sizes = [_HEAD.size + _KEY.size + len(entry[0]) for entry in kept]
        end = sum(sizes)
        beside = self._path.with_name("journal.new")
        try:
            fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                # All of it is durable before the rename, so each record may say so.
                write_all(fd, b"".join(_record(entry, end) for entry in kept), 0)
                if self._fsync:
                    os.fsync(fd)
                    # A dump that was renamed just before must not be lost with the old entries.
                    sync_directory(self._path.parent)
                os.rename(beside, self._path)
                if self._fsync:
                    sync_directory(self._path.parent)
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            raise self._failed(error) from error
        os.close(self._fd)
        self._fd, self._end, self._durable = fd, end, end
        self._entries = kept
        self._starts = [sum_ - size for sum_, size in zip(_running(sizes), sizes, strict=True)]

    def _datasync(self) -> None:
        if self._fsync:
            os.fdatasync(self._fd)

    def _check(self) -> None:
        if self._broken is not None:
            raise self._broken

    def _failed(self, error: OSError) -> JournalError:
        # What the page cache holds after a failed fsync is anybody's guess: nothing more is done
        # with this file until it has been read and written anew.
        self._broken = wrote(self._path, error)
        return self._broken

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _running(sizes: Iterable[int]) -> list[int]:
    total, sums = 0, []
    for size in sizes:
        total += size
        sums.append(total)
    return sums


def _record(entry: Entry, durable: int) -> bytes:
    command, index, term = entry
    body = _KEY.pack(durable, index, term) + command
    if len(body) > MAX_RECORD_BYTES:
        raise ValueError(f"a log entry of {len(command)} bytes; the limit is {MAX_RECORD_BYTES}")
    return _HEAD.pack(MAGIC, len(body), zlib.crc32(body)) + body


def _sound(data: bytes, at: int) -> tuple[int, Entry, int] | None:
    """The record at ``at``: what it says was durable, its entry, its end. None if it is bad."""
    body_at = at + _HEAD.size
    if body_at + _KEY.size > len(data):
        return None
    magic, length, crc = _HEAD.unpack_from(data, at)
    end = body_at + length
    if magic != MAGIC or not _KEY.size <= length <= MAX_RECORD_BYTES or end > len(data):
        return None
    body = data[body_at:end]
    if zlib.crc32(body) != crc:
        return None
    durable, index, term = _KEY.unpack_from(body)
    return durable, (body[_KEY.size :], index, term), end


def _scan(path: Path, data: bytes) -> tuple[list[Entry], list[int], int]:
    """The sound entries, where each starts, and where they end; DamagedError for mid-log damage."""
    entries: list[Entry] = []
    starts: list[int] = []
    at = 0
    while at < len(data):
        record = _sound(data, at)
        if record is None:
            _refuse_if_durable(path, data, at)
            break
        _, entry, end = record
        if entries and entry[1] != entries[-1][1] + 1:
            raise DamagedError(
                f"{path}: entry {entry[1]} follows entry {entries[-1][1]} at byte {at}; {REJOIN}"
            )
        entries.append(entry)
        starts.append(at)
        at = end
    return entries, starts, at


def _refuse_if_durable(path: Path, data: bytes, bad: int) -> None:
    """DamagedError if a later record says that the place of the bad one was durable."""
    at = data.find(MAGIC, bad + 1)
    while at != -1:
        record = _sound(data, at)
        if record is not None and record[0] > bad:
            raise DamagedError(
                f"{path} is damaged at byte {bad}, in the middle of what was acknowledged; {REJOIN}"
            )
        at = data.find(MAGIC, at + 1)
