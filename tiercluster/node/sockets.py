"""How every ZeroMQ socket of a node is set up: queues, heartbeats, size limits, keys.

libzmq 4.3.5 ends the process ("Assertion failed: !_io_error") when a connection is lost whose queue
of received messages is full, and a heartbeat falls due or was received before the queue is read. So
that queue is long, and only who connects sends heartbeats; with them it says how long a silence of
its own means that it is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import zmq

from tiercluster.cluster.wire import MAX_BODY_BYTES, MAX_HEADER_BYTES

from .keyring import NodeKeys

SEND_MESSAGES = 256  # a connection; past it the sender is told
RECEIVE_MESSAGES = 10_000  # a connection; past it the sender waits
KEEPALIVE_S = 15  # of silence, after which TCP looks whether the other side is there
HEARTBEAT_MS = 100
HEARTBEAT_TIMEOUT_MS = 1000
SILENT_MS = 5000  # after which the other side may close the connection
HANDSHAKE_MS = 1000
BACKLOG = 512
RECONNECT_MS, RECONNECT_MAX_MS = 50, 500


@dataclass(frozen=True, slots=True)
class Curve:
    """The key pair (Z85) of a socket. ``servers`` are the cluster's public keys, of which every
    node shows one; a server socket has the cluster's pair, the others the node's own."""

    public: bytes
    secret: bytes = field(repr=False)
    servers: tuple[bytes, ...]


def server_curve(keys: NodeKeys | None) -> Curve | None:
    """What this node shows to those who connect."""
    server = keys.server if keys else None
    return Curve(server.public, server.secret, (server.public,)) if server else None


def own_curve(keys: NodeKeys | None) -> Curve | None:
    """Who this node is when it connects to others."""
    return Curve(keys.own.public, keys.own.secret, keys.servers) if keys else None


def servers_of(curve: Curve | None) -> tuple[bytes | None, ...]:
    """What another node may show."""
    return curve.servers if curve else (None,)


def tune(socket: zmq.Socket[bytes], curve: Curve | None, server: bytes | None = None) -> None:
    """Limits on everything that can grow, and CURVE where keys were given; ``server``: the key that
    the other side must show, None for a server socket."""
    socket.linger = 0
    socket.sndhwm, socket.rcvhwm = SEND_MESSAGES, RECEIVE_MESSAGES
    socket.maxmsgsize = max(MAX_BODY_BYTES, MAX_HEADER_BYTES)
    socket.tcp_keepalive, socket.tcp_keepalive_idle = 1, KEEPALIVE_S
    socket.handshake_ivl = HANDSHAKE_MS
    socket.backlog = BACKLOG
    if curve is None:
        return
    socket.curve_publickey = curve.public
    socket.curve_secretkey = curve.secret
    if server is None:
        socket.curve_server = True
    else:
        socket.curve_serverkey = server


def dealer(
    context: zmq.Context[zmq.Socket[bytes]], address: str, curve: Curve | None, server: bytes | None
) -> zmq.Socket[bytes]:
    """A socket that is connecting to a node which shows this key. What cannot be sent at once is
    not sent: it must not be delivered later."""
    socket = context.socket(zmq.DEALER)
    tune(socket, curve, server)
    socket.rcvhwm = 0  # what comes was asked for
    socket.heartbeat_ivl = HEARTBEAT_MS
    socket.heartbeat_timeout, socket.heartbeat_ttl = HEARTBEAT_TIMEOUT_MS, SILENT_MS
    socket.immediate = True
    socket.reconnect_ivl, socket.reconnect_ivl_max = RECONNECT_MS, RECONNECT_MAX_MS
    socket.connect(f"tcp://{address}")
    return socket
