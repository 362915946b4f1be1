"""Everything the shard thread decides, without its sockets: requests, pings, orders, cold answers.

`Front` holds the cores (`shard`, `gate`, `ownership`, `lease`) and what stands between them and the
world: `DataPath` for data requests, `Peering` for the other members, `Replies` for what goes out,
`ColdStart` for what an earlier process left. It reads no clock and opens nothing, so that the
simulation runs it as it is.
"""

from __future__ import annotations

from tiercluster.cluster.wire import (
    Ack,
    Confirmed,
    Kind,
    Paced,
    Ping,
    Pong,
    Reply,
    Request,
    Result,
    Status,
    UnknownKind,
    Welcome,
)
from tiercluster.tiermap import MapState, TierMap

from .announcer import first_stint
from .coldstart import ColdStart
from .datapath import DataPath, keys_of
from .desk import Desk
from .doors import Doors
from .effects import Origin
from .errands import Errands
from .gate import DATA, Gate
from .lease import Lease, LeaseState
from .messages import (
    AdminAnswer,
    AdminAsked,
    ColdAnswer,
    RunProbe,
    ServingChanged,
    ShardOrder,
    ShardTurn,
    StandingKnown,
    StopServing,
    UseMap,
    Withhold,
)
from .ownership import Ownership
from .peering import Peering
from .replies import Replies
from .settings import NodeSettings
from .shard import Shard
from .watches import Watches

STATS_PERIOD_S = 1.0

_OF_THE_CORE = frozenset(
    {
        Kind.COLD_PUT, Kind.COLD_GET, Kind.COLD_DROP, Kind.FILL, Kind.FAULT, Kind.LEASES_ASK,
        Kind.LEASES_TELL,
    }
)  # fmt: skip


