"""ZMTP 3 by hand (RFC 23), for what no library would send: the peer of a ROUTER, without keys."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable

GREETING = b"\xff" + b"\0" * 8 + b"\x7f\x03\x00NULL" + b"\0" * 48
MORE, LONG, COMMAND = 1, 2, 4


def frame(data: bytes, *, more: bool = False, command: bool = False) -> bytes:
    flags = (MORE if more else 0) | (COMMAND if command else 0)
    if len(data) < 256:
        return bytes((flags, len(data))) + data
    return bytes((flags | LONG,)) + len(data).to_bytes(8, "big") + data


def _property(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value


def ready(identity: bytes = b"") -> bytes:
    """The command that ends the handshake of a DEALER."""
    properties = _property(b"Socket-Type", b"DEALER") + _property(b"Identity", identity)
    return frame(b"\x05READY" + properties, command=True)


def connect(port: int, identity: bytes = b"") -> socket.socket:
    """A connection that has shaken hands: frames may follow."""
    connection = socket.create_connection(("127.0.0.1", port), 2)
    connection.sendall(GREETING + ready(identity))
    said = b""
    while len(said) < len(GREETING) + 2 or len(said) < len(GREETING) + 2 + said[len(GREETING) + 1]:
        piece = connection.recv(4096)  # before its own READY is out it takes no frames
        assert piece, "hung up during the handshake"
        said += piece
    return connection


def message(frames: Iterable[bytes]) -> bytes:
    parts = list(frames)
    return b"".join(frame(part, more=at < len(parts) - 1) for at, part in enumerate(parts))


def flood(connection: socket.socket, piece: bytes, seconds: float) -> tuple[int, bool]:
    """Send it again and again, at most so long: the bytes sent, and whether it was hung up on."""
    sent, until = 0, time.monotonic() + seconds
    connection.settimeout(0.2)
    while time.monotonic() < until:
        try:
            sent += connection.send(piece)
        except TimeoutError:
            if is_at_end(connection):
                return sent, True
        except OSError:
            return sent, True
    return sent, False


def is_at_end(connection: socket.socket) -> bool:
    """Whether the other side has closed it; what it has said is thrown away."""
    try:
        while connection.recv(65536, socket.MSG_DONTWAIT):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
