"""One connection to one member: a DEALER socket, what its monitor tells, and the member's clock.

    DOWN --connected--> UP --answered the greeting--> READY
      ^------------------+-------lost-------------------+

ZeroMQ queues what it cannot send and delivers it late; so nothing is sent unless connected
(IMMEDIATE), little is queued, and a silent peer counts as lost after HEARTBEAT_TIMEOUT_MS.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from dataclasses import dataclass, field

import zmq
from zmq.utils.monitor import parse_monitor_message

from .codec import decode_reply
from .errors import TierclusterError, Unauthorized, Unavailable
from .wire import MAX_BODY_BYTES, OLDEST_VERSION, Reply

SEND_QUEUE = 100  # messages
HEARTBEAT_MS = 100
HEARTBEAT_TIMEOUT_MS = 300
SILENT_MS = 5000  # of ours, after which a node may close the connection
HANDSHAKE_MS = 300
CONNECT_TIMEOUT_MS = 1000
RECONNECT_MS = 20
MAX_RECONNECT_MS = 500  # also what an idle client costs while a member is away
QUICK_WAIT_MS = 5  # how long the straight path waits on one socket before it looks at all

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]
# As plain integers: combining pyzmq's enums costs as much as sending a frame.
NOBLOCK = int(zmq.NOBLOCK)
_MORE = int(zmq.SNDMORE) | NOBLOCK
_RCVMORE = int(zmq.RCVMORE)

# What comes of a key that is not the member's; also of a member that dies at that moment.
_OTHER_KEY = {zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL}
_FAILED = {zmq.EVENT_CLOSED, *_OTHER_KEY}
_DOUBTFUL = {zmq.EVENT_HANDSHAKE_FAILED_AUTH, *_OTHER_KEY}
_WATCHED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


def end_with(owner: object, context: Context) -> None:
    """Have the context end, with its sockets, once nobody knows ``owner``, closed or not. In the
    child of a fork it is left alone."""
    weakref.finalize(owner, _end, os.getpid(), context).atexit = False


def _end(pid: int, context: Context) -> None:
    if os.getpid() == pid and not context.closed:
        context.destroy(0)


def new_context(*, has_many: bool = False) -> Context:
    """``has_many``: for more sockets than the 1,023 that ZeroMQ makes room for by itself, which
    takes 0.8 MB. Unavailable where descriptors have run out."""
    try:
        context: Context = zmq.Context()
    except zmq.ZMQError as error:
        raise Unavailable(f"no connection can be made: {error}") from error
    # pyzmq knows them by weak references, which are gone before what is garbage together is
    # finalized: then it finds none to close, and waits for them for ever.
    context._sockets = set()  # type: ignore[assignment]
    if has_many:
        context.set(zmq.MAX_SOCKETS, context.get(zmq.SOCKET_LIMIT))
    return context


@dataclass(frozen=True, slots=True)
class CurveKeys:
    """What a client needs to prove itself and to know the cluster (Z85 text). ``others``: further
    keys that a member may show while keys are rotated; ``directory`` and ``name``: where they were
    read."""

    public: bytes
    secret: bytes = field(repr=False)
    server: bytes
    others: tuple[bytes, ...] = ()
    directory: str = ""
    name: str = ""


class Link:
    """``epoch`` counts the connections; ``failed_at`` is when the last attempt to connect failed, 0
    since the last success; ``refusal`` is what the member said against us; ``protocol`` is the
    version that is spoken, the oldest until it has answered the greeting."""

    __slots__ = (
        "_is_doubted", "_keys", "_shown", "_tried", "address", "cluster", "epoch", "failed_at",
        "greeted_at", "is_closed", "is_up", "monitor", "node", "offset_ms", "protocol", "refusal",
        "silent_since", "socket",
    )  # fmt: skip

    def __init__(self, context: Context, address: str, keys: CurveKeys | None) -> None:
        self.address = address
        self._keys = keys
        self._shown = 0  # which of its keys we take the member to show
        self._is_doubted = False
        self._tried = 0  # keys that it did not show, since the last success
        self.node = ""
        self.cluster: tuple[str, str] | None = None
        self.epoch = 0
        self.protocol = OLDEST_VERSION
        self.is_up = False
        self.is_closed = False
        self.failed_at = 0.0
        self.refusal: TierclusterError | None = None
        self.greeted_at = 0.0  # 0: not yet since it is up
        self.offset_ms: float | None = None  # the member's clock minus ours, None: not known
        self.silent_since = 0.0  # first request without an answer, 0: none
        self.socket: Socket = context.socket(zmq.DEALER)
        self.monitor: Socket = context.socket(zmq.PAIR)
        try:
            self._connect(address)
        except BaseException:
            self.close()
            raise

    def _connect(self, address: str) -> None:
        _tune(self.socket)
        self._show_keys()
        if "[" in address:
            self.socket.setsockopt(zmq.IPV6, 1)
        # Random, because the name of a closed socket is taken until ZeroMQ's own thread is done.
        name = f"inproc://link-{os.urandom(8).hex()}"
        self.socket.monitor(name, _WATCHED)
        # Without a limit: a full monitor would stop the thread that serves all sockets.
        self.monitor.setsockopt(zmq.RCVHWM, 0)
        self.monitor.setsockopt(zmq.LINGER, 0)
        self.monitor.connect(name)
        self.socket.connect(f"tcp://{address}")

    @property
    def is_ready(self) -> bool:
        return self.offset_ms is not None

    @property
    def is_key_refused(self) -> bool:
        """Whether the member does not take our key, or shows another than we expect."""
        return self._keys is not None and not self.is_up and self._is_doubted

    # --- keys -----------------------------------------------------------------------------------

    def use_keys(self, keys: CurveKeys) -> None:
        """Connect anew with these; what was asked before is lost with the connection."""
        self._keys, self._shown, self._tried = keys, 0, 0
        self.refusal, self.failed_at = None, 0.0
        self._reconnect()

    def _try_other_key(self) -> bool:
        """During a rotation a member may show another key of the cluster. False: all were tried,
        twice, because a failure may be that of the connection just given up."""
        if self._keys is None or not self._keys.others:
            return False
        self._shown += 1
        self._tried += 1
        self._reconnect()
        return self._tried <= 2 * len(self._keys.others)

    def _reconnect(self) -> None:
        self._lost()
        with contextlib.suppress(zmq.ZMQError):  # there is no connection to give up
            self.socket.disconnect(f"tcp://{self.address}")
        self._show_keys()
        self.socket.connect(f"tcp://{self.address}")

    def _show_keys(self) -> None:
        keys = self._keys
        if keys is None:
            return
        servers = (keys.server, *keys.others)
        self.socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
        self.socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        self.socket.setsockopt(zmq.CURVE_SERVERKEY, servers[self._shown % len(servers)])

    # --- what happens to the connection ---------------------------------------------------------

    def read_monitor(self, now: float) -> bool:
        """Take what happened to the connection; whether anything did."""
        events = self._events()
        self._is_doubted = not _DOUBTFUL.isdisjoint(events)
        for event in events:
            self._note(event, now)
        # Once for all that has happened: older failures were those of the same key.
        if not self.is_up and not _OTHER_KEY.isdisjoint(events) and self._try_other_key():
            self.failed_at = 0.0
        return bool(events)

    def _events(self) -> list[int]:
        events: list[int] = []
        while True:
            try:
                frames = self.monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return events
            events.append(int(parse_monitor_message(frames)["event"]))

    def _note(self, event: int, now: float) -> None:
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.is_up, self.failed_at, self.greeted_at = True, 0.0, 0.0
            self.refusal, self._tried = None, 0
            self.epoch += 1
        elif event == zmq.EVENT_DISCONNECTED:
            self._lost()
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self.refusal = Unauthorized(f"{self.address} does not accept this client's key")
            self.failed_at = now
        elif event in _FAILED:
            self.failed_at = now
            self._lost()

    def _lost(self) -> None:
        self.is_up, self.offset_ms, self.greeted_at = False, None, 0.0
        self.cluster = None
        self.protocol = OLDEST_VERSION
        self.silent_since = 0.0

    def send(self, frames: list[bytes]) -> bool:
        """False if there is no connection, or its queue is full."""
        if self.is_closed:
            return False
        try:
            send_frames(self.socket, frames)
        except zmq.Again:
            return False
        return True

    def receive(self, now: float) -> Reply | None:
        """The next answer, None if there is none; WireError for bytes that are none. Sets the
        clock: the one of the newest answer is the nearest."""
        if self.is_closed:
            return None
        try:
            frames = receive_frames(self.socket, NOBLOCK)
        except zmq.Again:
            return None
        reply = decode_reply(frames)
        self.heard(reply.clock_ms, now)
        return reply

    def heard(self, clock_ms: int, now: float) -> None:
        """An answer came, with the member's clock."""
        self.silent_since = 0.0
        self.refusal = None
        if self.is_up:
            self.offset_ms = clock_ms - now * 1000

    def stamp(self, deadline: float) -> int:
        """A deadline of ours on the member's clock: early by the way that its last answer took."""
        assert self.offset_ms is not None
        return max(int(self.offset_ms + deadline * 1000), 1)

    def turned_away(self, why: TierclusterError) -> None:
        """The member does not talk to us: the link is not ready."""
        self.refusal, self.offset_ms = why, None

    def close(self) -> None:
        self.is_closed = True
        self._lost()
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close(0)


