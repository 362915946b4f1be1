"""A clean stop: what is worth keeping goes to cold, then the store is closed with a marker.

    begin --> sweeping --> moving --all moved, or the grace is over--> settling --> closing --> over

The marker says that the rows are the truth, so it is left out if any row may be there that should
not be. Copies of what others own are taken out: the others may change it until they stop, too, and
this node confirms nothing from the moment its store is being closed.
"""

from __future__ import annotations

from enum import Enum, auto

from .coldqueue import Job, Outcome
from .directory import BUCKETS
from .emptying import EmptyingMemory
from .entry import COLD, HOT, WARM
from .holdings import Holdings
from .messages import ColdClose
from .moves import Moves
from .sweep import Sweep

SWEEP_A_TICK = 32  # buckets
STOP_STEP_BYTES = 4 * 2**20  # a tick


class _Phase(Enum):
    SERVING = auto()
    SWEEPING = auto()
    MOVING = auto()
    SETTLING = auto()
    CLOSING = auto()
    OVER = auto()


class Stopping:
    def __init__(self, holdings: Holdings, moves: Moves, sweep: Sweep, incarnation: str) -> None:
        self._holdings = holdings
        self._moves = moves
        self._sweep = sweep
        self._incarnation = incarnation
        self._phase = _Phase.SERVING
        self._deadline = 0.0
        self._swept = 0
        self._work: list[EmptyingMemory] = []

    @property
    def is_over(self) -> bool:
        return self._phase is _Phase.OVER

    @property
    def _cold_is_usable(self) -> bool:
        return self._holdings.standing.tiers[COLD].is_usable

    @property
    def is_closing(self) -> bool:
        """Whether what is in the store now is what the next process may take over."""
        return self._phase in (_Phase.CLOSING, _Phase.OVER)

    def begin(self, now: float, grace_s: float) -> None:
        if self._phase is _Phase.SERVING:
            self._deadline = now + grace_s
            self._phase = _Phase.SWEEPING
            self._forget_retimed()

    def _forget_retimed(self) -> None:
        """Rows whose expiry is not their entry's any more."""
        for key, version in self._holdings.cold.retimed.items():
            entry = self._holdings.directory.get(key)
            if entry is not None and entry.version == version and entry.place == COLD:
                self._holdings.forget(entry)

    def tick(self, now: float) -> None:
        match self._phase:
            case _Phase.SERVING | _Phase.CLOSING | _Phase.OVER:
                pass
            case _Phase.SWEEPING:
                self._sweep_some(now)
            case _Phase.MOVING:
                self._move_some(now)
            case _Phase.SETTLING:
                # Again: what was on its way to cold when it was touched has arrived since.
                self._forget_retimed()
                if self._holdings.queue.is_idle:
                    self._forget_copies()
                if self._holdings.queue.is_idle or now >= self._deadline:
                    self._close(now)

    def _forget_copies(self) -> None:
        """Rows of slots that are not this node's, and what a gap has hidden since the sweep."""
        directory = self._holdings.directory
        for entry in [
            e for e in directory
            if e.place == COLD and not (directory.is_owned(e) and directory.is_above_floor(e))
        ]:  # fmt: skip
            self._holdings.forget(entry)

    def _sweep_some(self, now: float) -> None:
        for _ in range(SWEEP_A_TICK):
            self._sweep.sweep_bucket(now)
        self._swept += SWEEP_A_TICK
        if not self._cold_is_usable:
            self._close(now)
        elif self._swept >= BUCKETS:
            self._phase = _Phase.MOVING
            self._work = [
                EmptyingMemory(self._holdings, self._moves, place, lambda: COLD)
                for place in (HOT, WARM)
            ]

    def _move_some(self, now: float) -> None:
        for work in self._work:
            work.step(STOP_STEP_BYTES, now)
        is_done = all(work.is_done for work in self._work)
        if is_done or now >= self._deadline or not self._cold_is_usable:
            self._phase = _Phase.SETTLING

    def _close(self, now: float) -> None:
        self._phase = _Phase.CLOSING
        generation = self._holdings.standing.generation(COLD)
        marker = (self._incarnation, generation) if self._is_true else None
        self._holdings.queue.serve(Job(lambda token: ColdClose(token, marker), self._closed), now)

    @property
    def _is_true(self) -> bool:
        """Whether the rows of the store are exactly the entries of the directory in cold."""
        queue = self._holdings.queue
        is_settled = queue.is_idle and not queue.forgot_rows
        return self._cold_is_usable and is_settled and not self._holdings.cold.lost_times

    def _closed(self, outcome: Outcome, now: float) -> None:
        self._phase = _Phase.OVER
