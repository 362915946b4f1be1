"""The control thread of a simulated node: the real `Coordinator`, its actions carried out."""

from __future__ import annotations

from random import Random
from typing import Any, Protocol

from tiercluster.node.coordinator import (
    AskBarrier,
    BecomeReady,
    ControlEvent,
    Coordinator,
    Finish,
    Log,
    ProposeFrame,
    Stop,
    TellShard,
)
from tiercluster.node.messages import ShardOrder
from tiercluster.node.settings import NodeSettings


class Doors(Protocol):
    """Where its actions go."""

    def order(self, order: ShardOrder) -> None: ...

    def propose(self, frame: bytes) -> None: ...

    def barrier(self, token: str) -> None: ...

    def ended(self) -> None: ...

    def decided(self, event: str, facts: tuple[tuple[str, Any], ...]) -> None: ...


class ControlSeat:
    """One process's coordinator."""

    def __init__(self, settings: NodeSettings, token: str, doors: Doors, now: float) -> None:
        random = Random(token)
        self._doors = doors
        self._count = 0
        self._token = token
        self.coordinator = Coordinator(settings, token, self._new_id, random.random, now)

    def _new_id(self) -> str:
        self._count += 1
        return f"{self._token}:{self._count}"

    def stop(self, now: float, wall: float) -> None:
        """SIGTERM."""
        self.take(Stop(), now, wall)

    def take(self, event: ControlEvent, now: float, wall: float) -> None:
        self._carry_out(self.coordinator.handle(event, now, wall))

    def tick(self, now: float, wall: float) -> None:
        self._carry_out(self.coordinator.tick(now, wall))

    def _carry_out(self, actions: list[Any]) -> None:
        for action in actions:
            match action:
                case TellShard(order):
                    self._doors.order(order)
                case ProposeFrame(frame):
                    self._doors.propose(frame)
                case AskBarrier(token):
                    self._doors.barrier(token)
                case Finish():
                    self._doors.ended()
                    return
                case Log(_, event, facts):
                    self._doors.decided(event, facts)
                case BecomeReady():
                    pass