def send_frames(socket: Socket, frames: list[bytes]) -> None:
    """What send_multipart does with NOBLOCK, faster; zmq.Again if nothing was sent."""
    for frame in frames[:-1]:
        socket.send(frame, _MORE)
    socket.send(frames[-1], NOBLOCK)


def receive_frames(socket: Socket, flags: int = 0) -> list[bytes]:
    """What recv_multipart does, faster; zmq.Again if nothing came."""
    frames = [socket.recv(flags)]
    while socket.get(_RCVMORE):
        frames.append(socket.recv(flags))
    return frames


def _tune(socket: Socket) -> None:
    for option, value in (
        (zmq.LINGER, 0),
        (zmq.IMMEDIATE, 1),
        (zmq.SNDHWM, SEND_QUEUE),
        # What comes was asked for. A full queue ends the process when its connection is lost and a
        # heartbeat falls due (libzmq 4.3.5).
        (zmq.RCVHWM, 0),
        (zmq.MAXMSGSIZE, MAX_BODY_BYTES),
        (zmq.RCVTIMEO, QUICK_WAIT_MS),
        (zmq.HEARTBEAT_IVL, HEARTBEAT_MS),
        (zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS),
        (zmq.HEARTBEAT_TTL, SILENT_MS),
        (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
        (zmq.CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS),
        (zmq.RECONNECT_IVL, RECONNECT_MS),
        (zmq.RECONNECT_IVL_MAX, MAX_RECONNECT_MS),
        (zmq.TCP_KEEPALIVE, 1),
    ):
        socket.setsockopt(option, value)
