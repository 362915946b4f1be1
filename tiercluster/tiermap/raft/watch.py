"""Looks at the connections of a listening socket from outside, and hangs up on floods.

The socket's monitor tells who came and went, the system how much each has received (Linux only;
elsewhere just the number of connections is limited).
"""

from __future__ import annotations

import contextlib
import os
import socket as os_socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq
from zmq.utils.monitor import parse_monitor_message

from .floods import Floods, Limits

LOOK_S = 0.1
_WATCHED = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
_RECEIVED = struct.Struct("=Q")
_RECEIVED_AT = 128  # tcpi_bytes_received in struct tcp_info, since Linux 4.1
_TCP_INFO_BYTES = 192
_STATM = Path("/proc/self/statm")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Watch:
    """One thread's. ``hung_up`` counts connections that were ended."""

    def __init__(self, socket: zmq.Socket[bytes], limits: Limits) -> None:
        """Before the socket is bound."""
        self._floods = Floods(limits)
        self.hung_up = 0
        name = f"inproc://watch-{os.urandom(8).hex()}"
        socket.monitor(name, _WATCHED)
        self.monitor: zmq.Socket[bytes] = socket.context.socket(zmq.PAIR)
        self.monitor.linger = 0
        self.monitor.rcvhwm = 0  # a full monitor would stop the thread that serves all sockets
        self.monitor.connect(name)

    def heard(self, fd: int) -> None:
        """A whole message came by this connection."""
        self._floods.heard(fd)

    def checked(self) -> None:
        """Since the last look the reader has come to each connection's turn."""
        self._floods.checked()

    @property
    def connections(self) -> int:
        return self._floods.connections

    @property
    def watched(self) -> frozenset[int]:
        """Of which the next whole message is to be told."""
        return self._floods.watched()

    def read_monitor(self) -> None:
        """Take who came and went; who is one too many goes at once."""
        while True:
            try:
                event = parse_monitor_message(self.monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            fd = int(event["value"])
            if event["event"] != zmq.EVENT_ACCEPTED:
                self._floods.gone(fd)
            elif not self._floods.accepted(fd):
                self._end(fd)

    def look(self) -> None:
        """To be called every LOOK_S."""
        self.read_monitor()
        received = {fd: _received(fd) for fd in self._floods.descriptors()}
        for fd in self._floods.look(received, _memory_bytes()):
            self._floods.gone(fd)
            self._end(fd)

    def close(self) -> None:
        self.monitor.close(0)

    def _end(self, fd: int) -> None:
        self.hung_up += 1
        shut(fd)


@contextmanager
def _borrowed(fd: int) -> Iterator[os_socket.socket]:
    """A connection of ZeroMQ's by its descriptor, which stays ZeroMQ's to close."""
    connection = os_socket.socket(fileno=fd)
    try:
        yield connection
    finally:
        connection.detach()


def shut(fd: int) -> None:
    """End a connection. What ZeroMQ does not offer the system does: its thread sees the end of the
    stream. The descriptor may stand for a newer connection by now; that one connects again."""
    with contextlib.suppress(OSError), _borrowed(fd) as connection:  # it may have gone already
        connection.shutdown(os_socket.SHUT_RDWR)


def hang_up(frame: zmq.Frame) -> None:
    """End the connection by which this frame came."""
    shut(source_of(frame))


def source_of(frame: zmq.Frame) -> int:
    """The descriptor of the connection by which this frame came; -1 if it came by none."""
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1


def _received(fd: int) -> int:
    """Bytes that came by a connection; 0 where the system does not tell."""
    try:
        with _borrowed(fd) as connection:
            info = connection.getsockopt(os_socket.IPPROTO_TCP, os_socket.TCP_INFO, _TCP_INFO_BYTES)
        return int(_RECEIVED.unpack_from(info, _RECEIVED_AT)[0])
    except (OSError, AttributeError, struct.error):
        return 0


def _memory_bytes() -> int:
    """What this process has in memory; 0 where the system does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
