"""Connections that send without end: which one is to be hung up on, and when. Pure.

ZeroMQ limits a frame, not a message: of one with frames without end its thread keeps all, and who
reads the socket never sees any. So what each connection has received since its last whole message
is counted from outside.

    CALM --watch_bytes received--> WATCHED --message_bytes received, or memory grows--> hung up
      ^-----a whole message--------------'

Whole messages that wait to be read are no flood. So only what was received before a look counts,
after which the reader found no whole message of this connection (`checked`).

An empty frame is two bytes on the wire and sixty-four in memory; hence the second limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

GROWTH_BYTES = 64 * 2**20  # of the process, that a watched connection may be guilty of
GROWTH_FACTOR = 6  # against all that was received meanwhile


@dataclass(frozen=True, slots=True)
class Limits:
    """``message_bytes``: what no message exceeds, with room for what its frames cost on the wire;
    ``watch_bytes``: received without a whole message, after which a connection is watched."""

    connections: int
    watch_bytes: int
    message_bytes: int


@dataclass(slots=True)
class _Connection:
    received: int = 0  # in all
    whole: int = 0  # of it, known to be whole messages
    watched: tuple[int, int] | None = None  # memory, and received by all, when it began
    pending: int = 0  # received since the last whole message, at the last look
    unfinished: int = 0  # of one message, as the reader has confirmed


@dataclass(slots=True)
class Floods:
    """A connection is named by its descriptor."""

    limits: Limits
    _open: dict[int, _Connection] = field(default_factory=dict)
    _gone_bytes: int = 0  # received by connections that are no more

    def accepted(self, fd: int) -> bool:
        """False: it is one too many, hang up."""
        if fd not in self._open and len(self._open) >= self.limits.connections:
            return False
        self.gone(fd)
        self._open[fd] = _Connection()
        return True

    def gone(self, fd: int) -> None:
        connection = self._open.pop(fd, None)
        if connection is not None:
            self._gone_bytes += connection.received

    def heard(self, fd: int) -> None:
        """A whole message came."""
        connection = self._open.get(fd)
        if connection is not None:
            connection.whole, connection.watched = connection.received, None
            connection.pending = connection.unfinished = 0

    def checked(self) -> None:
        """Since the last look the reader has come to each connection's turn."""
        for connection in self._open.values():
            if connection.watched is not None:
                connection.unfinished = connection.pending

    @property
    def connections(self) -> int:
        return len(self._open)

    def descriptors(self) -> tuple[int, ...]:
        return tuple(self._open)

    def watched(self) -> frozenset[int]:
        return frozenset(fd for fd, c in self._open.items() if c.watched is not None)

    def look(self, received: Mapping[int, int], memory_bytes: int) -> tuple[int, ...]:
        """Whom to hang up on. ``received``: by each connection, in all."""
        for fd, count in received.items():
            if fd in self._open:
                self._open[fd].received = count
        total = self._gone_bytes + sum(c.received for c in self._open.values())
        return tuple(fd for fd, c in self._open.items() if self._is_flood(c, memory_bytes, total))

    def _is_flood(self, connection: _Connection, memory_bytes: int, total: int) -> bool:
        connection.pending = connection.received - connection.whole
        if connection.pending <= self.limits.watch_bytes:
            return False
        if connection.watched is None:
            connection.watched = memory_bytes, total
            return False
        grown, came = memory_bytes - connection.watched[0], total - connection.watched[1]
        is_bloated = grown > GROWTH_BYTES and grown > GROWTH_FACTOR * came
        is_endless = connection.unfinished > self.limits.message_bytes
        return is_endless or (is_bloated and connection.unfinished > self.limits.watch_bytes)
