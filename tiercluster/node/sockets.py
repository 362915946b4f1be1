"""How every ZeroMQ socket of a node is set up: small queues, heartbeats, size limits, keys."""

from __future__ import annotations

from dataclasses import dataclass

import zmq

from tiercluster.cluster.wire import MAX_BODY_BYTES, MAX_HEADER_BYTES

from .keyring import NodeKeys

QUEUE_MESSAGES = 256  # a connection, each way; past it the sender waits or is told
HEARTBEAT_MS = 100
HEARTBEAT_TIMEOUT_MS = 1000
HANDSHAKE_MS = 1000
BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Curve:
    """The key pair (Z85) of a socket. ``server`` is the cluster's public key, which every node
    shows; a server socket has the cluster's pair, the others the node's own."""

    public: bytes
    secret: bytes
    server: bytes


def server_curve(keys: NodeKeys | None) -> Curve | None:
    """What this node shows to those who connect."""
    server = keys.server if keys else None
    return Curve(server.public, server.secret, server.public) if server else None


def own_curve(keys: NodeKeys | None) -> Curve | None:
    """Who this node is when it connects to others."""
    return Curve(keys.own.public, keys.own.secret, keys.server.public) if keys else None


def tune(socket: zmq.Socket[bytes], curve: Curve | None, *, is_server: bool) -> None:
    """Limits on everything that can grow, and CURVE where keys were given."""
    socket.linger = 0
    socket.sndhwm = socket.rcvhwm = QUEUE_MESSAGES
    socket.maxmsgsize = max(MAX_BODY_BYTES, MAX_HEADER_BYTES)
    socket.heartbeat_ivl = HEARTBEAT_MS
    socket.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
    socket.handshake_ivl = HANDSHAKE_MS
    socket.backlog = BACKLOG
    if curve is None:
        return
    socket.curve_publickey = curve.public
    socket.curve_secretkey = curve.secret
    if is_server:
        socket.curve_server = True
    else:
        socket.curve_serverkey = curve.server
