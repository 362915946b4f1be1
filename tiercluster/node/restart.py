"""What a start finds in the cold store: taken over after a clean stop, else wiped."""

from __future__ import annotations

from collections.abc import Callable

from tiercluster.cluster.ring import slot_of

from .coldqueue import Job, Outcome
from .entry import COLD, NEVER, OVERHEAD_BYTES, PACKED, Entry
from .failures import Failure
from .foreign import MARK
from .holdings import Holdings
from .messages import ColdOpen, ColdRow
from .moves import Moves


class Restart:
    def __init__(self, holdings: Holdings, moves: Moves) -> None:
        self._holdings = holdings
        self._moves = moves

    def adopt(self, rows: tuple[ColdRow, ...], is_mine: Callable[[int], bool], now: float) -> None:
        """The rows become entries, but for those that have expired, were kept for others, whose
        slot another node has now, or whose key was written since the start."""
        for row in rows:
            self._adopt_one(row, is_mine(slot_of(row.key)), now)
        self._moves.trim_cold()
        self._close_if_drained(now)

    def _adopt_one(self, row: ColdRow, is_mine: bool, now: float) -> None:
        holdings = self._holdings
        expires = NEVER
        if row.expires_wall is not None:
            expires = row.expires_wall - self._moves.wall_offset
        is_known = holdings.directory.get(row.key) is not None
        if row.key.startswith(MARK) or expires <= now or is_known or not is_mine:
            holdings.queue.doom(row.key, row.version)
            return
        directory = holdings.directory
        directory.version = max(directory.version, row.version)
        entry = Entry(row.key, row.version, row.flags & ~PACKED, expires, row.size, born=0)
        entry.place = COLD
        entry.packed = bool(row.flags & PACKED)
        entry.generation = holdings.standing.generation(COLD)
        entry.cost = row.size + len(row.key) + OVERHEAD_BYTES
        holdings.cold.policy.add(entry)
        directory.put(entry)

    def wipe(self, now: float) -> None:
        def command(token: int) -> ColdOpen:
            return ColdOpen(token, wipe=True)

        self._holdings.queue.serve(Job(command, self._wiped), now)

    def _wiped(self, outcome: Outcome, now: float) -> None:
        if isinstance(outcome, Failure):
            self._holdings.standing.failed(COLD, outcome, now, is_write=True)
        self._close_if_drained(now)

    def _close_if_drained(self, now: float) -> None:
        """An operator had the tier drained before this start: its disk may be taken out, as if
        this process had drained it."""
        if self._holdings.standing.is_drained(COLD):
            self._holdings.standing.close(COLD)
            self._holdings.queue.close_store(now)
