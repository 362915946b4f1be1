"""The cold worker: the one thread that touches the cold tier's disk.

Commands are carried out in the order in which they came; the writes of a batch share one
transaction and are answered once it is committed. An I/O error is an answer and never ends the
worker. A fault (and its clearing) takes effect at once, ahead of the commands that wait.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

import structlog

from .failures import Failure
from .inbox import Inbox
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
    ColdFault,
    ColdFound,
    ColdGet,
    ColdOpen,
    ColdOpened,
    ColdProbe,
    ColdPut,
    ColdStop,
)
from .tiers.cold import ColdStore
from .tiers.faults import FaultPlan, Faults

INBOX_LIMIT = 2048
BATCH = 128  # commands in one transaction: bounds how long an answer waits for its neighbours
CHECK_S = 0.5  # how often the directory is looked at
TELL_PATIENCE_S = 1.0  # how long an answer waits for room before it is dropped

log = structlog.get_logger(__name__)


class ColdWorker:
    """``tell`` gives an answer to the shard, False when there is no room.

    `run` is the thread's body; it ends with ColdStop. A ColdFailed with token UNASKED says that the
    store's directory is gone, seen while nobody asked.
    """

    def __init__(
        self,
        directory: Path,
        inbox: Inbox[ColdCommand],
        tell: Callable[[ColdAnswer], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inbox = inbox
        self._tell = tell
        self._clock = clock
        self._backlog: deque[ColdCommand] = deque()
        self._faults = Faults(self._hold_up, clock)
        self._store = ColdStore(directory, self._faults)
        self._written: list[tuple[int, float]] = []  # token and start of puts not yet committed
        self._gone: Failure | None = None
        self._next_check = 0.0
        self._is_running = True
        self._poll = select.poll()
        self._poll.register(inbox.fileno(), select.POLLIN)

    def run(self) -> None:
        """Works until ColdStop; its last word after anything unforeseen is ColdDied."""
        try:
            while self._is_running:
                self._take(CHECK_S)
                self._check_place()
                self._work()
        except Exception as error:
            log.exception("cold_worker_died")
            self._deliver(ColdDied(f"{type(error).__name__}: {error}"))
        finally:
            self._inbox.close()
            self._store.close()

    # --- taking commands ------------------------------------------------------------------------

    def _take(self, wait_s: float) -> None:
        """Moves what waits into the backlog; waits for it only if there is nothing to do."""
        if not self._backlog:
            self._poll.poll(wait_s * 1000)
        room = INBOX_LIMIT - len(self._backlog)
        for command in self._inbox.drain(room) if room > 0 else ():
            if isinstance(command, ColdFault):
                self._use_fault(command)
            else:
                self._backlog.append(command)

    def _use_fault(self, fault: ColdFault) -> None:
        try:
            plan = _plan_of(fault)
        except ValueError as error:
            log.warning("cold_fault_rejected", error=str(error))
            return
        self._faults.use(plan)
        log.warning("cold_fault", kind=fault.kind or "cleared", ms=fault.ms, rate=fault.rate,
                    for_ms=fault.for_ms)  # fmt: skip

    def _hold_up(self, seconds: float) -> None:
        """An injected delay; it ends early when another plan takes its place, or when its plan is
        over."""
        plan, until = self._faults.plan, time.monotonic() + seconds
        while self._faults.plan is plan and (left := until - time.monotonic()) > 0:
            # Not a poll on the inbox: commands that wait would keep it readable.
            time.sleep(min(left, 0.02))
            self._take(0.0)

    # --- carrying them out ----------------------------------------------------------------------

    def _work(self) -> None:
        for _ in range(min(BATCH, len(self._backlog))):
            self._carry_out(self._backlog.popleft())
        self._commit()

    def _carry_out(self, command: ColdCommand) -> None:
        started = self._clock()
        match command:
            case ColdGet():
                self._get(command, started)
            case ColdPut():
                self._put(command, started)
            case ColdDelete():
                self._settle(self._gone or self._store.delete(command.rows))
            case ColdProbe():
                self._commit()
                self._finish(command.token, self._store.probe(), started)
                self._next_check = 0.0
            case ColdOpen():
                self._commit()
                self._open(command, started)
            case ColdClose():
                self._commit()
                self._finish(command.token, self._store.close(command.marker), started)
            case ColdFault():
                self._use_fault(command)
            case ColdStop():
                self._is_running = False
            case _:
                assert_never(command)

    def _get(self, command: ColdGet, started: float) -> None:
        found = self._gone or self._store.get(command.key, command.version)
        took_s = self._clock() - started
        if isinstance(found, Failure):
            self._deliver(ColdFailed(command.token, found, took_s))
            self._settle(found)
        elif found is None:
            self._deliver(ColdAbsent(command.token, took_s))
        else:
            self._deliver(ColdFound(command.token, found[0], found[1], took_s))

    def _put(self, put: ColdPut, started: float) -> None:
        failure = self._gone or self._store.put(
            put.key, put.version, put.generation, put.flags, put.expires_wall, put.value
        )
        if failure is not None:
            self._deliver(ColdFailed(put.token, failure, self._clock() - started))
        else:
            self._written.append((put.token, started))
        self._settle(failure)

    def _settle(self, failure: Failure | None) -> None:
        """After a failure SQLite may have taken back the writes before it, too."""
        if failure is not None and not self._store.has_batch:
            self._answer_written(failure)

    def _commit(self) -> None:
        self._answer_written(self._store.commit())

    def _answer_written(self, failure: Failure | None) -> None:
        written, self._written = self._written, []
        for token, started in written:
            self._finish(token, failure, started)

    def _open(self, command: ColdOpen, started: float) -> None:
        opened = self._store.open(wipe=command.wipe)
        self._gone = None
        if isinstance(opened, Failure):
            self._finish(command.token, opened, started)
            return
        if opened.note:
            log.error("cold_store_damaged", path=str(self._store.path), note=opened.note)
        self._deliver(ColdOpened(command.token, opened.marker, opened.rows))

    def _finish(self, token: int, failure: Failure | None, started: float) -> None:
        took_s = self._clock() - started
        if failure is None:
            self._deliver(ColdDone(token, took_s))
        else:
            self._deliver(ColdFailed(token, failure, took_s))

    # --- the place ------------------------------------------------------------------------------

    def _check_place(self) -> None:
        """What is written to a directory that was unmounted or moved away would be lost."""
        now = self._clock()
        if now < self._next_check:
            return
        self._next_check = now + CHECK_S
        was_gone, self._gone = self._gone, self._store.check()
        if self._gone is not None and was_gone is None:
            log.error("cold_store_gone", error=self._gone.detail)
            self._deliver(ColdFailed(UNASKED, self._gone, 0.0))

    def _deliver(self, answer: ColdAnswer) -> None:
        """Waits for room a while: a dropped answer would look like a disk that hangs."""
        until = time.monotonic() + TELL_PATIENCE_S
        while not self._tell(answer) and time.monotonic() < until:
            time.sleep(0.001)


def _plan_of(fault: ColdFault) -> FaultPlan | None:
    """None for its end; ValueError for what is no fault."""
    if not fault.kind:
        return None
    return FaultPlan(fault.kind, fault.ms, fault.rate, fault.for_ms)
