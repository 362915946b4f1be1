"""The node's part of a drain: move the hottest entries of a tier away, then let go of it.

    DRAINING in the map --> moving --all moved, or the deadline--> closing --> closed, DrainDone
                              (a tier that is sick is closed at once)

Closed tiers are neither read nor written until the map shows another generation, or in service with
the same one: a drain that was called off just as it ended. DrainDone is told again every now and
then until the map shows the tier out, so that a lost proposal does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiercluster.tiermap import TIERS, Admin

from .coldqueue import Job, Outcome
from .coldreads import ColdReads
from .effects import Effects
from .emptying import Emptying, EmptyingCold, EmptyingMemory
from .entry import COLD
from .failures import Failure
from .holdings import Holdings
from .messages import ColdClose, ColdOpen, DrainDone
from .moves import Moves
from .peerbook import PeerBook

DRAIN_BYTES_PER_S = 32 * 2**20
DRAIN_STEP_BYTES = 2**20  # at most, of one tick
DRAIN_S = 30.0
TELL_AGAIN_S = 2.0
FORGET_A_TICK = 2000  # entries that stayed behind


@dataclass(slots=True)
class _Drain:
    place: int
    generation: int
    work: Emptying | None
    deadline: float
    last: float
    is_closing: bool = False
    told_at: float | None = None
    left_behind: int = 0


class Drains:
    def __init__(
        self,
        holdings: Holdings,
        moves: Moves,
        reads: ColdReads,
        peers: PeerBook,
        effects: Effects,
    ) -> None:
        self._holdings = holdings
        self._standing = holdings.standing
        self._moves = moves
        self._reads = reads
        self._peers = peers
        self._effects = effects
        self._drains: dict[int, _Drain] = {}
        self._is_opening = False

    def use_map(self, now: float) -> None:
        """Begin the drains that the map asks for; drop those that it ended."""
        for place, standing in enumerate(self._standing.tiers):
            record = standing.record
            if record is None or record.admin is not Admin.DRAINING:
                self._drains.pop(place, None)
                continue
            known = self._drains.get(place)
            if known is None or known.generation != record.generation:
                self._drains[place] = self._begin(place, record.generation, now)

    def _begin(self, place: int, generation: int, now: float) -> _Drain:
        work = self._emptying(place) if self._standing.tiers[place].is_draining else None
        return _Drain(place, generation, work, now + DRAIN_S, now)

    def _emptying(self, place: int) -> Emptying:
        if place == COLD:
            return EmptyingCold(self._holdings, self._moves, self._reads, self._peers)
        below = self._moves.below
        return EmptyingMemory(self._holdings, self._moves, place, lambda: below(place))

    def tick(self, now: float) -> None:
        for drain in list(self._drains.values()):
            self._advance(drain, now)
        for standing, place in zip(self._standing.tiers, range(len(TIERS)), strict=True):
            if standing.closed_generation is not None and self._is_forgotten(place):
                self._reopen_if_called_off(place, now)

    def _advance(self, drain: _Drain, now: float) -> None:
        if drain.told_at is not None:
            if now >= drain.told_at + TELL_AGAIN_S:
                self._tell(drain, now)
        elif not drain.is_closing and self._is_moved(drain, now):
            self._close(drain, now)

    def _is_moved(self, drain: _Drain, now: float) -> bool:
        """Move a slice; whether there is no more to move, or no more time, or no way to."""
        if drain.work is None or now >= drain.deadline:
            return True
        if not self._standing.tiers[drain.place].is_draining:
            return True
        allowance = min((now - drain.last) * DRAIN_BYTES_PER_S, DRAIN_STEP_BYTES)
        drain.last = now
        drain.work.step(int(allowance), now)
        return drain.work.is_done

    # --- letting go -----------------------------------------------------------------------------

    def _close(self, drain: _Drain, now: float) -> None:
        drain.is_closing = True
        policies = (self._holdings.hot.policy, self._holdings.warm.policy)
        policy = self._holdings.cold.policy if drain.place == COLD else policies[drain.place]
        drain.left_behind = policy.count
        self._standing.close(drain.place)
        if drain.place == COLD:
            self._close_store(drain, now)
        else:
            self._tell(drain, now)

    def _close_store(self, drain: _Drain, now: float) -> None:
        """Emptied first: what it holds is invisible from now on, whenever the disk comes back."""

        def closed(outcome: Outcome, now: float) -> None:
            self._tell(drain, now)

        queue = self._holdings.queue
        queue.serve(Job(lambda token: ColdOpen(token, wipe=True), _ignore), now)
        queue.serve(Job(lambda token: ColdClose(token), closed), now)

    def _tell(self, drain: _Drain, now: float) -> None:
        drain.told_at = now
        moved = drain.work.moved if drain.work else 0
        self._effects.control(DrainDone((TIERS[drain.place],), moved, drain.left_behind))

    def _reopen_if_called_off(self, place: int, now: float) -> None:
        if not self._standing.is_called_off(place):
            return
        if place != COLD:
            self._standing.reopen(place)
        elif not self._is_opening:
            self._is_opening = True
            queue = self._holdings.queue
            queue.serve(Job(lambda token: ColdOpen(token, wipe=True), self._opened), now)

    def _opened(self, outcome: Outcome, now: float) -> None:
        self._is_opening = False
        if not self._standing.is_called_off(COLD):
            return  # another drain has begun meanwhile
        self._standing.reopen(COLD)
        if isinstance(outcome, Failure):
            self._standing.is_dead_now(COLD, outcome, now)

    def _is_forgotten(self, place: int) -> bool:
        """Whether nothing of a closed tier is left, after another slice."""
        holdings = self._holdings
        policy = holdings.cold.policy if place == COLD else holdings.memory[place].policy
        for _ in range(FORGET_A_TICK):
            victim = policy.victim()
            if victim is None:
                return True
            holdings.forget(victim)
        return False


def _ignore(outcome: Outcome, now: float) -> None:
    """A store that cannot be emptied is closed all the same; without a marker it is not trusted."""
