"""What the coordinator is told, and what it wants done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tiercluster.tiermap import MapState
from tiercluster.tiermap.raft import ReplicaEvent

from .messages import ShardOrder, ShardReport


@dataclass(frozen=True, slots=True)
class Stop:
    """An operator or a signal wants a clean stop."""


@dataclass(frozen=True, slots=True)
class TellShard:
    order: ShardOrder


@dataclass(frozen=True, slots=True)
class ProposeFrame:
    """Propose an encoded command."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class AskBarrier:
    token: str


@dataclass(frozen=True, slots=True)
class FollowFeed:
    """The own replica is out, or the leader does not reach it: follow another member, from this
    state on. ``first``: the address to try first, if there is a choice."""

    state: MapState
    first: str = ""


@dataclass(frozen=True, slots=True)
class FollowReplica:
    """The own replica takes part again."""


@dataclass(frozen=True, slots=True)
class BecomeReady:
    """Say to the world that this node serves."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The end: stop the consensus, end the process. ``ok`` False if a worker failed."""

    ok: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Log:
    """One line for one decision; ``level`` as in logging."""

    level: str
    event: str
    facts: tuple[tuple[str, object], ...] = ()


Action = (
    TellShard | ProposeFrame | AskBarrier | FollowFeed | FollowReplica | BecomeReady | Finish | Log
)
ControlEvent = ShardReport | ReplicaEvent[Any] | Stop
