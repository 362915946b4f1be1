"""The shard worker: the thread that owns the node's client socket and everything behind it.

One turn of its loop: orders from the control worker, answers of the cold worker and of the peers,
then the requests that wait, then what is due. `front` decides; this is its shell.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog
import zmq

from tiercluster.cluster.codec import decode_request, encode_reply
from tiercluster.cluster.link import NOBLOCK, receive_frames, send_frames
from tiercluster.cluster.wire import Fields, Kind, NodeFault, Reply, UnknownKind, WireError
from tiercluster.tiermap import TierMap
from tiercluster.tiermap.raft import Inlet, hang_up, source_of

from .access import Access, Role, is_allowed
from .flood_watch import FloodWatch
from .front import Front
from .inbox import Inbox
from .keyring import NodeKeys
from .messages import (
    Checked,
    ColdAnswer,
    ColdCommand,
    CutOff,
    ShardOrder,
    ShardReport,
    ShardStopped,
    UseKeys,
    WatchConnections,
)
from .node_faults import NodeFaults
from .peers import Peers
from .settings import NodeSettings
from .sockets import own_curve, server_curve, tune

TICK_MS = 10
REQUEST_TURN = 64  # requests handled before timers and inboxes are looked at again
ORDERS_LIMIT = 10_000
COLD_ANSWERS_LIMIT = 100_000

log = structlog.get_logger("tiercluster.shard")


class ShardWorker:
    """One node's data path. ``tell_control`` and ``tell_cold`` only enqueue."""

    def __init__(
        self,
        settings: NodeSettings,
        token: str,
        tell_control: Callable[[ShardReport | CutOff], object],
        tell_cold: Callable[[ColdCommand], bool],
        keys: NodeKeys | None = None,
    ) -> None:
        self._tell_control = tell_control
        self.tell_cold = tell_cold
        self.orders: Inbox[ShardOrder] = Inbox(ORDERS_LIMIT)
        self.cold_answers: Inbox[ColdAnswer] = Inbox(COLD_ANSWERS_LIMIT)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._router = self._context.socket(zmq.ROUTER)
        self._port = Inlet(self._router, settings.listen)
        tune(self._router, server_curve(keys))
        self._watch = FloodWatch(self._router, self.orders.tell)
        self._watched: frozenset[int] = frozenset()
        self._look = self._unchecked = 0  # of the watch; connections to be read from since
        self._shown = keys.server if keys else None
        self._access = Access(keys) if keys else None
        self._authenticator = self._access.guard(self._context) if self._access else None
        self._peers = Peers(
            self._context, self._poller, settings.id, own_curve(keys),
            on_bad_reply=lambda: self._front.desk.count("bad_replies"),
        )  # fmt: skip
        self._front = Front(settings, token, self, time.monotonic())
        self._faults = NodeFaults(settings.allow_faults, tell_control)
        self._thread = threading.Thread(target=self._run, name="shard", daemon=True)

    def bind(self) -> None:
        """Take the client port; zmq.ZMQError if it is not to be had."""
        self._port.bind()

    def start(self) -> None:
        self._watch.start()
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    # --- the loop -------------------------------------------------------------------------------

    def _run(self) -> None:
        reason = "stopped"
        try:
            self._loop()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            log.critical("shard worker ended", error=reason, exc_info=error)
        finally:
            self._watch.stop()
            self._peers.close()
            self._router.close(0)
            if self._authenticator is not None:
                self._authenticator.stop()
            self._context.term()
            self._tell_control(ShardStopped(reason))

    def _loop(self) -> None:
        front = self._front
        for readable in (self._router, self.orders, self.cold_answers):
            self._poller.register(readable, zmq.POLLIN)
        front.turn(time.monotonic(), time.time())
        front.start()
        tick_at = 0.0
        while not front.is_stopped:
            ready = dict(self._poller.poll(TICK_MS))
            now = time.monotonic()
            front.turn(now, time.time())
            if self.orders.fileno() in ready:
                for order in self.orders.drain():
                    self._obey(order)
            if self.cold_answers.fileno() in ready:
                for answer in self.cold_answers.drain():
                    front.cold_answered(answer, time.monotonic(), time.time())
            for socket in ready:
                if self._peers.owns(socket):
                    self._read_peer(socket)
            if self._router in ready or self._look:
                self._serve_requests()
            # A turn of requests alone leaves little to do; answers may let background work go on.
            if now >= tick_at or self._router not in ready or len(ready) > 1:
                tick_at = now + TICK_MS / 1000
                self._port.mend()
                front.tick(time.monotonic())
                self._faults.tick(now)
            else:
                front.flush(time.monotonic())

    def _obey(self, order: ShardOrder) -> None:
        match order:
            case UseKeys(keys):
                self._use_keys(keys)
            case WatchConnections(descriptors, hung_up, connections, look):
                self._watched, self._look = descriptors, look
                self._unchecked = connections
                self._front.desk.counters["hung_up"] = hung_up
            case _:
                self._front.obey(order, time.monotonic(), time.time())

    def _use_keys(self, keys: NodeKeys) -> None:
        assert self._access is not None
        self._access.use_keys(keys)
        self._peers.use_keys(own_curve(keys))
        if keys.server != self._shown:
            self._shown = keys.server
            self._port.show(keys.server.public, keys.server.secret)

    def _serve_requests(self) -> None:
        for _ in range(REQUEST_TURN):
            try:
                if self._access is None and not self._watched:
                    identity, *frames = receive_frames(self._router, NOBLOCK)
                    self._serve(identity, frames, Role.NODE)
                else:
                    self._serve_known(self._router.recv_multipart(zmq.DONTWAIT, copy=False))
            except zmq.Again:
                self._unchecked = 0
                break
        if self._look and self._unchecked <= 0:
            self._watch.heard.tell(Checked(self._look))
            self._look = 0

    def _serve_known(self, parts: list[zmq.Frame]) -> None:
        """With what ZeroMQ knows of the connection: whose key it has proven, and which it is."""
        self._unchecked -= 1  # ZeroMQ takes one message from each connection in turn
        if self._watched and (source := source_of(parts[-1])) in self._watched:
            self._watch.heard.tell(source)
        role = self._access.role(_user(parts[-1])) if self._access else Role.NODE
        if role is None:
            self._turn_away(parts)
        else:
            identity, *frames = (part.bytes for part in parts)
            self._serve(identity, frames, role)

    def _turn_away(self, parts: list[zmq.Frame]) -> None:
        """The key of this connection was taken back. No answer: who has a new one by now connects
        anew with it and asks again, who has none is refused by ZAP."""
        self._front.drop(parts[0].bytes)
        hang_up(parts[-1])

    def _serve(self, identity: bytes, frames: list[bytes], role: Role) -> None:
        now = time.monotonic()
        try:
            request = decode_request(frames)
        except UnknownKind as unknown:
            self._front.refuse_kind(identity, unknown, now)
            return
        except WireError as error:
            self._front.refuse_bytes(identity, str(error), now)
            return
        if not is_allowed(role, request.kind):
            self._front.forbid(identity, request, role, now)
        elif isinstance(request.fields, NodeFault):
            self._front.answer(identity, request, self._faults.answer(request.fields, now), now)
        elif not self._faults.drops_request(request.fields, now):
            self._front.request(identity, request, now)

    def _read_peer(self, socket: zmq.Socket[bytes]) -> None:
        for node, reply in self._peers.receive(socket):
            now = time.monotonic()
            if not self._faults.drops(node, now):
                self._front.peer_reply(node, reply, now)

    # --- the doors of the front -----------------------------------------------------------------

    def reply(self, identity: bytes, reply: Reply) -> bool:
        try:
            send_frames(self._router, [identity, *encode_reply(reply)])
        except zmq.Again:
            return False
        return True

    def tell_control(self, report: ShardReport) -> object:
        taken = self._tell_control(report)
        if taken is False:
            self._front.desk.count("reports_dropped")
        return taken

    def send_peer(self, node: str, kind: Kind, rid: int, version: int, fields: Fields,
                  body: bytes) -> bool:  # fmt: skip
        if self._faults.drops(node, time.monotonic()):
            return True  # lost on the way, which no sender is told
        return self._peers.send(node, kind, rid, version, fields, body)

    def link_peers(self, tier_map: TierMap) -> None:
        self._peers.use_map(tier_map)


def _user(frame: zmq.Frame) -> bytes:
    """The public key that ZAP verified for the connection this frame came from."""
    try:
        return str(frame.get("User-Id")).encode()
    except zmq.ZMQError:
        return b""
