"""What the shard core asks its shell to do: answer, tell the cold worker, a peer or control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tiercluster.cluster.wire import OLDEST_VERSION, Fields, Kind, Result, Status

from .messages import ColdCommand, ShardReport
from .watches import Watching


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asked, opaque to the core. ``deadline`` in monotonic seconds, 0: none; ``client`` only
    for writes, whose answers are remembered by it; ``keys`` are those that it is about;
    ``watching`` only for reads whose values are kept by the sender; ``under``: the version of the
    map under which a write was let through."""

    identity: bytes
    rid: int
    kind: Kind
    deadline: float = 0.0
    client: bytes | None = None
    keys: Sequence[bytes] = ()
    protocol: int = OLDEST_VERSION  # in which the answer is written
    watching: Watching | None = None
    under: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request for which `Shard.handle` gave None."""

    origin: Origin
    status: Status
    fields: Result
    body: bytes


@dataclass(frozen=True, slots=True)
class ToCold:
    command: ColdCommand


@dataclass(frozen=True, slots=True)
class ToPeer:
    """Ask a member; its reply, or None, comes back through `Shard.peer_answer` with the token."""

    node: str
    kind: Kind
    fields: Fields
    body: bytes
    token: int


@dataclass(frozen=True, slots=True)
class ToControl:
    report: ShardReport


Effect = Answer | ToCold | ToPeer | ToControl
Answered = tuple[Status, Result, bytes]


class Effects:
    """The effects not yet taken; each part of the core appends to it."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: list[Effect] = []

    def answer(self, origin: Origin, answered: Answered) -> None:
        self.waiting.append(Answer(origin, *answered))

    def cold(self, command: ColdCommand) -> None:
        self.waiting.append(ToCold(command))

    def control(self, report: ShardReport) -> None:
        self.waiting.append(ToControl(report))