class Front:
    """One node's data path. ``now`` is monotonic, ``wall`` the wall clock, both in seconds."""

    def __init__(self, settings: NodeSettings, token: str, doors: Doors, now: float) -> None:
        self._settings = settings
        self._doors = doors
        detector = settings.detector
        self._watches = Watches(first_stint(token))
        self._shard = Shard(settings, token, self._watches)
        self._lease = Lease(detector, is_voter=not settings.join)
        self._ownership = Ownership(settings.id, token, detector.down_after_s)
        self._streams = self._shard.streams
        self._gate = Gate(self._ownership, self._lease, settings.on_quorum_loss)
        self.desk = Desk(settings, token, now)
        self._replies = Replies(doors, self.desk)
        self._peering = Peering(settings, doors, self._lease, self._ownership, self._streams)
        self._data = DataPath(self._shard, self._gate, self._lease, self._watches, self._peering,
                              self._replies, self.desk, doors)  # fmt: skip
        self._cold_start = ColdStart(settings.id, token, self._shard, self._ownership, doors)
        self._map = TierMap()
        self._errands = Errands()
        self._last_moment = now
        self._stall_s = detector.stall_s
        self._next_ping = self._next_stats = 0.0
        self._told_serving: tuple[bool, str] | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether a stop that was asked for has been carried out."""
        return self._peering.is_leaving and self._shard.is_stopped

    def start(self) -> None:
        """Ask for the cold store; what a clean stop left in it is judged when the map is known."""
        self._cold_start.ask()

    # --- time -----------------------------------------------------------------------------------

    def turn(self, now: float, wall: float) -> None:
        """At the start of each turn of the loop."""
        self._shard.use_wall(wall - now)
        self._notice_stop(now)

    def _notice_stop(self, now: float) -> None:
        """Whether this process was stopped for a while, between two turns or in the middle of one:
        asked whenever something comes, before anything is concluded from the silence of others."""
        if now - self._last_moment > self._stall_s:
            self._lease.stalled(now)
            self._streams.stalled(now)
        self._last_moment = now

    def tick(self, now: float) -> None:
        """Do what is due: pings, expiries, reports, the shard's background work."""
        self._notice_stop(now)
        if now >= self._next_ping:
            self._next_ping = now + self._settings.detector.heartbeat_s
            self._peering.ping_all(now)
            self._watch_copies(now)
            self._ownership.tick(now)
            if self._ownership.is_settled:
                self._shard.settled(now)
            self._data.expire(now)
            self._replies.subscribers.expire(now)
            self._errands.expire(now)
            self._tell_serving(now)
        if now >= self._next_stats:
            self._next_stats = now + STATS_PERIOD_S
            stats = self.desk.counted(self._shard.stats())
            self._doors.tell_control(stats)
            self._peering.tell_paces(stats)
            self._peering.ask_levels()
        self._shard.tick(now)
        self.flush(now)

    def flush(self, now: float) -> None:
        """At the end of each turn: what was written in it goes to who keeps copies, in one message
        each."""
        self._streams.flush(now)
        self._data.carry_out(now)

    def _watch_copies(self, now: float) -> None:
        state = self._lease.state(now)
        if state is LeaseState.HELD:
            self._data.take_up(now)
        elif state is LeaseState.MINORITY and self._settings.on_quorum_loss == "serve":
            self._streams.let_go()
        self._tell_turn(now)

    def _tell_turn(self, now: float) -> None:
        after_s = self._settings.detector.down_after_s
        self._doors.tell_control(ShardTurn(
            now, self._peering.withheld, self._map.version, self._shard.keeping.is_whole,
            self._streams.unreachable(now, after_s),
        ))  # fmt: skip

    # --- requests -------------------------------------------------------------------------------

    def request(self, identity: bytes, request: Request, now: float) -> None:
        """One decoded request of a client or a peer."""
        self._notice_stop(now)
        is_data = request.kind in DATA
        origin = Origin(identity, request.rid, request.kind, request.deadline_ms / 1000, None,
                        keys_of(request) if is_data else (), request.protocol)  # fmt: skip
        if is_data:
            self._data.serve(origin, request, now)
        elif request.kind is Kind.WATCH_GET:
            self._data.serve_watched(origin, request, now)
        else:
            self._serve_other(origin, request, now)

    def refuse_bytes(self, identity: bytes, text: str, now: float) -> None:
        """Something came that is no request."""
        self.desk.count("bad_requests")
        self._replies.refuse(Origin(identity, 0, Kind.HELLO), Status.BAD_REQUEST, text, now)

    def refuse_kind(self, identity: bytes, unknown: UnknownKind, now: float) -> None:
        """A request of a kind that this node does not know."""
        self.desk.count("bad_requests")
        origin = Origin(identity, unknown.rid, Kind.HELLO, protocol=unknown.protocol)
        self._replies.refuse(origin, Status.BAD_REQUEST, str(unknown), now)

    def forbid(self, identity: bytes, request: Request, role: str, now: float) -> None:
        """A request that the sender's key does not allow."""
        self.desk.count("forbidden")
        origin = Origin(identity, request.rid, request.kind, protocol=request.protocol)
        text = f"{request.kind.name} needs another key than a {role}'s"
        self._replies.refuse(origin, Status.FORBIDDEN, text, now)

    def answer(self, identity: bytes, request: Request, answer: tuple[Status, Result],
               now: float) -> None:  # fmt: skip
        """What the shell itself has to say to a request."""
        self._replies.send(Origin(identity, request.rid, request.kind), *answer, b"", now)

    def drop(self, identity: bytes) -> None:
        """This connection's key is known no more: nothing is pushed to it."""
        self.desk.count("forbidden")
        self._replies.subscribers.drop(identity)

    def _serve_other(self, origin: Origin, request: Request, now: float) -> None:
        reply = self._replies.send
        match request.fields:
            case Ping() as ping:
                reply(origin, Status.OK, self._peering.pinged(ping, now), b"", now)
                return
            case Paced() as paced:
                self._paced(origin, paced, now)
                return
        match request.kind:
            case Kind.SUBSCRIBE:
                self._replies.subscribe(origin, now)
            case Kind.NEAR_LEASE:
                self._data.renew_near(origin, request, now)
            case Kind.STATUS:
                report = self.desk.report(self._shard.stats(), *self._serving(now), now)
                reply(origin, Status.OK, report, b"", now)
            case Kind.PROPOSE | Kind.PROBE:
                self._ask_control(origin, request, now)
            case Kind.REPLICATE:
                self._data.replicate(origin, request, now)
            case kind if kind in _OF_THE_CORE:
                answer = self._shard.handle(request, origin, now)
                if answer is not None:
                    reply(origin, *answer, now)
                self._data.carry_out(now)
            case _:
                reply(origin, *self.desk.answer(request), b"", now)

    def _paced(self, origin: Origin, paced: Paced, now: float) -> None:
        try:
            self._peering.paced(paced)
        except ValueError as error:
            self._replies.refuse(origin, Status.BAD_REQUEST, str(error), now)
        else:
            self._replies.send(origin, Status.OK, Ack(), b"", now)

    def _ask_control(self, origin: Origin, request: Request, now: float) -> None:
        token = self._errands.begin(origin, now)
        if token:
            self._doors.tell_control(AdminAsked(token, request))
        else:
            text = "too many admin requests are waiting"
            self._replies.refuse(origin, Status.SHED, text, now)

    # --- answers of peers, orders, cold answers -------------------------------------------------

    def peer_reply(self, node: str, reply: Reply, now: float) -> None:
        """A peer answers a ping, a greeting, a message of a stream, or a cold operation."""
        self._notice_stop(now)
        match reply.fields:
            case Pong() as pong:
                self._peering.ponged(node, pong, now)
                return
            case Welcome() as welcome:
                self._peering.welcomed(node, welcome)
                return
            case Confirmed() as confirmed:
                self._streams.confirmed(node, confirmed, now)
            case _:
                self._shard.peer_answer(reply.rid, reply, now)
        self._data.carry_out(now)

    def obey(self, order: ShardOrder, now: float, wall: float) -> None:
        """One order of the control worker."""
        self._notice_stop(now)
        match order:
            case UseMap(state):
                self._use_map(state, now, wall)
            case Withhold(nodes, ready):
                self._peering.withheld, self._peering.grants = nodes, ready
                self._tell_turn(now)
                self._open_gate()
            case RunProbe(tier):
                self._shard.probe(tier, now)
                self._data.carry_out(now)
            case AdminAnswer(token, status, fields):
                origin = self._errands.end(token)
                if origin is not None:
                    self._replies.send(origin, status, fields, b"", now)
            case StandingKnown():
                self.desk.standing = order
            case StopServing(grace_s):
                self._stop(grace_s, now)

    def _stop(self, grace_s: float, now: float) -> None:
        self._peering.is_leaving = True
        self._open_gate()  # it is shut: what was granted so far is all
        self._peering.tell_all(Kind.LEASES_TELL, self._shard.farewell(now))
        self._shard.begin_stop(now, grace_s)
        self._peering.ping_all(now)

    def _open_gate(self) -> None:
        may_serve = self._peering.grants and bool(self._ownership.incarnation)
        self._gate.open = may_serve and not self._peering.is_leaving

    def _use_map(self, state: MapState, now: float, wall: float) -> None:
        old, new = self._map, state.map
        if new.version < old.version:
            return
        self._map = self.desk.use_state(state, now)
        self._replies.use_map(new)
        self._data.use_map(new)
        self._cold_start.use_map(new)
        self._doors.link_peers(new)
        self._peering.use_map(new, now)
        changed = self._ownership.use_map(new, now)
        self._shard.use_map(state, now)
        self._shard.use_stint(new, self._ownership.incarnation, changed, now)
        if changed:
            self._watches.drop_all()
            self._shard.use_slots(new, self._ownership)
        self._open_gate()
        self._cold_start.decide(now, wall)
        self._data.carry_out(now)
        if new.version != old.version:
            self._replies.push(old, now)
            self._peering.ping_all(now)  # the others wait for this confirmation

    def cold_answered(self, answer: ColdAnswer, now: float, wall: float) -> None:
        """One answer of the cold worker."""
        self._notice_stop(now)
        if self._cold_start.takes(answer, now):
            self._cold_start.decide(now, wall)
        else:
            self._shard.cold_answer(answer, now)
        self._data.carry_out(now)

    # --- what it tells of itself ----------------------------------------------------------------

    def _serving(self, now: float) -> tuple[bool, str]:
        me = self._map.member(self._settings.id)
        if self._gate.open and me is not None and me.filling:
            return False, "filling: it takes what it will own"
        if not self._gate.open:
            why = "stopping" if self._peering.is_leaving else "not caught up, or not in the map"
            return False, why
        state = self._lease.state(now)
        settling = "" if self._ownership.is_settled else ", settling"
        return state is not LeaseState.WAITING, f"lease {state.value}{settling}"

    def _tell_serving(self, now: float) -> None:
        serving = self._serving(now)
        if self._told_serving != serving:
            self._told_serving = serving
            self._doors.tell_control(ServingChanged(*serving, self._map.version))
