"""What the real client session takes for ZeroMQ: sockets over the simulated network."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Any

import zmq

from .network import Connection, Host, Network

CLIENT_TIMEOUT_S = 0.3  # HEARTBEAT_TIMEOUT_MS of cluster/link.py
_AGAIN = zmq.Again()  # one for all: making it takes long
_EVENTS = {
    "up": zmq.EVENT_HANDSHAKE_SUCCEEDED,
    "lost": zmq.EVENT_DISCONNECTED,
    "failed": zmq.EVENT_CLOSED,
}


class FakeContext:
    """``wake`` is called whenever a socket has something to read."""

    def __init__(self, network: Network, host: Host, wake: Callable[[], None]) -> None:
        self.network, self.host, self.wake = network, host, wake
        self.monitored: dict[str, FakeDealer] = {}

    def socket(self, kind: int) -> FakeSocket:
        return FakeDealer(self) if kind == zmq.DEALER else FakeMonitor(self)


class FakeSocket:
    def __init__(self, context: FakeContext) -> None:
        self._context = context
        self.waiting: deque[list[bytes]] = deque()
        self._rest: deque[bytes] = deque()  # frames of the message that is being received

    def setsockopt(self, option: int, value: object) -> None:
        pass

    def recv_multipart(self, flags: int = 0) -> list[bytes]:
        if not self.waiting:
            raise _AGAIN.with_traceback(None)
        return self.waiting.popleft()

    def recv(self, flags: int = 0) -> bytes:
        if not self._rest:
            self._rest.extend(self.recv_multipart(flags))
        return self._rest.popleft()

    def get(self, option: int) -> int:
        assert option == zmq.RCVMORE
        return len(self._rest)

    def close(self, linger: int = 0) -> None:
        self.waiting.clear()
        self._rest.clear()


class FakeDealer(FakeSocket):
    def __init__(self, context: FakeContext) -> None:
        super().__init__(context)
        self._connection: Connection | None = None
        self._begun: list[bytes] = []  # frames of the message that is being sent
        self.events: deque[list[bytes]] = deque()

    def monitor(self, name: str, events: int) -> None:
        self._context.monitored[name] = self

    def disable_monitor(self) -> None:
        pass

    def connect(self, url: str) -> None:
        address = url.removeprefix("tcp://")
        context = self._context
        self._connection = Connection(context.network, context.host, address, CLIENT_TIMEOUT_S,
                                      self._arrived, self._changed)  # fmt: skip

    def _arrived(self, message: Any) -> None:
        self.waiting.append(message)
        self._context.wake()

    def _changed(self, state: str) -> None:
        self.events.append([struct.pack("=hi", _EVENTS[state], 0), b""])
        self._context.wake()

    def send(self, frame: bytes, flags: int = 0) -> None:
        frames, self._begun = [*self._begun, frame], []
        if not flags & zmq.SNDMORE:
            self.send_multipart(frames, flags)
        elif self._connection is None or not self._connection.is_up:
            raise _AGAIN.with_traceback(None)
        else:
            self._begun = frames

    def send_multipart(self, frames: list[bytes], flags: int = 0) -> None:
        if self._connection is None or not self._connection.send(frames):
            raise _AGAIN.with_traceback(None)

    def close(self, linger: int = 0) -> None:
        super().close(linger)
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class FakeMonitor(FakeSocket):
    def connect(self, name: str) -> None:
        self.waiting = self._context.monitored.pop(name).events
