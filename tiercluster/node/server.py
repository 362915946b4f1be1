"""The shard worker: the thread that owns the node's client socket and everything behind it.

One turn of its loop: orders from the control worker, answers of the cold worker and of the peers,
then the requests that wait, then what is due. It is the shell of `shard`, `gate`, `ownership` and
`lease`: they decide, it carries out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import zmq

from tiercluster.cluster.wire import (
    Fields,
    Kind,
    MapUpdate,
    Ping,
    Pong,
    Refusal,
    Reply,
    Request,
    Result,
    Status,
    WireError,
    decode_request,
    encode_reply,
)
from tiercluster.tiermap import (
    MapState,
    NodeState,
    Tier,
    TierMap,
    diff,
    encode_delta,
    encode_map,
)

from .desk import LONGEST_CALL_S, MOST_ADMIN_REQUESTS, Desk
from .gate import DATA, WRITES, Gate
from .inbox import Inbox
from .lease import Lease, LeaseState
from .messages import (
    AdminAnswer,
    AdminAsked,
    ColdAnswer,
    ColdCommand,
    ColdFailed,
    ColdOpen,
    ColdOpened,
    ColdReady,
    PeerHeard,
    RunProbe,
    ServingChanged,
    ShardOrder,
    ShardReport,
    ShardStopped,
    StandingKnown,
    StopServing,
    UseMap,
    Withhold,
)
from .ownership import Ownership
from .peers import Peers
from .settings import NodeSettings
from .shard import Answer, Effect, Origin, Shard, ToCold, ToControl, ToPeer
from .sockets import Curve, tune
from .subscribers import Subscribers
from .writelog import Answered, WriteLog

TICK_S = 0.01
REQUEST_TURN = 64  # requests handled before timers and inboxes are looked at again
ORDERS_LIMIT = 10_000
COLD_ANSWERS_LIMIT = 100_000
STATS_PERIOD_S = 1.0
OPEN_TOKEN = 0  # of the first ColdOpen; the shard counts its own from 1


class ShardWorker:
    """One node's data path. ``tell_control`` and ``tell_cold`` only enqueue."""

    def __init__(
        self,
        settings: NodeSettings,
        token: str,
        tell_control: Callable[[ShardReport], object],
        tell_cold: Callable[[ColdCommand], bool],
        curve: Curve | None = None,
    ) -> None:
        self._settings = settings
        self._tell_control = tell_control
        self._tell_cold = tell_cold
        self.orders: Inbox[ShardOrder] = Inbox(ORDERS_LIMIT)
        self.cold_answers: Inbox[ColdAnswer] = Inbox(COLD_ANSWERS_LIMIT)
        detector = settings.detector
        self._shard = Shard(settings, token)
        self._lease = Lease(detector)
        self._ownership = Ownership(settings.id, token, detector.down_after_s)
        self._gate = Gate(self._ownership, self._lease, settings.on_quorum_loss)
        self._writes = WriteLog()
        self._subscribers = Subscribers()
        self._desk = Desk(settings, token)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._router = self._context.socket(zmq.ROUTER)
        self._curve = curve
        tune(self._router, curve, is_server=True)
        self._peers = Peers(self._context, self._poller, settings.id, curve)
        self._map = TierMap()
        self._cold_rows: ColdOpened | None = None
        self._withheld: frozenset[str] = frozenset()
        self._grants = False
        self._asked: dict[int, Origin] = {}
        self._next_token = 1
        self._stopping = False
        self._stopped = False
        self._last_turn = self._next_ping = self._next_stats = 0.0
        self._told_serving: tuple[bool, str] | None = None
        self._thread = threading.Thread(target=self._run, name="shard", daemon=True)

    def bind(self) -> None:
        """Take the client port; zmq.ZMQError if it is not to be had."""
        self._router.bind(f"tcp://{self._settings.listen}")

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    # --- the loop -------------------------------------------------------------------------------

    def _run(self) -> None:
        reason = "stopped"
        try:
            self._loop()
        except Exception as error:  # noqa: BLE001 - a worker's last line
            reason = f"{type(error).__name__}: {error}"
            self._desk.report_crash(error)
        finally:
            self._peers.close()
            self._router.close(0)
            self._context.term()
            self._tell_control(ShardStopped(reason))

    def _loop(self) -> None:
        for readable in (self._router, self.orders, self.cold_answers):
            self._poller.register(readable, zmq.POLLIN)
        self._last_turn = time.monotonic()
        self._tell_cold(ColdOpen(OPEN_TOKEN, wipe=False))
        while not self._stopped:
            ready = dict(self._poller.poll(TICK_S * 1000))
            self._look_at_the_clock()
            for order in self.orders.drain():
                self._obey(order)
            for answer in self.cold_answers.drain():
                self._cold_answered(answer)
            for socket in ready:
                if self._peers.owns(socket):
                    self._read_peer(socket)
            if self._router in ready:
                self._serve_requests()
            self._do_what_is_due()

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        if now - self._last_turn > self._settings.detector.stall_s:
            self._lease.stalled(now)
        self._last_turn = now

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        if now >= self._next_ping:
            self._next_ping = now + self._settings.detector.heartbeat_s
            self._ping_all(now)
            self._ownership.tick(now)
            self._writes.expire(now)
            self._subscribers.expire(now)
            self._tell_serving(now)
        if now >= self._next_stats:
            self._next_stats = now + STATS_PERIOD_S
            self._tell_control(self._shard.stats())
        self._shard.tick(now)
        self._carry_out()
        if self._stopping and self._shard.is_stopped:
            self._stopped = True

    # --- requests -------------------------------------------------------------------------------

    def _serve_requests(self) -> None:
        for _ in range(REQUEST_TURN):
            try:
                frames = self._router.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            now = time.monotonic()
            try:
                request = decode_request(frames[1:])
            except WireError as error:
                self._refuse_bytes(frames, str(error), now)
                continue
            if request.kind in DATA:
                self._serve_data(frames[0], request, now)
            else:
                self._serve_other(frames[0], request, now)

    def _serve_data(self, identity: bytes, request: Request, now: float) -> None:
        is_write = request.kind in WRITES
        origin = Origin(identity, request.rid, request.kind, request.deadline_ms / 1000)
        if is_write and self._writes.knows(request.client, request.rid):
            known = self._writes.answer(request.client, request.rid)
            if known is not None:
                self._reply(origin, *known, now)
            return
        verdict = self._gate.check(request, now)
        if verdict.status is not Status.OK:
            self._desk.count_refused(verdict.status)
            self._refuse(origin, verdict.status, verdict.text, now)
            return
        if is_write:
            deadline = request.deadline_ms / 1000 or now + LONGEST_CALL_S
            if request.retry and self._writes.may_have_forgotten(deadline):
                self._refuse(origin, Status.UNKNOWN_OUTCOME, "too many writes to remember", now)
                return
            self._writes.begin(request.client, request.rid, deadline)
            origin = origin.writing(request.client)
        answer = self._shard.handle(request, origin, now)
        if answer is not None:
            self._answer(origin, *answer, now)
        self._carry_out()

    def _serve_other(self, identity: bytes, request: Request, now: float) -> None:
        origin = Origin(identity, request.rid, request.kind, request.deadline_ms / 1000)
        match request.kind:
            case Kind.PEER_PING:
                self._pinged(origin, request.fields, now)
            case Kind.SUBSCRIBE:
                self._subscribers.add(identity, now)
                self._reply(origin, Status.OK, self._snapshot(), b"", now)
            case Kind.STATUS:
                report = self._desk.report(self._shard.stats(), *self._serving(now), now)
                self._reply(origin, Status.OK, report, b"", now)
            case Kind.PROPOSE | Kind.PROBE:
                self._ask_control(origin, request, now)
            case Kind.COLD_PUT | Kind.COLD_GET | Kind.COLD_DROP | Kind.FAULT:
                answer = self._shard.handle(request, origin, now)
                if answer is not None:
                    self._reply(origin, *answer, now)
                self._carry_out()
            case _:
                self._reply(origin, *self._desk.answer(request), b"", now)

    def _ask_control(self, origin: Origin, request: Request, now: float) -> None:
        if len(self._asked) >= MOST_ADMIN_REQUESTS:
            self._refuse(origin, Status.SHED, "too many admin requests are waiting", now)
            return
        self._next_token += 1
        self._asked[self._next_token] = origin
        self._tell_control(AdminAsked(self._next_token, request))

    def _refuse_bytes(self, frames: list[bytes], text: str, now: float) -> None:
        self._desk.count("bad_requests")
        origin = Origin(frames[0], 0, Kind.HELLO, 0.0)
        self._refuse(origin, Status.BAD_REQUEST, text, now)

    # --- answers --------------------------------------------------------------------------------

    def _answer(self, origin: Origin, status: Status, fields: Result, body: bytes,
                now: float) -> None:  # fmt: skip
        if origin.client is not None:
            self._writes.finish(origin.client, origin.rid, Answered(status, fields, body))
        self._reply(origin, status, fields, body, now)

    def _refuse(self, origin: Origin, status: Status, text: str, now: float) -> None:
        if status is Status.STALE_MAP:
            self._reply(origin, status, self._snapshot(), b"", now)
        else:
            self._reply(origin, status, Refusal(text), b"", now)

    def _reply(self, origin: Origin, status: Status, fields: Result, body: bytes,
               now: float) -> None:  # fmt: skip
        reply = Reply(origin.kind, origin.rid, self._map.version, int(now * 1000),
                      status, fields, body)  # fmt: skip
        self._send(origin.identity, reply)

    def _send(self, identity: bytes, reply: Reply) -> None:
        try:
            self._router.send_multipart([identity, *encode_reply(reply)], zmq.DONTWAIT)
        except zmq.Again:
            self._desk.count("answers_dropped")

    def _carry_out(self) -> None:
        effects = self._shard.take_effects()
        while effects:
            now = time.monotonic()
            for effect in effects:
                self._carry_out_one(effect, now)
            effects = self._shard.take_effects()

    def _carry_out_one(self, effect: Effect, now: float) -> None:
        match effect:
            case Answer(origin, status, fields, body):
                self._answer(origin, status, fields, body, now)
            case ToCold(command):
                self._tell_cold_or_fail(command, now)
            case ToPeer(node, kind, fields, body, token):
                if not self._peers.send(node, kind, token, self._map.version, fields, body):
                    self._shard.peer_answer(token, None, now)
            case ToControl(report):
                self._tell_control(report)

    def _tell_cold_or_fail(self, command: ColdCommand, now: float) -> None:
        if not self._tell_cold(command):
            self._desk.count("cold_shed")
            self._shard.cold_shed(command, now)

    # --- peers ----------------------------------------------------------------------------------

    def _ping_all(self, now: float) -> None:
        me = self._ownership.incarnation
        if not me:
            return
        ping = Ping(self._settings.id, me, int(now * 1000), self._map.version,
                    self._map.digest, self._stopping)  # fmt: skip
        for member in self._map.members:
            if member.state is NodeState.UP and member.id != self._settings.id:
                self._peers.send(member.id, Kind.PEER_PING, 0, self._map.version, ping)

    def _pinged(self, origin: Origin, ping: Fields, now: float) -> None:
        assert isinstance(ping, Ping)
        member = self._map.member(ping.node)
        known = member is not None and member.incarnation == ping.incarnation
        is_up = member is not None and known and member.state is NodeState.UP
        if known:
            self._tell_control(
                PeerHeard(ping.node, ping.incarnation, now, ping.map_version, ping.digest,
                          ping.leaving)
            )  # fmt: skip
            self._ownership.confirm(ping.node, ping.incarnation, ping.map_version, now)
        grant = is_up and self._grants and ping.node not in self._withheld
        pong = Pong(self._settings.id, self._ownership.incarnation, ping.sent_ms,
                    self._map.version, self._map.digest, grant)  # fmt: skip
        self._reply(origin, Status.OK, pong, b"", now)

    def _read_peer(self, socket: zmq.Socket[bytes]) -> None:
        for node, reply in self._peers.receive(socket):
            now = time.monotonic()
            if isinstance(reply.fields, Pong):
                self._ponged(node, reply.fields, now)
            else:
                self._shard.peer_answer(reply.rid, reply, now)
                self._carry_out()

    def _ponged(self, node: str, pong: Pong, now: float) -> None:
        trusted = node not in self._withheld
        self._lease.pong(node, pong.sent_ms / 1000, pong.grant, pong.map_version, now, trusted)
        self._ownership.confirm(node, pong.incarnation, pong.map_version, now)

    # --- orders and cold answers ----------------------------------------------------------------

    def _obey(self, order: ShardOrder) -> None:
        now = time.monotonic()
        match order:
            case UseMap(state):
                self._use_map(state, now)
            case Withhold(nodes, ready):
                self._withheld, self._grants = nodes, ready
                self._open_gate()
            case RunProbe(tier):
                self._shard.probe(tier, now)
                self._carry_out()
            case AdminAnswer(token, status, fields):
                origin = self._asked.pop(token, None)
                if origin is not None:
                    self._reply(origin, status, fields, b"", now)
            case StandingKnown():
                self._desk.standing = order
            case StopServing(grace_s):
                self._stopping = True
                self._open_gate()
                self._shard.begin_stop(now, grace_s)
                self._ping_all(now)

    def _open_gate(self) -> None:
        self._gate.open = self._grants and not self._stopping and bool(self._ownership.incarnation)

    def _use_map(self, state: MapState, now: float) -> None:
        old, new = self._map, state.map
        if new.version < old.version:
            return
        self._map = self._desk.use_state(state, now)
        self._gate.map_version = new.version
        self._peers.use_map(new)
        others = [m.id for m in new.members
                  if m.state is NodeState.UP and m.id != self._settings.id]  # fmt: skip
        self._lease.use_map(new.version, others)
        changed = self._ownership.use_map(new, now)
        self._shard.use_map(state, now)
        if changed:
            self._shard.set_stint(new.ring_version, self._ownership.gained)
        self._open_gate()
        self._decide_on_cold_rows(now)
        self._carry_out()
        if new.version != old.version:
            self._push(old, new)
            self._ping_all(now)  # the others wait for this confirmation

    def _push(self, old: TierMap, new: TierMap) -> None:
        update = MapUpdate(old.version, encode_delta(diff(old, new)))
        reply = Reply(
            Kind.MAP_PUSH, 0, new.version, int(time.monotonic() * 1000), Status.OK, update
        )
        for identity in self._subscribers.identities():
            self._send(identity, reply)

    def _snapshot(self) -> MapUpdate:
        return MapUpdate(0, encode_map(self._map))

    def _cold_answered(self, answer: ColdAnswer) -> None:
        now = time.monotonic()
        if isinstance(answer, ColdOpened) and answer.token == OPEN_TOKEN:
            self._cold_rows = answer
            incarnation, generation = answer.marker or ("", 0)
            keepable = answer.marker is not None
            self._tell_control(ColdReady(keepable, incarnation, generation, None))
            self._decide_on_cold_rows(now)
        elif isinstance(answer, ColdFailed) and answer.token == OPEN_TOKEN:
            self._tell_control(ColdReady(False, "", 0, answer.failure))
            self._shard.cold_is_missing(answer.failure, now)
        else:
            self._shard.cold_answer(answer, now)
        self._carry_out()

    def _decide_on_cold_rows(self, now: float) -> None:
        """What a clean stop left in cold is taken over if the map kept its generation."""
        opened, me = self._cold_rows, self._map.member(self._settings.id)
        if opened is None or me is None or me.incarnation != self._ownership.incarnation:
            return
        self._cold_rows = None
        if opened.marker is not None and opened.marker[1] == me.tier(Tier.COLD).generation:
            self._shard.adopt_cold(opened.rows, now, time.time())
        else:
            self._shard.wipe_cold(now)

    def _serving(self, now: float) -> tuple[bool, str]:
        if not self._gate.open:
            return False, "stopping" if self._stopping else "not caught up, or not in the map"
        state = self._lease.state(now)
        settling = "" if self._ownership.is_settled else ", settling"
        return state is not LeaseState.WAITING, f"lease {state.value}{settling}"

    def _tell_serving(self, now: float) -> None:
        serving = self._serving(now)
        if self._told_serving != serving:
            self._told_serving = serving
            self._tell_control(ServingChanged(*serving, self._map.version))
