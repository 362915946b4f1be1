"""Faults of the whole node, for game days: killed, frozen, cut off from other members.

All are over by themselves, and none is possible unless the node was started with --allow-faults.
This is a part of the shard's shell; the cores know nothing of it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Protocol

import structlog

from tiercluster.cluster.wire import (
    Ack,
    ColdDrop,
    ColdGet,
    ColdPut,
    Fields,
    NodeFault,
    Ping,
    Refusal,
    Result,
    Status,
)
from tiercluster.tiermap.raft import NO_CUT, Cut

from .freezing import freeze, is_freezable
from .messages import CutOff

MAX_NODE_FAULT_MS = 60_000.0
KILL_DELAY_S = 0.1  # for the answer to leave
KILLED = 128 + signal.SIGKILL

_NOT_ALLOWED = Status.REFUSED, Refusal("this node was started without --allow-faults")
_BUSY = Status.REFUSED, Refusal("another fault of this node is not over yet")
_FIRST_PROCESS = (
    Status.REFUSED,
    Refusal("this node is the first process of a container, which cannot be stopped from inside; "
            "start the container with an init (docker run --init)"),
)  # fmt: skip
_DONE = Status.OK, Ack()

log = structlog.get_logger("tiercluster.faults")


class Hands(Protocol):
    """What is done to the process; tests have others."""

    def kill(self) -> None: ...

    def freeze(self, seconds: float) -> None: ...

    def is_freezable(self) -> bool: ...


class OwnHands:
    def kill(self) -> None:
        """As `kill -9` does. The kernel spares the first process of a container: that one leaves
        as suddenly by itself."""
        os.kill(os.getpid(), signal.SIGKILL)
        os._exit(KILLED)

    def freeze(self, seconds: float) -> None:
        threading.Thread(target=freeze, args=(seconds,), name="freezer", daemon=True).start()

    def is_freezable(self) -> bool:
        return is_freezable()


class NodeFaults:
    """Owned by the shard's thread. ``tell_control`` carries a partition on to the consensus."""

    def __init__(
        self,
        is_allowed: bool,
        tell_control: Callable[[CutOff], object],
        hands: Hands | None = None,
    ) -> None:
        self._is_allowed = is_allowed
        self._tell_control = tell_control
        self._hands = hands or OwnHands()
        self._cut = NO_CUT
        self._busy_until = 0.0
        self._kill_at: float | None = None

    def answer(self, asked: NodeFault, now: float) -> tuple[Status, Result]:
        """Begins what is asked for."""
        if not self._is_allowed:
            return _NOT_ALLOWED
        refused = self._refusal(asked, now)
        if refused is not None:
            return refused
        log.warning(
            "node_fault", kind=asked.kind or "healed", for_ms=asked.for_ms, peers=asked.peers
        )
        until = now + asked.for_ms / 1000
        match asked.kind:
            case "kill":
                self._kill_at = now + KILL_DELAY_S
            case "freeze":
                self._busy_until = until
                self._hands.freeze(asked.for_ms / 1000)
            case _:
                self._use_cut(Cut(frozenset(asked.peers), until) if asked.kind else NO_CUT)
        return _DONE

    def _refusal(self, asked: NodeFault, now: float) -> tuple[Status, Result] | None:
        match asked.kind:
            case "" | "kill":
                return None
            case "freeze" | "partition" if not 0 < asked.for_ms <= MAX_NODE_FAULT_MS:
                text = f"{asked.kind} lasts more than 0 and at most {MAX_NODE_FAULT_MS / 1000:g} s"
                return Status.BAD_REQUEST, Refusal(text)
            case "freeze" if not self._hands.is_freezable():
                return _FIRST_PROCESS
            case "freeze" | "partition":
                return _BUSY if now < self._busy_until else None
            case _:
                text = f"no fault {asked.kind!r} of a node: one of kill, freeze, partition"
                return Status.BAD_REQUEST, Refusal(text)

    def _use_cut(self, cut: Cut) -> None:
        self._cut = cut
        self._tell_control(CutOff(cut))

    def tick(self, now: float) -> None:
        """Does what is due."""
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            self._hands.kill()

    def drops(self, member: str, now: float) -> bool:
        """Whether nothing passes between this node and that member now."""
        return self._cut.drops(member, now)

    def drops_request(self, fields: Fields, now: float) -> bool:
        """The same for what a member asks, told by what it says of itself."""
        if now >= self._cut.until:
            return False
        match fields:
            case Ping(node=node):
                return self.drops(node, now)
            case ColdPut(outage=outage) | ColdGet(outage=outage) | ColdDrop(outage=outage):
                return self.drops(outage.partition("/")[0], now)  # it is an outage of the asker's
            case _:
                return False
