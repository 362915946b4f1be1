"""Placing a new value: the best tier that takes it, and fencing what the key held before.

    hot -> warm -> cold, confirmed by the worker -> another node's cold, confirmed by it -> nowhere

Whatever becomes of the new value, the old one is gone from the moment the write is handled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tiercluster.cluster.ring import slot_of
from tiercluster.cluster.wire import Kind, Reply

from .coldqueue import WRITE, Job, Outcome
from .directory import BUCKET_SHIFT
from .entry import COLD, HOT, OVERHEAD_BYTES, REMOTE, Entry
from .failures import Failure
from .holdings import Holdings
from .messages import ColdCommand, ColdDone, ColdPut
from .moves import Moves
from .peerbook import PeerBook
from .standing import UNCONFIRMED

NOT_STORED = 0

Done = Callable[[int, float], None]


class Placing:
    def __init__(self, holdings: Holdings, moves: Moves, peers: PeerBook) -> None:
        self._holdings = holdings
        self._moves = moves
        self._peers = peers

    def put(
        self,
        key: bytes,
        value: bytes,
        flags: int,
        expires: float,
        now: float,
        done: Done,
        deadline: float = 0.0,
    ) -> int | None:
        """The version stored, NOT_STORED, or None: ``done`` gets one of them, with the time, when
        the tier has confirmed. After ``deadline`` (monotonic seconds, 0: none) nothing is tried
        again."""
        straight = self.put_in_hot(key, slot_of(key), value, flags, expires)
        if straight:
            return straight
        holdings = self._holdings
        directory, standing = holdings.directory, holdings.standing
        if holdings.watches.count:
            holdings.watches.fire(key, slot_of(key))
        version = directory.next_version()
        old = directory.get(key)
        if old is not None:
            holdings.forget(old)
        entry = Entry(key, version, flags, expires, len(value), directory.era)
        for place in standing.writable:
            if place == COLD:
                return self._put_cold(entry, value, now, done, deadline)
            store = partial(holdings.memory[place].store, entry, value)
            failure = store()
            if failure is not None:
                failure = self._moves.try_again(place, store, failure, now)
            if failure is None:
                entry.generation = standing.generation(place)
                directory.put(entry)
                return version
        return self._put_peer(entry, value, now, done)

    def put_in_hot(self, key: bytes, slot: int, value: bytes, flags: int, expires: float) -> int:
        """The straight way of most writes: the version stored; 0 if this one needs `put`, nothing
        being changed then. In hot a value is replaced where it stands, which keeps the entry's
        rank."""
        holdings = self._holdings
        hot, directory, live = holdings.hot, holdings.directory, holdings.standing.live
        if hot.faults.is_on or HOT not in holdings.standing.writable:
            return 0
        size = len(value)
        bucket = directory.buckets[slot >> BUCKET_SHIFT]
        entry = bucket.get(key)
        if size > hot.largest or (entry is not None and (entry.place != HOT or entry.leaving)):
            return 0
        if holdings.watches.count:
            holdings.watches.fire(key, slot)
        version = directory.next_version()
        cost = size + len(key) + OVERHEAD_BYTES
        if entry is None:
            entry = bucket[key] = Entry(key, version, flags, expires, size, directory.era)
            directory.count += 1
            entry.cost = cost
            hot.policy.add(entry)
        else:
            entry.version, entry.flags, entry.expires, entry.size = version, flags, expires, size
            entry.born = directory.era
            hot.policy.resize(entry, cost)
        entry.value = value
        entry.generation = live[HOT]
        return version

    def keep(self, key: bytes, slot: int, value: bytes, flags: int, expires: float,
             version: int) -> None:  # fmt: skip
        """Take a copy of what the owner has. Where no memory takes it, there is none: another one
        is gone in any case."""
        holdings = self._holdings
        directory = holdings.directory
        old = directory.buckets[slot >> BUCKET_SHIFT].get(key)
        if old is not None:
            is_good = old.born >= directory.floors[slot] and old.place < COLD
            if is_good and old.version == version and not holdings.is_lost(old):
                old.expires = expires
                return
            holdings.forget(old)
        entry = Entry(key, version, flags, expires, len(value), directory.era)
        for place in holdings.standing.writable:
            if place >= COLD:
                return
            if holdings.memory[place].store(entry, value) is None:
                entry.generation = holdings.standing.generation(place)
                directory.put(entry)
                return

    def _put_cold(
        self, entry: Entry, value: bytes, now: float, done: Done, deadline: float
    ) -> int | None:
        """Until the worker has confirmed it, the entry is invisible."""
        holdings, queue = self._holdings, self._holdings.queue
        key, version = entry.key, entry.version
        generation = holdings.standing.generation(COLD)
        if len(value) > holdings.cold.largest:
            return NOT_STORED

        def command(token: int) -> ColdCommand | None:
            if not holdings.is_current(entry, version):
                return None
            expires = self._moves.expires_wall(entry.expires)
            return ColdPut(token, key, version, generation, entry.flags, expires, value)

        def is_wanted() -> bool:
            """Neither has the tier begun anew meanwhile, nor has this node ceased to keep the
            key."""
            is_same = holdings.standing.live[COLD] == generation
            return is_same and holdings.directory.is_above_floor(entry)

        def finish(outcome: Outcome, now: float) -> None:
            if not holdings.is_current(entry, version):
                # A later write took its place, so it counts as done; its row is garbage.
                queue.doom(key, version)
                is_lost = isinstance(outcome, Failure) and holdings.directory.get(key) is None
                done(NOT_STORED if is_lost else version, now)
            elif isinstance(outcome, ColdDone) and is_wanted():
                entry.generation = generation
                done(version, now)
            else:
                holdings.forget(entry)
                done(NOT_STORED, now)

        entry.value = None
        holdings.settle_in_cold(entry, value, False, UNCONFIRMED, proven=False)
        holdings.directory.put(entry)
        if queue.ask(Job(command, finish, len(value), deadline), WRITE, now):
            self._moves.trim_cold()
            return None
        holdings.forget(entry)
        return NOT_STORED

    def _put_peer(self, entry: Entry, value: bytes, now: float, done: Done) -> int | None:
        holdings, moves, version = self._holdings, self._moves, entry.version
        if not holdings.standing.is_cold_out:
            return NOT_STORED
        node, outage = self._peers.stand_in(entry.key), holdings.standing.outage
        cost = len(value) + len(entry.key) + OVERHEAD_BYTES
        if not node or holdings.remote_bytes + cost > holdings.cold.remote_capacity:
            return NOT_STORED

        def finish(reply: Reply | None, now: float) -> None:
            if not holdings.is_current(entry, version):
                done(version, now)
            elif moves.is_kept(reply, outage) and holdings.directory.is_above_floor(entry):
                entry.generation = holdings.standing.generation(REMOTE)
                done(version, now)
            else:
                holdings.forget(entry)
                done(NOT_STORED, now)

        fields = moves.put_for_us(entry, False, now)
        if not self._peers.ask(node, Kind.COLD_PUT, fields, value, finish, now):
            return NOT_STORED
        moves.settle_with_peer(entry, node, len(value), now)
        entry.generation = UNCONFIRMED
        holdings.directory.put(entry)
        return None
