"""The control worker: the thread that carries out what the coordinator decides."""

from __future__ import annotations

import logging
import os
import random
import select
import threading
import time
from collections.abc import Callable
from typing import Any, assert_never

import structlog

from tiercluster.tiermap.raft import ReplicaEvent, Stalled

from .actions import (
    Action,
    AskBarrier,
    BecomeReady,
    ControlEvent,
    Finish,
    FollowFeed,
    FollowReplica,
    Log,
    ProposeFrame,
    Stop,
    TellShard,
)
from .consensus import Consensus
from .coordinator import Coordinator
from .inbox import Inbox
from .messages import CutOff, ShardOrder, UseKeys
from .settings import NodeSettings
from .view import NodeView

INBOX_LIMIT = 20_000
TICK_S = 0.02
STALLED_S = 1.0  # without a turn of the replica's loop, which waits 20 ms at most
LATE_LOOKS = 5

log = structlog.get_logger("tiercluster.control")


class ControlWorker:
    """``tell_shard`` and the consensus only enqueue; False: not taken. ``on_ready`` and ``on_end``
    are called once, from this thread."""

    def __init__(
        self,
        settings: NodeSettings,
        token: str,
        tell_shard: Callable[[ShardOrder], bool],
        make_consensus: Callable[[Callable[[ReplicaEvent[Any]], object]], Consensus],
        on_ready: Callable[[], None],
        on_end: Callable[[], object],
    ) -> None:
        self.inbox: Inbox[ControlEvent | CutOff | UseKeys] = Inbox(INBOX_LIMIT)
        self.ended_well = False
        self._tell_shard = tell_shard
        self.consensus = make_consensus(self.inbox.tell)
        self._on_ready = on_ready
        self._on_end = on_end
        self._coordinator = Coordinator(
            settings, token, _new_id, random.SystemRandom().random, time.monotonic()
        )
        self._view = self._coordinator.view()
        self._log = log.bind(node=settings.id)
        self._is_stopping = threading.Event()
        self._is_finished = False
        self._late_looks = 0  # at the replica, one after the other
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    # --- from any thread ------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin a clean stop; `on_end` follows."""
        self._is_stopping.set()
        self.inbox.tell(Stop())

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    @property
    def is_stopping(self) -> bool:
        return self._is_stopping.is_set()

    def view(self) -> NodeView:
        """The last published view of this node."""
        return self._view

    # --- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._loop()
        except Exception:
            log.exception("control_ended")
        finally:
            self.inbox.close()
            self._on_end()

    def _loop(self) -> None:
        poll = select.poll()
        poll.register(self.inbox.fileno(), select.POLLIN)
        while not self._is_finished:
            poll.poll(TICK_S * 1000)
            for event in self.inbox.drain():
                self._handle(event)
            self._watch_replica()
            self._carry_out(self._coordinator.tick(time.monotonic(), time.time()))
            self._view = self._coordinator.view()

    def _watch_replica(self) -> None:
        """Its thread hangs when its disk does, and cannot say so itself. One late look says
        nothing: the whole process may have been stopped."""
        was_stalled = self._late_looks >= LATE_LOOKS
        is_late = self.consensus.stalled_s > STALLED_S
        self._late_looks = self._late_looks + 1 if is_late else 0
        if (is_stalled := self._late_looks >= LATE_LOOKS) != was_stalled:
            self._handle(Stalled(is_stalled))

    def _handle(self, event: ControlEvent | CutOff | UseKeys) -> None:
        match event:
            case CutOff(cut):
                self.consensus.cut_off(cut)
            case UseKeys(keys):
                self.consensus.use_keys(keys)
            case _:
                self._carry_out(self._coordinator.handle(event, time.monotonic(), time.time()))

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            self._carry_out_one(action)

    def _carry_out_one(self, action: Action) -> None:
        match action:
            case TellShard(order):
                if not self._tell_shard(order):
                    self._coordinator.order_lost()
                    self._log.error("shard_inbox_full", order=type(order).__name__)
            case ProposeFrame(frame):
                # Not taken is like lost: the coordinator proposes again.
                self.consensus.propose(frame)
            case AskBarrier(token):
                self.consensus.barrier(token)
            case FollowFeed(state, first):
                self.consensus.follow_feed(state, first)
            case FollowReplica():
                self.consensus.follow_replica()
            case BecomeReady():
                self._on_ready()
            case Finish(ok):
                self.ended_well = ok
                self._is_finished = True
            case Log(level, event, facts):
                self._log.log(logging.getLevelName(level.upper()), event, **dict(facts))
            case _:
                assert_never(action)


def _new_id() -> str:
    return os.urandom(16).hex()
