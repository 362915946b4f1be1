"""A listening socket that can show another key.

A key that is set on a bound socket is used by later binds only, so the port is given up and taken
again: connections are lost and made anew within milliseconds.
"""

from __future__ import annotations

import contextlib
import time

import zmq

AGAIN_S = 0.002
PATIENCE_S = 0.1  # ZeroMQ's own thread gives the port up, when it comes to it


class Inlet:
    """The key that a bound CURVE server socket shows. Not for use by two threads."""

    def __init__(self, socket: zmq.Socket[bytes], address: str) -> None:
        self._socket, self._address = socket, f"tcp://{address}"
        self._endpoint: str | None = None  # while it is bound
        self._is_missed = False

    def bind(self) -> None:
        """zmq.ZMQError if the port is not to be had."""
        self._socket.bind(self._address)
        self._endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._is_missed = False

    def show(self, public: bytes, secret: bytes) -> None:
        """From now on this pair. Who is connected has to connect again, and to know it."""
        self._socket.curve_publickey, self._socket.curve_secretkey = public, secret
        if self._endpoint is not None:
            self._socket.unbind(self._endpoint)
            self._endpoint, self._is_missed = None, True
        until = time.monotonic() + PATIENCE_S
        self.mend()
        while self._is_missed and time.monotonic() < until:
            time.sleep(AGAIN_S)
            self.mend()

    def mend(self) -> None:
        """Take the port if `show` did not get it back; to be called now and then."""
        if self._is_missed:
            with contextlib.suppress(zmq.ZMQError):
                self.bind()
