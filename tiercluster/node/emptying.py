"""Moving the entries of one tier elsewhere, hottest first: in slices, under a limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from tiercluster.cluster.wire import Kind, Reply

from .coldreads import ColdReads
from .entry import COLD, WARM, Entry
from .holdings import Holdings
from .moves import NOWHERE, Moves
from .peerbook import PeerBook

MAX_LEAVING_BYTES = 4 * 2**20  # on their way at one time
MAX_READING = 16  # cold entries read or sent at one time


class Emptying(Protocol):
    moved: int

    def step(self, allowance: int, now: float) -> int:
        """Begin moves of about ``allowance`` bytes; the bytes begun."""

    @property
    def is_done(self) -> bool:
        """Nothing is left to begin or on its way."""


class EmptyingMemory:
    """Hot or warm; ``target`` says at each step where entries go."""

    def __init__(
        self, holdings: Holdings, moves: Moves, place: int, target: Callable[[], int]
    ) -> None:
        self._holdings = holdings
        self._moves = moves
        self._tier = holdings.memory[place]
        self._target = target
        # A snapshot: what comes in later stays behind.
        self._order: Iterator[Entry] | None = iter(list(self._tier.policy.hottest_first()))
        self.moved = 0

    def step(self, allowance: int, now: float) -> int:
        begun = 0
        while self._order is not None and begun < allowance:
            if self._tier.leaving_bytes > MAX_LEAVING_BYTES:
                break
            entry = next(self._order, None)
            if entry is None:
                self._order = None
            elif self._is_here(entry, now):
                begun += entry.cost
                self.moved += self._move(entry, now)
        self._moves.make_room(now)
        return begun

    def _is_here(self, entry: Entry, now: float) -> bool:
        is_here = entry.place == self._tier.place and entry.queue and not entry.leaving
        return bool(is_here) and self._holdings.is_visible(entry, now)

    def _move(self, entry: Entry, now: float) -> bool:
        target = self._target()
        if target == NOWHERE:
            return False
        if target == WARM:
            if self._moves.to_warm(entry, True, now):
                return True
            self._holdings.forget(entry)
            return False
        self._tier.policy.discard(entry)
        if self._moves.leave(entry, self._tier, target, now):
            return True
        self._tier.policy.add(entry, entry.proven)
        return False

    @property
    def is_done(self) -> bool:
        return self._order is None and self._tier.leaving_bytes == 0


class EmptyingCold:
    """Cold, to the nodes that stand in for it."""

    def __init__(self, holdings: Holdings, moves: Moves, reads: ColdReads, peers: PeerBook) -> None:
        self._holdings = holdings
        self._moves = moves
        self._reads = reads
        self._peers = peers
        self._order: Iterator[Entry] | None = iter(list(holdings.cold.policy.hottest_first()))
        self._under_way = 0
        self.moved = 0

    def step(self, allowance: int, now: float) -> int:
        begun = 0
        while self._order is not None and self._under_way < MAX_READING and begun < allowance:
            entry = next(self._order, None)
            if entry is None:
                self._order = None
            elif entry.place == COLD and self._is_wanted(entry, entry.version, now):
                begun += self._begin(entry, now)
        return begun

    def _is_wanted(self, entry: Entry, version: int, now: float) -> bool:
        holdings = self._holdings
        return holdings.is_current(entry, version) and holdings.is_visible(entry, now)

    def _begin(self, entry: Entry, now: float) -> int:
        if not self._peers.stand_in(entry.key):
            return 0
        self._under_way += 1
        if self._reads.ask(entry, self._read, now):
            return entry.cost
        self._under_way -= 1
        return 0

    def _read(self, value: bytes | None, entry: Entry, failed: bool, now: float) -> None:
        if value is None or not self._send(entry, value, now):
            self._under_way -= 1

    def _send(self, entry: Entry, value: bytes, now: float) -> bool:
        node, version = self._peers.stand_in(entry.key), entry.version
        outage = self._holdings.standing.outage
        remote_bytes = self._holdings.remote_bytes + entry.cost
        if not node or remote_bytes > self._holdings.cold.remote_capacity:
            return False
        blob, packed = self._holdings.packer.pack(value)

        def finish(reply: Reply | None, now: float) -> None:
            self._under_way -= 1
            is_here = entry.place == COLD and self._is_wanted(entry, version, now)
            if is_here and self._moves.is_kept(reply, outage):
                self._holdings.detach(entry)
                self._moves.settle_with_peer(entry, node, len(blob), now)
                self.moved += 1

        fields = self._moves.put_for_us(entry, packed, now)
        return self._peers.ask(node, Kind.COLD_PUT, fields, blob, finish, now)

    @property
    def is_done(self) -> bool:
        return self._order is None and self._under_way == 0
