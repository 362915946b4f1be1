"""Reads of values that are on disk or with another node: shared, bounded, checked on arrival."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tiercluster.cluster.wire import MAX_VALUE_BYTES, ColdValue, Kind, Reply, Status
from tiercluster.cluster.wire import ColdGet as GetForUs

from .coldqueue import READ, Job, Outcome
from .entry import COLD, PACKED, REMOTE, Entry, is_read
from .failures import Failure, FailureKind
from .holdings import Holdings
from .messages import ColdCommand, ColdFound, ColdGet
from .moves import READS_TO_PROMOTE, Moves
from .peerbook import PeerBook

MAX_WAITERS = 20_000  # keys of requests that wait for a read

Waiter = Callable[[bytes | None, Entry, bool, float], None]


@dataclass(slots=True)
class _Read:
    entry: Entry
    version: int
    waiters: list[Waiter]
    job: Job | None = None  # of our own cold tier
    is_quiet: bool = True  # nobody asks who would read it: it does not count as a read


class ColdReads:
    """A waiter is called once with (value or None, the entry as it was found, whether the tier
    failed, now). None is a miss: the row is gone, or the entry changed meanwhile."""

    def __init__(self, holdings: Holdings, moves: Moves, peers: PeerBook) -> None:
        self._holdings = holdings
        self._moves = moves
        self._peers = peers
        self._reads: dict[tuple[bytes, int], _Read] = {}
        self._waiting = 0
        self.shed = 0

    def ask(self, entry: Entry, waiter: Waiter, now: float, deadline: float = 0.0,
            quiet: bool = False) -> bool:  # fmt: skip
        """Read a visible entry of cold or remote; False, and the waiter is not called, if too much
        is under way. After ``deadline`` (monotonic seconds, 0: none) nothing is tried again.
        ``quiet``: it is copied, and counts as no read."""
        if self._waiting >= MAX_WAITERS:
            self.shed += 1
            return False
        name = entry.key, entry.version
        read = self._reads.get(name)
        if read is None or read.entry is not entry:
            read = _Read(entry, entry.version, [])
            if not self._begin(read, now, deadline):
                self.shed += 1
                return False
            self._reads[name] = read
        elif read.job is not None:
            read.job.deadline = _later(read.job.deadline, deadline)
        read.is_quiet &= quiet
        read.waiters.append(waiter)
        self._waiting += 1
        return True

    def _begin(self, read: _Read, now: float, deadline: float) -> bool:
        if read.entry.place == REMOTE:
            return self._ask_peer(read, now)
        return self._ask_cold(read, now, deadline)

    def _ask_cold(self, read: _Read, now: float, deadline: float) -> bool:
        entry, version = read.entry, read.version

        def command(token: int) -> ColdCommand | None:
            if not self._is_wanted(read, COLD, now):
                return None
            return ColdGet(token, entry.key, version)

        def finish(outcome: Outcome, now: float) -> None:
            if isinstance(outcome, ColdFound):
                entry_value = self._unpack(outcome.value, outcome.flags)
                self._arrived(read, COLD, entry_value, now)
            elif isinstance(outcome, Failure) and outcome.kind is not FailureKind.CORRUPT:
                self._tell(read, None, True, now)
            else:
                self._arrived(read, COLD, None, now)

        # Job and read refer to each other until the read is told: a cycle that is left behind stays
        # for good, as the collector's full pass is put off (`run.GC_THRESHOLDS`).
        read.job = Job(command, finish, 0, deadline)
        if self._holdings.queue.ask(read.job, READ, now):
            return True
        read.job = None
        return False

    def _ask_peer(self, read: _Read, now: float) -> bool:
        entry, version = read.entry, read.version
        if not self._peers.has_cold(entry.home):
            return False

        def finish(reply: Reply | None, now: float) -> None:
            if reply is None or reply.status is not Status.OK:
                self._tell(read, None, True, now)
                return
            found = reply.fields
            value = None
            if isinstance(found, ColdValue) and found.found:
                value = self._unpack(reply.body, found.flags)
            self._arrived(read, REMOTE, value, now)

        fields = GetForUs(self._holdings.standing.outage, entry.key, version)
        return self._peers.ask(entry.home, Kind.COLD_GET, fields, b"", finish, now)

    def _unpack(self, blob: bytes, flags: int) -> bytes | None:
        if not flags & PACKED:
            return blob
        value = self._holdings.packer.unpack(blob, MAX_VALUE_BYTES)
        return None if isinstance(value, Failure) else value

    def _is_wanted(self, read: _Read, place: int, now: float) -> bool:
        """Whether the entry is as it was when the read was asked for."""
        entry, holdings = read.entry, self._holdings
        return (
            entry.place == place
            and holdings.is_current(entry, read.version)
            and holdings.is_visible(entry, now)
        )

    def _arrived(self, read: _Read, place: int, value: bytes | None, now: float) -> None:
        """The tier answered. What does not vouch for the entry any more is not used."""
        if not self._is_wanted(read, place, now):
            self._tell(read, None, False, now)
            return
        entry = read.entry
        if value is None:
            self._holdings.forget(entry)
            self._tell(read, None, False, now)
            return
        if not read.is_quiet:
            is_read(entry)
        self._tell(read, value, False, now)
        if (
            not read.is_quiet
            and entry.freq >= READS_TO_PROMOTE
            and self._is_wanted(read, place, now)
        ):
            self._moves.promote(entry, value, now)

    def _tell(self, read: _Read, value: bytes | None, failed: bool, now: float) -> None:
        name = read.entry.key, read.version
        if self._reads.get(name) is read:
            del self._reads[name]
        read.job = None
        self._waiting -= len(read.waiters)
        for waiter in read.waiters:
            waiter(value, read.entry, failed, now)


def _later(one: float, other: float) -> float:
    """The later of two deadlines; 0 is none at all."""
    return max(one, other) if one and other else 0.0
