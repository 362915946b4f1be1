"""The wire between members: ZeroMQ, one DEALER to hear everybody, one DEALER to each peer.

With keys every connection is CURVE, only the peers' keys are let in, and the sender of a message is
the peer whose key the connection has proven. Without keys (loopback only) the sender is whom the
connection's routing id names. Frames are limited before they are read, and handed on as bytes.

A ROUTER would not do to hear: of two connections of one name it refuses one, or hands over. Then
libzmq 4.3.5 never reads the older one again, does not see its end if something was still to be
read, and keeps its descriptor and 33 KiB until the socket is closed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable

import zmq
from zmq.utils import z85

from .cut import NO_CUT
from .files import JournalError
from .floods import Limits
from .inlet import Inlet
from .outlet import Open, Outlet
from .settings import MAX_MESSAGE_BYTES, RaftKeys, ReplicaSettings
from .watch import LOOK_S, Watch, hang_up, source_of

log = logging.getLogger(__name__)

MAX_QUEUED = 1000  # messages to or from one peer; beyond it they are lost, which Raft can take
MAX_DRAINED = 2000  # messages in one go, so that a flood does not stop the ticks
RECONNECT_MS, RECONNECT_MAX_MS = 50, 500
# A partition leaves connections that TCP takes long to give up; this finds them dead.
HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS = 500, 2000
HANDSHAKE_MS = 1000
MAX_UNREAD = 10_000  # messages of one peer
MAX_UNREAD_BYTES = 64 * 1024
# Of five voters, while they connect anew, and of strangers for the time of a handshake.
LIMITS = Limits(connections=256, watch_bytes=2**20, message_bytes=2 * MAX_MESSAGE_BYTES)
ZAP_VERSION, ZAP_OK, ZAP_DENIED = b"1.0", b"200", b"400"


class ZmqWire:
    """One thread owns it; others may only call ``wake``. JournalError if it cannot listen."""

    def __init__(self, settings: ReplicaSettings) -> None:
        self.deliver: Callable[[str, bytes], None] = lambda sender, data: None
        self.cut = NO_CUT  # set by the owner; what it drops is lost as in a network
        self.denied = 0
        self._look_at = 0.0
        self._node_id = settings.node_id
        self._peers = dict(settings.peers)
        self._keys = settings.keys
        self._by_key = _by_key(settings.keys)
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waker, False)
        self._context = zmq.Context()
        try:
            self._zap = self._open_zap() if settings.keys else None
            self._inlet = self._open_inlet()
            self._watch = Watch(self._inlet, LIMITS)
            self._port = Inlet(self._inlet, settings.raft_address)
            self._port.bind()
            self._outlets = {
                peer: Outlet(self._opener(address), self._keys_of(peer))
                for peer, address in settings.peers
            }
        except zmq.ZMQError as error:
            self.close()
            raise JournalError(f"cannot listen on {settings.raft_address}: {error}") from error
        self._poller = zmq.Poller()
        for source in (self._inlet, self._zap, self._woken, self._watch.monitor):
            if source is not None:
                self._poller.register(source, zmq.POLLIN)

    def send(self, peer: str, data: bytes) -> bool:
        if self.cut.drops(peer, time.monotonic()):
            return True
        return self._outlets[peer].send([data])

    def use_keys(self, keys: RaftKeys) -> None:
        """Let in exactly these from now on, and show one's own."""
        shown, self._keys = self._keys, keys
        self._by_key = _by_key(keys)
        if shown is not None and shown.public != keys.public:
            self._port.show(keys.public, keys.secret)
        for peer, address in self._peers.items():
            self._outlets[peer].renew(self._opener(address), self._keys_of(peer))

    def poll(self, timeout_s: float) -> None:
        """Wait for something, at most so long, and hand on what has come."""
        self._port.mend()
        if (now := time.monotonic()) >= self._look_at:
            self._look_at = now + LOOK_S
            self._drain()
            self._watch.checked()
            self._watch.look()
        for source, _ in self._poller.poll(max(0, round(timeout_s * 1000))):
            if source == self._woken:
                self._unwake()
            elif self._zap is not None and source is self._zap:
                self._authenticate(self._zap)
            elif source is self._watch.monitor:
                self._watch.read_monitor()
            else:
                self._drain()

    def wake(self) -> None:
        """Make ``poll`` return; from any thread."""
        with contextlib.suppress(BlockingIOError, OSError):  # awake already, or closed
            os.write(self._waker, b"w")

    def close(self) -> None:
        self._context.destroy(linger=0)
        os.close(self._woken)
        waker, self._waker = self._waker, -1
        os.close(waker)

    # --- sockets ----------------------------------------------------------------------------------

    def _open_zap(self) -> zmq.Socket[bytes]:
        # It must be there before the inlet: without it ZeroMQ lets every key in.
        zap = self._context.socket(zmq.REP)
        zap.linger = 0
        zap.bind("inproc://zeromq.zap.01")
        return zap

    def _open_inlet(self) -> zmq.Socket[bytes]:
        inlet = self._socket(zmq.DEALER, self._keys)
        inlet.handshake_ivl = HANDSHAKE_MS
        # A full queue ends the process when its connection is lost (`node/sockets.py`).
        inlet.rcvhwm = MAX_UNREAD
        if self._keys:
            inlet.curve_server = True
            inlet.zap_domain = b"raft"
        return inlet

    def _keys_of(self, peer: str) -> tuple[bytes | None, ...]:
        """What this peer may show."""
        return (
            tuple(key for node, key in self._keys.peers if node == peer) if self._keys else (None,)
        )

    def _opener(self, address: str) -> Open:
        keys = self._keys

        def open_outlet(server: bytes | None) -> zmq.Socket[bytes]:
            outlet = self._socket(zmq.DEALER, keys)
            outlet.immediate = True  # nothing waits for a peer that is away
            outlet.rcvhwm, outlet.maxmsgsize = 1, MAX_UNREAD_BYTES  # answers come by the inlet
            outlet.reconnect_ivl, outlet.reconnect_ivl_max = RECONNECT_MS, RECONNECT_MAX_MS
            outlet.heartbeat_ivl, outlet.heartbeat_timeout = HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS
            if server is not None:
                outlet.curve_serverkey = server
            else:
                outlet.routing_id = self._node_id.encode()
            outlet.connect(f"tcp://{address}")
            return outlet

        return open_outlet

    def _socket(self, kind: int, keys: RaftKeys | None) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.sndhwm = socket.rcvhwm = MAX_QUEUED
        socket.maxmsgsize = MAX_MESSAGE_BYTES
        if keys:
            socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret
        return socket

    # --- what comes in ----------------------------------------------------------------------------

    def _drain(self) -> None:
        for _ in range(MAX_DRAINED):
            try:
                frames = self._inlet.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._watch.heard(source_of(frames[-1]))
            sender = self._sender(frames)
            if sender in self._peers and not self.cut.drops(sender, time.monotonic()):
                self.deliver(sender, frames[0].bytes)
            elif self._keys:  # its key was taken back, or it speaks another language
                hang_up(frames[-1])

    def _sender(self, frames: list[zmq.Frame]) -> str:
        """Whom the connection has proven to be (or names, without keys); empty for nobody."""
        if len(frames) != 1:
            return ""
        try:
            if not self._keys:
                return str(frames[0].get("Identity"))
            return self._by_key.get(str(frames[0].get("User-Id")).encode(), "")
        except (zmq.ZMQError, UnicodeDecodeError):
            return ""

    def _authenticate(self, zap: zmq.Socket[bytes]) -> None:
        """One ZAP request (RFC 27): exactly the keys of the peers are let in."""
        version, request, _domain, _address, _identity, mechanism, *credentials = (
            zap.recv_multipart()
        )
        key = z85.encode(credentials[0]) if mechanism == b"CURVE" and credentials else b""
        is_known = version == ZAP_VERSION and key in self._by_key
        if not is_known:
            self.denied += 1
            log.warning("a connection with an unknown key was refused")
        status, user = (ZAP_OK, key) if is_known else (ZAP_DENIED, b"")
        zap.send_multipart([ZAP_VERSION, request, status, b"", user, b""])

    def _unwake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._woken, 4096):
                pass


def _by_key(keys: RaftKeys | None) -> dict[bytes, str]:
    return {key: node for node, key in keys.peers} if keys else {}
