"""The disk of a node and the thread that owns it, without a disk: rows, faults, and time.

Behaves as `node/cold_worker.py` over `node/tiers/cold.py`: commands one after the other, a marker
only after a clean close, version-exact reads. The rows outlive the process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tiercluster.node.failures import Failure, FailureKind
from tiercluster.node.messages import (
    ColdAbsent,
    ColdAnswer,
    ColdClose,
    ColdCommand,
    ColdDelete,
    ColdDone,
    ColdFailed,
    ColdFault,
    ColdFound,
    ColdGet,
    ColdOpen,
    ColdOpened,
    ColdProbe,
    ColdPut,
    ColdRow,
    ColdStop,
)
from tiercluster.node.tiers.faults import FaultPlan

from .loop import Loop

INBOX_LIMIT = 2048
SERVICE_S = (0.00005, 0.0008)  # of one operation on a disk that is well

_KINDS = {"eio": FailureKind.IO_ERROR, "enospc": FailureKind.NO_SPACE}


@dataclass(slots=True)
class Disk:
    """What outlives the process. ``plan`` is the fault it has."""

    rows: dict[bytes, ColdPut] = field(default_factory=dict)
    marker: tuple[str, int] | None = None
    plan: FaultPlan | None = None


class ColdModel:
    """``tell`` takes the answers; ``is_running`` says whether the process is not stopped."""

    def __init__(self, loop: Loop, disk: Disk, tell: Callable[[ColdAnswer], None],
                 is_running: Callable[[], bool], slow_close_s: float = 0.0) -> None:  # fmt: skip
        self._loop = loop
        self._slow_close_s = slow_close_s
        self._disk = disk
        self._tell = tell
        self._is_running = is_running
        self.waiting: deque[ColdCommand] = deque()
        self._is_busy = False
        self._is_open = False
        self._is_marker_true = True
        self._is_dead = False
        self._count = 0
        self.longest = 0

    def command(self, command: ColdCommand) -> bool:
        """False if the inbox is full."""
        if len(self.waiting) >= INBOX_LIMIT or self._is_dead:
            return False
        if isinstance(command, ColdFault):
            kind = command.kind
            self._disk.plan = FaultPlan(kind, command.ms, command.rate) if kind else None
            return True
        self.waiting.append(command)
        self.longest = max(self.longest, len(self.waiting))
        self.resume()
        return True

    def die(self) -> None:
        self._is_dead = True
        self.waiting.clear()

    def resume(self) -> None:
        """Go on with what waits, if nothing is under way."""
        if self._is_busy or not self.waiting or self._is_dead or not self._is_running():
            return
        self._is_busy = True
        began = self._loop.now
        command = self.waiting.popleft()
        took_s = self._service_s()
        if self._slow_close_s and isinstance(command, ColdClose):
            took_s += self._loop.uniform(0.0, self._slow_close_s)
        self._loop.after(took_s, self._finish, command, began)

    def _service_s(self) -> float:
        took_s = self._loop.uniform(*SERVICE_S)
        plan = self._disk.plan
        if plan is not None and plan.delay_s and plan.hits(self._count):
            took_s += plan.delay_s
        return took_s

    def _finish(self, command: ColdCommand, began: float) -> None:
        if self._is_dead:
            return
        if not self._is_running():  # a stopped process does not go on; `resume` comes later
            self._is_busy = False
            self.waiting.appendleft(command)
            return
        answer = self._carry_out(command, self._loop.now - began)
        self._is_busy = False
        if answer is not None:
            self._tell(answer)
        self.resume()

    # --- operations -----------------------------------------------------------------------------

    def _carry_out(self, command: ColdCommand, took_s: float) -> ColdAnswer | None:
        match command:
            case ColdPut():
                return self._put(command, took_s)
            case ColdGet():
                return self._get(command, took_s)
            case ColdDelete(rows):
                return self._delete(rows)
            case ColdProbe(token):
                return self._probe(token, took_s)
            case ColdOpen(token, wipe):
                return self._open(token, wipe, took_s)
            case ColdClose(token, marker):
                return self._close(token, marker, took_s)
            case ColdFault() | ColdStop():
                return None

    def _failure(self, *, writes: bool, reads: bool = False) -> Failure | None:
        """What the disk says to the next I/O."""
        plan = self._disk.plan
        if plan is None:
            return None
        is_hit = plan.hits(self._count)
        self._count += 1
        if not is_hit:
            return None
        if plan.kind == "corrupt":
            return Failure(FailureKind.CORRUPT, "injected") if reads else None
        kind = _KINDS.get(plan.kind)
        return Failure(kind, "injected") if kind and (writes or plan.kind == "eio") else None

    def _closed(self) -> Failure | None:
        return None if self._is_open else Failure(FailureKind.GONE, "the store is closed")

    def _done(self, token: int, failure: Failure | None, took_s: float) -> ColdAnswer:
        failure = failure or self._closed()
        return ColdFailed(token, failure, took_s) if failure else ColdDone(token, took_s)

    def _probe(self, token: int, took_s: float) -> ColdAnswer:
        """Opens a store that was closed; what stands there is this store's, so it is kept."""
        failure = self._failure(writes=True, reads=True)
        if failure is None and not self._is_open:
            self._is_open, self._is_marker_true, self._disk.marker = True, False, None
        return self._done(token, failure, took_s)

    def _put(self, put: ColdPut, took_s: float) -> ColdAnswer:
        failure = self._failure(writes=True) or self._closed()
        if failure is None:
            self._disk.rows[put.key] = put
        else:
            self._is_marker_true = False
        return self._done(put.token, failure, took_s)

    def _get(self, get: ColdGet, took_s: float) -> ColdAnswer:
        failure = self._closed()
        row = self._disk.rows.get(get.key)
        is_there = row is not None and row.version == get.version
        failure = failure or self._failure(writes=False, reads=is_there)
        if failure is not None:
            return ColdFailed(get.token, failure, took_s)
        if row is None or not is_there:
            return ColdAbsent(get.token, took_s)
        return ColdFound(get.token, row.value, row.flags, took_s)

    def _delete(self, rows: tuple[tuple[bytes, int], ...]) -> None:
        if self._failure(writes=True) or not self._is_open:
            self._is_marker_true = False
            return
        for key, version in rows:
            row = self._disk.rows.get(key)
            if row is not None and row.version == version:
                del self._disk.rows[key]

    def _open(self, token: int, wipe: bool, took_s: float) -> ColdAnswer:
        failure = self._failure(writes=True)
        if failure is not None:
            self._is_open = False
            return ColdFailed(token, failure, took_s)
        disk = self._disk
        marker, disk.marker = disk.marker, None
        self._is_open = self._is_marker_true = True
        if wipe or marker is None:
            disk.rows.clear()
            return ColdOpened(token, None, ())
        rows = tuple(
            ColdRow(r.key, r.version, r.flags, r.expires_wall, len(r.value))
            for r in disk.rows.values()
        )
        return ColdOpened(token, marker, rows)

    def _close(self, token: int, marker: tuple[str, int] | None, took_s: float) -> ColdAnswer:
        failure = self._failure(writes=True) if self._is_open else None
        if self._is_open and marker is not None and failure is None and self._is_marker_true:
            self._disk.marker = marker
        self._is_open = False
        return ColdFailed(token, failure, took_s) if failure else ColdDone(token, took_s)
