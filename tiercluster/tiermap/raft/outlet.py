"""A DEALER to one address that may show one of several keys, as it does while keys are rotated.

While more than one key is possible, one socket for each tries; the first that is let in takes the
place of the one in use, which is closed a moment later. So keys change without a gap: until a new
connection carries, the old one does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import zmq

Socket = zmq.Socket[bytes]
Open = Callable[[bytes | None], Socket]

LEAVING_S = 1.0  # what is under way by the old connection may still arrive


def _nothing(socket: Socket) -> None:
    pass


class Outlet:
    """``open_`` makes a socket that is connecting and expects this key (None: no keys). It must be
    IMMEDIATE, so that only a connection takes a message. ``opened`` and ``closing`` tell the one
    who polls."""

    def __init__(
        self,
        open_: Open,
        keys: Sequence[bytes | None],
        opened: Callable[[Socket], None] = _nothing,
        closing: Callable[[Socket], None] = _nothing,
    ) -> None:
        self._open, self._keys = open_, tuple(keys)
        self._opened, self._closing = opened, closing
        self._key = self._keys[0]
        self._socket = self._make(self._key)
        self._trying: dict[bytes | None, Socket] = {}
        self._leaving: Socket | None = None
        self._leaves_at = 0.0

    def renew(self, open_: Open, keys: Sequence[bytes | None]) -> None:
        """From now on connections are made so; the one in use stays until a new one carries."""
        self._open, self._keys = open_, tuple(keys)
        self._give_up_trying()
        self._trying = {key: self._make(key) for key in self._keys}

    def send(self, frames: Sequence[bytes]) -> bool:
        """False if no connection takes it now; nothing is queued then."""
        if self._leaving is not None and time.monotonic() >= self._leaves_at:
            self._let_leave()
        for key, socket in self._trying.items():
            if _sent(socket, frames):
                self._use(key)
                return True
        if _sent(self._socket, frames):
            return True
        if not self._trying and len(self._keys) > 1:
            self._trying = {k: self._make(k) for k in self._keys if k != self._key}
        return False

    def close(self) -> None:
        self._give_up_trying()
        self._let_leave()
        self._close(self._socket)

    def _use(self, key: bytes | None) -> None:
        self._let_leave()
        self._leaving, self._leaves_at = self._socket, time.monotonic() + LEAVING_S
        self._key, self._socket = key, self._trying.pop(key)
        self._give_up_trying()

    def _give_up_trying(self) -> None:
        while self._trying:
            self._close(self._trying.popitem()[1])

    def _let_leave(self) -> None:
        leaving, self._leaving = self._leaving, None
        if leaving is not None:
            self._close(leaving)

    def _make(self, key: bytes | None) -> Socket:
        socket = self._open(key)
        self._opened(socket)
        return socket

    def _close(self, socket: Socket) -> None:
        self._closing(socket)
        socket.close(0)


def _sent(socket: Socket, frames: Sequence[bytes]) -> bool:
    try:
        socket.send_multipart(frames, zmq.DONTWAIT)
    except zmq.Again:
        return False
    return True
