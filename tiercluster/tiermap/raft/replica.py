"""The replica worker: one thread for the life of the process that runs this member's consensus.

Proposals and barriers come in through a bounded inbox and wake the loop; what happened goes out as
events. When the disk fails, or anything else that this member cannot vouch for, it leaves the
consensus (``Sick``), tries again with growing pauses, and says when it is back (``Healed``). The
node goes on without it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from pysyncobj.monotonic import monotonic

from .cut import NO_CUT, Cut
from .digests import DigestError
from .events import Applied, BarrierDone, Counted, Healed, ReplicaEvent, Sick, Standing
from .files import JournalError
from .machine import Machine
from .member import Member
from .settings import MAX_FRAME_BYTES, RaftKeys, ReplicaSettings
from .transport import ZmqWire

log = logging.getLogger(__name__)
S = TypeVar("S")

NOBODY = Standing(None, False, False, 0)
COUNTED_EACH_S = 1.0  # at most: who floods us must not flood our node


@dataclass(slots=True)
class _Barrier:
    """``key`` is what is committed; any attempt that is applied will do, as all were made after the
    barrier was asked for."""

    token: str
    key: bytes
    deadline: float
    next_try: float


class Replica(Generic[S]):
    """``deliver`` is called from the replica's thread and must only enqueue."""

    def __init__(
        self,
        settings: ReplicaSettings,
        machine: Machine[S],
        deliver: Callable[[ReplicaEvent[Any]], None],
    ) -> None:
        self._settings, self._machine, self._deliver = settings, machine, deliver
        self._lock = threading.Lock()
        self._proposals: deque[tuple[float, bytes]] = deque()
        self._asked: deque[str] = deque()
        self._is_taking = True
        self._stopping = threading.Event()
        self._new_keys: deque[RaftKeys] = deque(maxlen=1)  # the newest
        self._wire: ZmqWire | None = None
        self._cut = NO_CUT
        self._barriers: dict[bytes, _Barrier] = {}
        self._barrier_count = 0
        self._published: S = machine.initial
        self._standing = NOBODY
        self._counted_before = Counted()  # by members that had to be given up
        self._counted: Counted | None = None  # as told
        self._count_at = 0.0
        self._sick: str | None = None
        self._ticked_at = monotonic()
        self._thread = threading.Thread(
            target=self._run, name=f"replica-{settings.node_id}", daemon=True
        )

    # --- from any thread --------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def propose(self, frame: bytes) -> bool:
        """Enqueue a command; False when it was not taken (inbox full, member sick or stopped, frame
        too large). Taken is not committed: look at the applied state, and propose again."""
        if len(frame) > MAX_FRAME_BYTES:
            return False
        with self._lock:
            if not self._is_taking or len(self._proposals) >= self._settings.inbox_limit:
                return False
            self._proposals.append((monotonic(), frame))
        self._wake()
        return True

    def barrier(self, token: str) -> None:
        """Commit a no-op, then deliver BarrierDone; not ok after ``barrier_timeout_s``."""
        with self._lock:
            self._asked.append(token)
        self._wake()

    def cut_off(self, cut: Cut) -> None:
        """Have messages from and to these voters dropped, for a game day."""
        self._cut = cut

    def use_keys(self, keys: RaftKeys) -> None:
        """Others are known, and this member is known, by these from now on."""
        self._new_keys.append(keys)
        self._wake()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Leave the consensus and end the thread; waits for it at most so long."""
        self._stopping.set()
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    @property
    def stalled_s(self) -> float:
        """How long the loop has not come round, for a watchdog."""
        return float(monotonic() - self._ticked_at)

    def _wake(self) -> None:
        wire = self._wire
        if wire is not None:
            wire.wake()

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = self._settings.heal_first_s
        while not self._stopping.is_set():
            started = monotonic()
            try:
                self._take_part()
            except DigestError as error:
                self._fall_sick(str(error))
                self._set_aside()
            except JournalError as error:
                self._fall_sick(str(error))
            except Exception as error:  # out of voting, loudly, and tried again
                log.critical("the replica failed", exc_info=True)
                self._fall_sick(f"internal error: {error!r}")
            if monotonic() - started > self._settings.heal_max_s:
                pause_s = self._settings.heal_first_s
            self._rest(pause_s)
            pause_s = min(2 * pause_s, self._settings.heal_max_s)
        self._take_barriers()
        self._expire_barriers(all_of_them=True)

    def _take_keys(self) -> None:
        while self._new_keys:
            keys = self._new_keys.popleft()
            self._settings = replace(self._settings, keys=keys)
            if self._wire is not None:
                self._wire.use_keys(keys)

    def _take_part(self) -> None:
        self._take_keys()
        member: Member[S] = Member(
            self._settings,
            self._machine,
            self._open_wire,
            monotonic,
            session=time.time_ns(),
            was_sick=self._sick is not None,
        )
        try:
            member.consensus.addOnTickCallback(lambda: self._publish(member))
            while not self._stopping.is_set():
                self._take_keys()
                self._submit(member)
                if self._wire is not None:
                    self._wire.cut = self._cut
                member.tick(self._settings.tick_s)
                self._ticked_at = monotonic()
        finally:
            self._counted_before = self._count(member)
            self._publish_counted(self._counted_before)
            self._wire = None
            member.close()

    def _set_aside(self) -> None:
        """What differs from the others is kept for whoever looks into it, not used."""
        directory = self._settings.directory
        try:
            directory.rename(directory.with_name(f"{directory.name}.differs-{time.time_ns()}"))
        except OSError as error:
            log.error("cannot set %s aside: %s", directory, error)

    def _open_wire(self, settings: ReplicaSettings) -> ZmqWire:
        self._wire = ZmqWire(settings)
        return self._wire

    def _rest(self, pause_s: float) -> None:
        end = monotonic() + pause_s
        while not self._stopping.is_set() and monotonic() < end:
            self._stopping.wait(min(self._settings.barrier_retry_s, pause_s))
            self._ticked_at = monotonic()
            self._take_barriers()
            self._expire_barriers()

    # --- in ---------------------------------------------------------------------------------------

    def _submit(self, member: Member[S]) -> None:
        self._take_barriers()
        if member.can_propose:
            with self._lock:
                taken, self._proposals = self._proposals, deque()
            for _, frame in taken:
                member.propose(frame)
            self._try_barriers(member)
        else:
            self._drop_old_proposals()
        self._expire_barriers()

    def _drop_old_proposals(self) -> None:
        oldest = monotonic() - self._settings.proposal_ttl_s
        with self._lock:
            while self._proposals and self._proposals[0][0] < oldest:
                self._proposals.popleft()

    def _take_barriers(self) -> None:
        with self._lock:
            asked, self._asked = self._asked, deque()
        now = monotonic()
        for token in asked:
            self._barrier_count += 1
            key = f"{self._settings.node_id}/{time.time_ns()}/{self._barrier_count}".encode()
            deadline = now + self._settings.barrier_timeout_s
            self._barriers[key] = _Barrier(token, key, deadline, now)

    def _try_barriers(self, member: Member[S]) -> None:
        now = monotonic()
        for barrier in self._barriers.values():
            if now >= barrier.next_try:
                barrier.next_try = now + self._settings.barrier_retry_s
                member.propose_barrier(barrier.key)

    def _expire_barriers(self, all_of_them: bool = False) -> None:
        now = monotonic()
        for key, barrier in list(self._barriers.items()):
            if all_of_them or now >= barrier.deadline:
                del self._barriers[key]
                self._deliver(BarrierDone(barrier.token, ok=False))

    # --- out --------------------------------------------------------------------------------------

    def _publish(self, member: Member[S]) -> None:
        """After entries were applied and before the loop waits."""
        if self._sick is not None and member.admission.may_vote:
            self._recover()
        self._publish_state(member.consensus.state)
        applied, member.consensus.barriers = member.consensus.barriers, []
        for key in applied:
            if barrier := self._barriers.pop(key, None):
                self._deliver(BarrierDone(barrier.token, ok=True))
        if monotonic() >= self._count_at:
            self._count_at = monotonic() + COUNTED_EACH_S
            self._publish_counted(self._count(member))
        consensus = member.consensus
        self._publish_standing(
            Standing(
                consensus.leader_id,
                consensus.is_leader,
                consensus.has_quorum(monotonic()),
                consensus.raftCurrentTerm,
                member.links.level,
            )
        )

    def _publish_state(self, state: S) -> None:
        """H16: whatever way the state came. After a restart of the member it may be older than what
        was published; that is not news."""
        version = self._machine.version
        if state is not self._published and version(state) >= version(self._published):
            self._published = state
            self._deliver(Applied(state))

    def _publish_standing(self, standing: Standing) -> None:
        if standing != self._standing:
            self._standing = standing
            self._deliver(standing)

    def _count(self, member: Member[S]) -> Counted:
        consensus, wire = member.consensus, self._wire
        return self._counted_before + Counted(
            wire.denied if wire is not None else 0,
            member.links.refused,
            consensus.digests.mismatches,
            consensus.failed_frames,
        )

    def _publish_counted(self, counted: Counted) -> None:
        if counted != self._counted:
            self._counted = counted
            self._deliver(counted)

    # --- sick and healed --------------------------------------------------------------------------

    def _fall_sick(self, reason: str) -> None:
        with self._lock:
            self._is_taking = False
            self._proposals.clear()
        if reason != self._sick:
            log.error("out of voting: %s", reason)
            self._sick = reason
            self._deliver(Sick(reason))
        self._publish_standing(Standing(None, False, False, self._standing.term))

    def _recover(self) -> None:
        log.warning("takes part again; it was: %s", self._sick)
        self._sick = None
        with self._lock:
            self._is_taking = True
        self._deliver(Healed())
