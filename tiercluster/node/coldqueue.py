"""The shard's side of the cold worker: bounded queues, deadlines, and rows to be deleted.

    asked --a place in the window is free--> in flight --answered, or its deadline--> finished
       |                                           |                          ^
       |                                           +--to be tried again--> paused
       \\--waited too long, or the tier is out--> shed (never counts against the tier)

What is tried again (`recovery` says what) has its command made anew: what nobody wants any more is
not asked twice, and a value is never written over a newer one.

The deadline of an operation runs from the moment it is in flight; the window keeps that close to
the moment the worker begins it, so that a long queue is not taken for a slow disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .effects import Effects
from .entry import COLD
from .failures import Failure, FailureKind
from .messages import (
    UNASKED,
    ColdAbsent,
    ColdAnswer,
    ColdClose,
    ColdCommand,
    ColdDelete,
    ColdDied,
    ColdDone,
    ColdFailed,
    ColdFound,
    ColdGet,
    ColdOpened,
)
from .pace import Pace, PaceMeter
from .recovery import RETRY_PAUSE_S, ShrinkTier, TryAgain
from .remedies import Remedies, Trial
from .standing import Standing

READ_WINDOW = 48  # operations in flight
WRITE_WINDOW = 16
WRITE_WINDOW_BYTES = 4 * 2**20  # in flight; one operation may be larger
MAX_WAITING = 4096  # operations of each kind that wait for the window
MAX_WAITING_BYTES = 64 * 2**20  # of values that wait to be written
WRITE_PATIENCE = 4  # a write may wait this many deadlines before it is shed
PATIENCE = (2, WRITE_PATIENCE)  # no try of a read, of a write begins after so many deadlines
MAX_PAUSED = 256  # operations that wait to be tried again
SERVICE_DEADLINE_S = 5.0  # opening, wiping, closing
DELETE_BATCH = 512  # rows
MAX_DOOMED = 200_000  # rows that wait to be deleted

SHED = Failure(FailureKind.SHED, "too much cold work is waiting")
_OUT = Failure(FailureKind.SHED, "the cold tier is out of service")
_LATE = Failure(FailureKind.TIMEOUT, "the cold store missed the deadline of an operation")

Outcome = ColdDone | ColdFound | ColdAbsent | ColdOpened | Failure | None


@dataclass(slots=True)
class Job:
    """``command`` makes the command when its turn comes, None if it is no longer wanted (then
    ``finish`` gets None; a write that failed before gets that failure, as its row may be there).
    ``finish`` is called exactly once. ``deadline`` of who asked, in monotonic seconds, 0: none."""

    command: Callable[[int], ColdCommand | None]
    finish: Callable[[Outcome, float], None]
    size: int = 0
    deadline: float = 0.0
    lane: int = 0
    asked_at: float = 0.0
    due: float = 0.0
    epoch: int | None = None
    shrinks: int = 0
    retries: int = 0
    failure: Failure | None = None  # of the last try
    resume_at: float = 0.0


READ, WRITE, SERVICE = 0, 1, 2  # lanes


class ColdQueue:
    """``sheds`` counts operations that did not reach the worker."""

    def __init__(
        self,
        deadline_s: float,
        standing: Standing,
        remedies: Remedies,
        effects: Effects,
        pace_window_s: float = 4.0,
    ) -> None:
        self._deadline_s = deadline_s
        self._standing = standing
        self._remedies = remedies
        self._effects = effects
        self._lanes: tuple[deque[Job], deque[Job]] = (deque(), deque())
        self._in_flight: dict[int, Job] = {}
        self._paused: list[Job] = []
        self._counts = [0, 0, 0]
        self._bytes_waiting = 0
        self._bytes_in_flight = 0
        self._token = 0  # 0 is the shell's
        self._doomed: dict[tuple[bytes, int], None] = {}
        self._meters = (PaceMeter(pace_window_s), PaceMeter(pace_window_s))
        self._is_deleting = False
        self.forgot_rows = False  # a row that should be deleted may be there for good
        self.sheds = 0

    # --- asking ---------------------------------------------------------------------------------

    def ask(self, job: Job, lane: int, now: float) -> bool:
        """Take a READ or WRITE job; False (and ``finish`` is not called) if there is no room."""
        waiting = self._lanes[lane]
        if len(waiting) >= MAX_WAITING or self._bytes_waiting + job.size > MAX_WAITING_BYTES:
            self.sheds += 1
            return False
        job.lane, job.asked_at = lane, now
        self._bytes_waiting += job.size
        waiting.append(job)
        self._fill(now)
        return True

    def serve(self, job: Job, now: float, deadline_s: float = SERVICE_DEADLINE_S) -> None:
        """A probe or a change of the store itself: sent at once, not counted by the breaker."""
        job.lane = SERVICE
        self._send(job, now, deadline_s)

    def close_store(self, now: float) -> None:
        """Nobody waits for it: a store that cannot be closed is gone, as its next probe finds."""
        self.serve(Job(ColdClose, lambda outcome, at: None), now)

    @property
    def is_idle(self) -> bool:
        waits = self._lanes[READ] or self._lanes[WRITE] or self._paused
        return not (self._in_flight or waits or self._doomed)

    def _has_window(self, lane: int) -> bool:
        if lane == READ:
            return self._counts[READ] < READ_WINDOW
        return (
            self._counts[WRITE] < WRITE_WINDOW and self._bytes_in_flight < WRITE_WINDOW_BYTES
        )  # fmt: skip

    def _fill(self, now: float) -> None:
        for lane in (READ, WRITE):
            waiting = self._lanes[lane]
            while waiting and self._has_window(lane):
                job = waiting.popleft()
                self._bytes_waiting -= job.size
                self._send(job, now, self._deadline_s)

    def _send(self, job: Job, now: float, deadline_s: float) -> None:
        self._token += 1
        command = job.command(self._token)
        if command is None:
            job.finish(job.failure if job.lane == WRITE else None, now)
            return
        job.due = now + deadline_s
        if job.lane != SERVICE:
            job.epoch = self._standing.tiers[COLD].breaker.epoch
            job.shrinks = self._remedies.begun(COLD)
            self._remedies.asked(now, is_retry=job.failure is not None)
        self._in_flight[self._token] = job
        self._counts[job.lane] += 1
        self._bytes_in_flight += job.size
        self._effects.cold(command)

    # --- answers --------------------------------------------------------------------------------

    def answered(self, answer: ColdAnswer, now: float) -> None:
        """An answer of the worker; one that came after its deadline changes nothing."""
        if isinstance(answer, ColdDied):
            self._died(answer.reason, now)
            return
        if isinstance(answer, ColdFailed) and answer.token == UNASKED:
            self._standing.is_dead_now(COLD, answer.failure, now)
            return
        outcome = answer.failure if isinstance(answer, ColdFailed) else answer
        self._end(answer.token, outcome, now)
        self._fill(now)

    def _end(self, token: int, outcome: Outcome, now: float) -> None:
        job = self._in_flight.pop(token, None)
        if job is None:
            return
        self._counts[job.lane] -= 1
        self._bytes_in_flight -= job.size
        if job.lane == SERVICE or self._is_final(job, outcome, now):
            job.finish(outcome, now)

    def _is_final(self, job: Job, outcome: Outcome, now: float) -> bool:
        """Count it; False if it is going to be tried again."""
        is_write = job.lane == WRITE
        self._measure(job.lane, outcome, now)
        if not isinstance(outcome, Failure):
            self._standing.succeeded(COLD, now, job.epoch, is_write=is_write)
            self._remedies.succeeded(COLD, is_write, now)
            return True
        trial = Trial(is_write, job.epoch, job.shrinks, job.retries, may_wait=True)
        match self._remedies.failed(COLD, outcome, now, trial):
            case TryAgain(pause_s):
                job.retries += 1
                return not self._pause(job, outcome, pause_s, now)
            case ShrinkTier():
                return not self._pause(job, outcome, RETRY_PAUSE_S, now)
            case _:
                return True

    def _measure(self, lane: int, outcome: Outcome, now: float) -> None:
        """What failed for another reason than its time says nothing about the pace."""
        match outcome:
            case ColdDone(_, took_s) | ColdFound(_, _, _, took_s) | ColdAbsent(_, took_s):
                self._meters[lane].record(took_s, now)
            case Failure(FailureKind.TIMEOUT):
                self._meters[lane].record(self._deadline_s, now)

    def _forget_paces(self) -> None:
        """What took it out must not be held against it when it is back."""
        for meter in self._meters:
            meter.forget()

    def paces(self, now: float) -> tuple[Pace, Pace]:
        """How long reads and writes have taken in the store, the wait before them apart."""
        read, write = self._meters
        return read.pace(now), write.pace(now)

    # --- trying again ---------------------------------------------------------------------------

    def _pause(self, job: Job, failure: Failure, pause_s: float, now: float) -> bool:
        """False if there is no room or no time for another try."""
        job.failure, job.resume_at = failure, now + pause_s
        if len(self._paused) >= MAX_PAUSED or job.resume_at >= self._until(job):
            return False
        self._paused.append(job)
        return True

    def _until(self, job: Job) -> float:
        patience_s = PATIENCE[job.lane] * self._deadline_s
        return min(job.asked_at + patience_s, job.deadline or float("inf"))

    def _resume(self, now: float) -> None:
        paused, self._paused = self._paused, []
        for job in paused:
            if now >= self._until(job):
                job.finish(job.failure, now)
            elif job.resume_at <= now and self._has_window(job.lane):
                self._send(job, now, self._deadline_s)
            else:
                self._paused.append(job)

    def _give_up_paused(self, now: float) -> None:
        paused, self._paused = self._paused, []
        for job in paused:
            job.finish(job.failure, now)

    def _died(self, reason: str, now: float) -> None:
        dead = Failure(FailureKind.DEAD, reason)
        self._standing.is_dead_now(COLD, dead, now)
        for token in list(self._in_flight):
            self._end(token, dead, now)

    def not_sent(self, command: ColdCommand, now: float) -> None:
        """The worker's inbox was full."""
        self.sheds += 1
        if isinstance(command, ColdDelete):
            for row in command.rows:
                self._doomed[row] = None
        token = getattr(command, "token", None)
        if token is not None:
            self._end(token, SHED, now)

    # --- time -----------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        late = [token for token, job in self._in_flight.items() if job.due <= now]
        for token in late:
            self._end(token, _LATE, now)
        if not self._standing.tiers[COLD].is_readable:
            self._shed_all(now)
            self._forget_paces()
        if self._standing.is_emergency:
            self._give_up_in_flight(now)
        self._shed_older(READ, now - self._deadline_s, now)
        self._shed_older(WRITE, now - WRITE_PATIENCE * self._deadline_s, now)
        self._flush_doomed(now)  # first: it makes the room that a write waits for
        self._resume(now)
        self._fill(now)

    def _give_up_in_flight(self, now: float) -> None:
        """No tier is left: nobody waits for one. What became of these is not known."""
        for token in [t for t, job in self._in_flight.items() if job.lane != SERVICE]:
            self._end(token, _OUT, now)

    def _shed_all(self, now: float) -> None:
        self._give_up_paused(now)
        for lane in (READ, WRITE):
            self._shed_older(lane, float("inf"), now)

    def _shed_older(self, lane: int, asked_before: float, now: float) -> None:
        waiting = self._lanes[lane]
        while waiting and waiting[0].asked_at < asked_before:
            job = waiting.popleft()
            self._bytes_waiting -= job.size
            self.sheds += 1
            job.finish(_OUT if asked_before > now else SHED, now)

    # --- rows to delete -------------------------------------------------------------------------

    def doom(self, key: bytes, version: int) -> None:
        """The row is garbage: delete it before long."""
        if self._standing.tiers[COLD].closed_generation is not None:
            return  # the drain emptied the store
        if len(self._doomed) >= MAX_DOOMED:
            self.forgot_rows = True
        else:
            self._doomed[key, version] = None

    def pardon(self, key: bytes, version: int) -> None:
        """The row is about to be written again."""
        self._doomed.pop((key, version), None)

    def _flush_doomed(self, now: float) -> None:
        standing = self._standing.tiers[COLD]
        if self._is_deleting or not self._doomed:
            return
        if standing.is_read_only or not standing.is_readable:
            return
        rows = tuple(row for row, _ in zip(self._doomed, range(DELETE_BATCH), strict=False))
        for row in rows:
            del self._doomed[row]
        self._is_deleting = True
        self._effects.cold(ColdDelete(rows))
        # A delete is not answered; the read of no entry behind it tells when the next may go.
        self.serve(Job(lambda token: ColdGet(token, b"", 0), self._deleted), now)

    def _deleted(self, outcome: Outcome, now: float) -> None:
        self._is_deleting = False
