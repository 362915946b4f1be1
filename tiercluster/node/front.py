"""Everything the shard thread decides, without its sockets: requests, pings, orders, cold answers.

`Front` holds the cores (`shard`, `gate`, `ownership`, `lease`, `writelog`, `desk`) and carries
their effects out through the four doors it is given. It reads no clock and opens nothing, so that
the simulation runs it as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from tiercluster.cluster.ring import slots_of
from tiercluster.cluster.wire import (
    CLIENT_ID_BYTES,
    MOVED_SINCE,
    OLDEST_VERSION,
    SINCE,
    Ack,
    Confirmed,
    Fields,
    Get,
    Hello,
    Incr,
    Kind,
    MapUpdate,
    Paced,
    Ping,
    Pong,
    Refusal,
    Replicate,
    Reply,
    Request,
    Result,
    Status,
    UnknownKind,
    WatchGet,
    Welcome,
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

from .announcer import Announcer, first_stint, watched
from .desk import LONGEST_ADMIN_S, LONGEST_CALL_S, MOST_ADMIN_REQUESTS, Desk
from .effects import Answer, Effect, Origin, ToCold, ToControl, ToPeer
from .gate import DATA, WHOLE_NODE, WRITES, Gate, is_repeatable
from .lease import Lease, LeaseState
from .levels import PeerLevels
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
    ShardStats,
    ShardTurn,
    StandingKnown,
    StopServing,
    UseMap,
    Withhold,
)
from .ownership import Ownership
from .pace_talk import heard, told
from .settings import NodeSettings
from .shard import Shard
from .subscribers import Subscribers
from .watches import Watches
from .writelog import Answered, WriteLog

STATS_PERIOD_S = 1.0
OPEN_TOKEN = 0  # of the first ColdOpen; the shard counts its own from 1

_OF_THE_CORE = frozenset(
    {
        Kind.COLD_PUT, Kind.COLD_GET, Kind.COLD_DROP, Kind.FILL, Kind.FAULT, Kind.LEASES_ASK,
        Kind.LEASES_TELL,
    }
)  # fmt: skip
_NOBODY = bytes(CLIENT_ID_BYTES)  # a peer asks
_REFUSED_BEFORE = Answered(Status.RETRY, Refusal("a copy of this request was refused"), b"")


class Doors(Protocol):
    """What the front tells the world. All return at once; False: not taken."""

    def reply(self, identity: bytes, reply: Reply) -> bool: ...

    def send_peer(self, node: str, kind: Kind, rid: int, version: int, fields: Fields,
                  body: bytes) -> bool: ...  # fmt: skip

    def link_peers(self, tier_map: TierMap) -> None: ...

    def tell_cold(self, command: ColdCommand) -> bool: ...

    def tell_control(self, report: ShardReport) -> object: ...


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
        self._near = Announcer(self._watches, self._gate, self._lease)
        self._writes = WriteLog()
        self._subscribers = Subscribers()
        self._levels = PeerLevels(settings.id)
        self.desk = Desk(settings, token, now)
        self._map = TierMap()
        self._token = token
        self._before = ""  # the process that the map knew under this id before this one joined
        self._cold_rows: ColdOpened | None = None
        self._withheld: frozenset[str] = frozenset()
        self._grants = False
        self._asked: dict[int, tuple[float, Origin]] = {}  # oldest first, with the time of asking
        self._next_token = 0
        self._stopping = False
        self._last_moment = now
        self._stall_s = settings.detector.stall_s
        self._next_ping = self._next_stats = 0.0
        self._told_serving: tuple[bool, str] | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether a stop that was asked for has been carried out."""
        return self._stopping and self._shard.is_stopped

    def start(self) -> None:
        """Ask for the cold store; what a clean stop left in it is judged when the map is known."""
        self._doors.tell_cold(ColdOpen(OPEN_TOKEN, wipe=False))

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
            self._ping_all(now)
            self._watch_copies(now)
            self._ownership.tick(now)
            if self._ownership.is_settled:
                self._shard.settled(now)
            self._writes.expire(now)
            self._subscribers.expire(now)
            self._watches.expire(now)
            self._forget_asked(now)
            self._tell_serving(now)
        if now >= self._next_stats:
            self._next_stats = now + STATS_PERIOD_S
            stats = self.desk.counted(self._shard.stats())
            self._doors.tell_control(stats)
            self._tell_paces(stats)
            self._ask_levels()
        self._shard.tick(now)
        self.flush(now)

    def flush(self, now: float) -> None:
        """At the end of each turn: what was written in it goes to who keeps copies, in one message
        each."""
        self._streams.flush(now)
        self._carry_out(now)

    def _watch_copies(self, now: float) -> None:
        state = self._lease.state(now)
        if state is LeaseState.HELD:
            self._take_up(now)
        elif state is LeaseState.MINORITY and self._settings.on_quorum_loss == "serve":
            self._streams.let_go()
        self._tell_turn(now)

    def _take_up(self, now: float) -> None:
        """Out of a minority, whose answers needed no copies: none is given like that any more."""
        if self._streams.is_let_go and now < self._lease.held_until:
            self._streams.take_up(now)

    def _tell_turn(self, now: float) -> None:
        after_s = self._settings.detector.down_after_s
        self._doors.tell_control(ShardTurn(
            now, self._withheld, self._map.version, self._shard.keeping.is_whole,
            self._streams.unreachable(now, after_s),
        ))  # fmt: skip

    # --- requests -------------------------------------------------------------------------------

    def request(self, identity: bytes, request: Request, now: float) -> None:
        """One decoded request of a client or a peer."""
        self._notice_stop(now)
        is_data = request.kind in DATA
        origin = Origin(identity, request.rid, request.kind, request.deadline_ms / 1000, None,
                        _keys_of(request) if is_data else (), request.protocol)  # fmt: skip
        if is_data:
            self._serve_data(origin, request, now)
        elif request.kind is Kind.WATCH_GET:
            self._serve_watched(origin, request, now)
        else:
            self._serve_other(origin, request, now)

    def refuse_bytes(self, identity: bytes, text: str, now: float) -> None:
        """Something came that is no request."""
        self.desk.count("bad_requests")
        origin = Origin(identity, 0, Kind.HELLO, 0.0)
        self._refuse(origin, Status.BAD_REQUEST, text, now)

    def refuse_kind(self, identity: bytes, unknown: UnknownKind, now: float) -> None:
        """A request of a kind that this node does not know."""
        self.desk.count("bad_requests")
        origin = Origin(identity, unknown.rid, Kind.HELLO, protocol=unknown.protocol)
        self._refuse(origin, Status.BAD_REQUEST, str(unknown), now)

    def forbid(self, identity: bytes, request: Request, role: str, now: float) -> None:
        """A request that the sender's key does not allow."""
        self.desk.count("forbidden")
        origin = Origin(identity, request.rid, request.kind, protocol=request.protocol)
        text = f"{request.kind.name} needs another key than a {role}'s"
        self._refuse(origin, Status.FORBIDDEN, text, now)

    def answer(self, identity: bytes, request: Request, answer: tuple[Status, Result],
               now: float) -> None:  # fmt: skip
        """What the shell itself has to say to a request."""
        self._reply(Origin(identity, request.rid, request.kind), *answer, b"", now)

    def drop(self, identity: bytes) -> None:
        """This connection's key is known no more: nothing is pushed to it."""
        self.desk.count("forbidden")
        self._subscribers.drop(identity)

    def _serve_data(self, origin: Origin, request: Request, now: float) -> None:
        is_write = request.kind in WRITES
        if is_write and self._writes.knows(request.client, request.rid):
            known = self._writes.answer(request.client, request.rid)
            if known is not None:
                self._reply(origin, *known, now)
            return
        deadline = origin.deadline or now + LONGEST_CALL_S
        if is_write and request.retry and self._writes.may_have_forgotten(deadline):
            # Before the gate, whose refusal would say that nothing has been applied.
            text = "too many writes to remember"
            self._turn_down(origin, request, Status.UNKNOWN_OUTCOME, text, now)
            return
        slots = slots_of(_keys_of(request))
        verdict = self._gate.check(request, slots, now)
        if verdict.status is not Status.OK:
            self.desk.count_refused(verdict.status)
            self._turn_down(origin, request, verdict.status, verdict.text, now)
            return
        self._take_up(now)
        if request.kind is Kind.PEEK and self._streams.is_let_go and request.client == _NOBODY:
            # A peer audits its copies: in a minority this node has let them go.
            self._turn_down(origin, request, Status.RETRY, "this node is in a minority", now)
            return
        if request.prior and self._is_answered(origin, request, slots, deadline, now):
            return
        if is_write and self._streams.is_full(slots):
            self.desk.count_refused(Status.SHED)
            self._turn_down(origin, request, Status.SHED, "the copies of these keys lag", now)
            return
        if is_write:
            self._writes.begin(request.client, request.rid, deadline, now)
            origin = Origin(origin.identity, origin.rid, origin.kind, deadline, request.client,
                            origin.keys, origin.protocol)  # fmt: skip
        answer = self._shard.handle(request, origin, now, slots)
        if self._watches.has_news:
            self._tell_near(now)
        if answer is not None:
            self._answer(origin, *answer, now)
        self._carry_out(now)

    def _is_answered(self, origin: Origin, request: Request, slots: Sequence[int],
                     deadline: float, now: float) -> bool:  # fmt: skip
        """A write that a node which is gone may have applied: if it has, and told us, that is the
        answer. If it may have and we cannot tell, nobody can. That this process refused a copy of
        it, or lost the key while it waited, says nothing of another."""
        known = self._writes.answer(request.client, request.prior)
        if known is not None and known.status is Status.OK:
            self._writes.begin(request.client, request.rid, deadline, now)
            self._writes.finish(request.client, request.rid, known)
            self._reply(origin, *known, now)
            return True
        # This node's own, of keys that went to another owner and came back, or were not only one's.
        has_moved = known is not None and known.status is not Status.RETRY
        if is_repeatable(request) or not (has_moved or self._shard.keeping.is_new(slots, now)):
            return False
        text = "this node keeps the key since too short a time to know"
        self._turn_down(origin, request, Status.UNKNOWN_OUTCOME, text, now)
        return True

    def _serve_watched(self, origin: Origin, request: Request, now: float) -> None:
        """A GET of a client that keeps what it reads and is told when it changes."""
        asked = request.fields
        assert isinstance(asked, WatchGet)
        slots = slots_of(asked.keys)
        verdict = self._gate.check(request, slots, now)
        if verdict.status is not Status.OK:
            self.desk.count_refused(verdict.status)
            self._refuse(origin, verdict.status, verdict.text, now)
            return
        watching = self._near.watch(asked, slots)
        origin = replace(origin, keys=asked.keys, watching=watching)
        read = request._replace(kind=Kind.GET, fields=Get(asked.keys, True))
        answer = self._shard.handle(read, origin, now, slots)
        if answer is not None:
            self._near.found(asked, watching, answer[1])
            self._answer(origin, *answer, now)
        self._carry_out(now)

    def _tell_near(self, now: float) -> None:
        """Before a write is answered, the copies of its key have been recalled."""
        for identity, news in self._watches.take():
            reply = Reply(Kind.INVALIDATE, 0, self._map.version, int(now * 1000), Status.OK, news)
            self._doors.reply(identity, reply)

    def _turn_down(self, origin: Origin, request: Request, status: Status, text: str,
                   now: float) -> None:  # fmt: skip
        """Refuse a data request. The client goes on under a new id, so a write that was refused is
        refused for good: another copy of it may come yet and must not be applied, too. It is an
        earlier one, by a connection that was given up, or a retry that the client had sent before
        the refusal reached it."""
        if request.kind in WRITES:
            deadline = origin.deadline or now + LONGEST_CALL_S
            self._writes.begin(request.client, request.rid, deadline, now)
            is_known = status is not Status.UNKNOWN_OUTCOME
            answer = _REFUSED_BEFORE if is_known else Answered(status, Refusal(text), b"")
            self._writes.finish(request.client, request.rid, answer)
        self._refuse(origin, status, text, now)

    def _serve_other(self, origin: Origin, request: Request, now: float) -> None:
        match request.kind:
            case Kind.PEER_PING:
                self._pinged(origin, request.fields, now)
            case Kind.PEER_PACE:
                self._paced(origin, request.fields, now)
            case Kind.SUBSCRIBE:
                self._subscribers.add(origin.identity, now, origin.protocol)
                self._reply(origin, Status.OK, self._snapshot(origin.protocol), b"", now)
            case Kind.NEAR_LEASE:
                grant = self._near.renew(request, origin.identity, now)
                self._tell_near(now)  # all that its number counts
                self._reply(origin, Status.OK, grant, b"", now)
            case Kind.STATUS:
                report = self.desk.report(self._shard.stats(), *self._serving(now), now)
                self._reply(origin, Status.OK, report, b"", now)
            case Kind.PROPOSE | Kind.PROBE:
                self._ask_control(origin, request, now)
            case Kind.REPLICATE:
                self._replicate(origin, request, now)
            case kind if kind in _OF_THE_CORE:
                answer = self._shard.handle(request, origin, now)
                if answer is not None:
                    self._reply(origin, *answer, now)
                self._carry_out(now)
            case _:
                self._reply(origin, *self.desk.answer(request), b"", now)

    def _replicate(self, origin: Origin, request: Request, now: float) -> None:
        answer = self._shard.handle(request, origin, now)
        assert answer is not None
        for write in self._shard.take_remembered():
            self._writes.begin(write.client, write.rid, now + write.left_s, now)
            self._writes.finish(write.client, write.rid, Answered(*write.answered))
        self._reply(origin, *answer, now)
        self._carry_out(now)

    def _ask_control(self, origin: Origin, request: Request, now: float) -> None:
        if len(self._asked) >= MOST_ADMIN_REQUESTS:
            self._refuse(origin, Status.SHED, "too many admin requests are waiting", now)
            return
        self._next_token += 1
        self._asked[self._next_token] = now, origin
        self._doors.tell_control(AdminAsked(self._next_token, request))

    def _forget_asked(self, now: float) -> None:
        """An admin request or its answer may be lost, in an inbox that was full."""
        while self._asked:
            token = next(iter(self._asked))
            if now < self._asked[token][0] + LONGEST_ADMIN_S:
                return
            del self._asked[token]

    # --- answers --------------------------------------------------------------------------------

    def _answer(self, origin: Origin, status: Status, fields: Result, body: bytes,
                now: float) -> None:  # fmt: skip
        """What is said of a key holds if this node dies now: until then it waits."""
        self._take_up(now)
        if self._streams.is_busy and self._streams.concerns(origin):
            self._streams.hold(origin, (status, fields, body))
        else:
            self._finish(origin, status, fields, body, now)

    def _release(self, now: float) -> None:
        for origin, answered, is_good in self._streams.take_released():
            if is_good:
                self._finish(origin, *answered, now)
            elif origin.client:
                self._say_moved(origin, now)
            else:
                self._reply(origin, Status.RETRY, Refusal("these keys have another owner"), b"",
                            now)  # fmt: skip

    def _say_moved(self, origin: Origin, now: float) -> None:
        text = "the keys went to another owner before it was known to have this"
        status = Status.MOVED if origin.protocol >= MOVED_SINCE else Status.UNKNOWN_OUTCOME
        self._finish(origin, status, Refusal(text), b"", now)

    def _finish(self, origin: Origin, status: Status, fields: Result, body: bytes,
                now: float) -> None:  # fmt: skip
        if origin.client:
            self._writes.finish(origin.client, origin.rid, Answered(status, fields, body))
        if origin.watching is not None:
            fields = watched(fields, origin.watching)
        self._reply(origin, status, fields, body, now)

    def _refuse(self, origin: Origin, status: Status, text: str, now: float) -> None:
        fields = self._snapshot(origin.protocol) if status is Status.STALE_MAP else Refusal(text)
        self._reply(origin, status, fields, b"", now)

    def _reply(self, origin: Origin, status: Status, fields: Result, body: bytes,
               now: float) -> None:  # fmt: skip
        reply = Reply(origin.kind, origin.rid, self._map.version, int(now * 1000),
                      status, fields, body, origin.protocol)  # fmt: skip
        if not self._doors.reply(origin.identity, reply):
            self.desk.count("answers_dropped")

    def _carry_out(self, now: float) -> None:
        self._release(now)
        effects = self._shard.take_effects()
        while effects or self._watches.has_news:
            if self._watches.has_news:
                self._tell_near(now)
            for effect in effects:
                self._carry_out_one(effect, now)
            effects = self._shard.take_effects()

    def _carry_out_one(self, effect: Effect, now: float) -> None:
        match effect:
            case Answer(origin, status, fields, body):
                if origin.client and self._map.copies > 1 and not self._streams.owns(origin.keys):
                    self._say_moved(origin, now)  # whoever owns them now has not been told of it
                else:
                    self._answer(origin, status, fields, body, now)
            case ToCold(command):
                if not self._doors.tell_cold(command):
                    self.desk.count("cold_shed")
                    self._shard.cold_shed(command, now)
            case ToPeer(node, kind, fields, body, token):
                if self._tell_peer(node, kind, fields, body, token):
                    return
                if isinstance(fields, Replicate):
                    self._streams.not_sent(node, fields.seq, now)
                self._shard.peer_answer(token, None, now)
            case ToControl(report):
                self._doors.tell_control(report)

    # --- peers ----------------------------------------------------------------------------------

    def _ping_all(self, now: float) -> None:
        me = self._ownership.incarnation
        if not me:
            return
        version = self._map.version
        ping = Ping(self._settings.id, me, int(now * 1000), version, self._map.digest,
                    self._stopping)  # fmt: skip
        for node in self._others_up():
            self._doors.send_peer(node, Kind.PEER_PING, 0, version, ping, b"")

    def _tell_peer(
        self, node: str, kind: Kind, fields: Fields, body: bytes = b"", rid: int = 0
    ) -> bool:
        """Not while the cluster runs at a level that has no such message."""
        if self._map.level < SINCE.get(kind, OLDEST_VERSION):
            return False
        return self._doors.send_peer(node, kind, rid, self._map.version, fields, body)

    def _others_up(self) -> list[str]:
        me = self._settings.id
        return [m.id for m in self._map.members if m.state is NodeState.UP and m.id != me]

    def _tell_paces(self, stats: ShardStats) -> None:
        me = self._ownership.incarnation
        for paced in told(self._settings.id, me, stats, self._settings.slowness.samples):
            for node in self._others_up():
                self._tell_peer(node, Kind.PEER_PACE, paced)

    def _paced(self, origin: Origin, paced: Fields, now: float) -> None:
        assert isinstance(paced, Paced)
        try:
            self._doors.tell_control(heard(paced))
        except ValueError as error:
            self._refuse(origin, Status.BAD_REQUEST, str(error), now)
        else:
            self._reply(origin, Status.OK, Ack(), b"", now)

    def _ask_levels(self) -> None:
        """Ask members of a map below our own level what they speak; tell when all have said it."""
        version = self._map.version
        for node in self._levels.to_ask(self._map):
            self._doors.send_peer(node, Kind.HELLO, 0, version, Hello(), b"")
        heard = self._levels.all_heard(self._map)
        if heard is not None:
            self._doors.tell_control(heard)

    def _pinged(self, origin: Origin, ping: Fields, now: float) -> None:
        assert isinstance(ping, Ping)
        member = self._map.member(ping.node)
        known = member is not None and member.incarnation == ping.incarnation
        is_up = member is not None and known and member.state is NodeState.UP
        if known:
            self._doors.tell_control(
                PeerHeard(ping.node, ping.incarnation, now, ping.map_version, ping.digest,
                          ping.leaving)
            )  # fmt: skip
            self._ownership.confirm(ping.node, ping.incarnation, ping.map_version, now)
        grant = is_up and self._grants and ping.node not in self._withheld
        pong = Pong(self._settings.id, self._ownership.incarnation, ping.sent_ms,
                    self._map.version, self._map.digest, grant)  # fmt: skip
        self._reply(origin, Status.OK, pong, b"", now)

    def peer_reply(self, node: str, reply: Reply, now: float) -> None:
        """A peer answers a ping, a greeting, a message of a stream, or a cold operation."""
        self._notice_stop(now)
        if isinstance(reply.fields, Confirmed):
            self._streams.confirmed(node, reply.fields, now)
            self._carry_out(now)
            return
        if isinstance(reply.fields, Welcome):
            self._levels.heard(node, reply.fields.incarnation, reply.fields.protocol)
            return
        if not isinstance(reply.fields, Pong):
            self._shard.peer_answer(reply.rid, reply, now)
            self._carry_out(now)
            return
        pong = reply.fields
        trusted = node not in self._withheld
        sent_at = min(pong.sent_ms / 1000, now)  # whatever the peer says: no lease without an end
        self._lease.pong(node, sent_at, pong.grant, pong.map_version, now, trusted)
        self._ownership.confirm(node, pong.incarnation, pong.map_version, now)
        self._streams.heard(node, now)

    # --- orders and cold answers ----------------------------------------------------------------

    def obey(self, order: ShardOrder, now: float, wall: float) -> None:
        """One order of the control worker."""
        self._notice_stop(now)
        match order:
            case UseMap(state):
                self._use_map(state, now, wall)
            case Withhold(nodes, ready):
                self._withheld, self._grants = nodes, ready
                self._tell_turn(now)
                self._open_gate()
            case RunProbe(tier):
                self._shard.probe(tier, now)
                self._carry_out(now)
            case AdminAnswer(token, status, fields):
                asked = self._asked.pop(token, None)
                if asked is not None:
                    self._reply(asked[1], status, fields, b"", now)
            case StandingKnown():
                self.desk.standing = order
            case StopServing(grace_s):
                self._stopping = True
                self._open_gate()
                self._say_farewell(now)
                self._shard.begin_stop(now, grace_s)
                self._ping_all(now)

    def _say_farewell(self, now: float) -> None:
        """The gate is shut: what was granted so far is all."""
        leases = self._shard.farewell(now)
        for node in self._others_up():
            self._tell_peer(node, Kind.LEASES_TELL, leases)

    def _open_gate(self) -> None:
        self._gate.open = self._grants and not self._stopping and bool(self._ownership.incarnation)

    def _use_map(self, state: MapState, now: float, wall: float) -> None:
        old, new = self._map, state.map
        if new.version < old.version:
            return
        self._map = self.desk.use_state(state, now)
        self._gate.map_version = new.version
        me = new.member(self._settings.id)
        if me is not None and me.process != self._token:
            self._before = me.process
        self._doors.link_peers(new)
        self._lease.use_map(new.version, self._others_up(), now, self._other_voters(new))
        changed = self._ownership.use_map(new, now)
        self._shard.use_map(state, now)
        self._shard.use_stint(new, self._ownership.incarnation, changed, now)
        if changed:
            self._watches.drop_all()
            self._shard.use_slots(new, self._ownership)
        self._open_gate()
        self._decide_on_cold_rows(now, wall)
        self._carry_out(now)
        if new.version != old.version:
            self._push(old, new, now)
            self._ping_all(now)  # the others wait for this confirmation

    def _other_voters(self, tier_map: TierMap) -> list[str]:
        if not self._settings.join:
            return [node for node, _ in self._settings.peers]
        return [m.id for m in tier_map.members if m.raft and m.state is not NodeState.LEFT]

    def _push(self, old: TierMap, new: TierMap, now: float) -> None:
        delta = diff(old, new)
        for protocol, identities in self._subscribers.by_protocol().items():
            update = MapUpdate(old.version, encode_delta(delta, protocol))
            reply = Reply(Kind.MAP_PUSH, 0, new.version, int(now * 1000), Status.OK, update,
                          protocol=protocol)  # fmt: skip
            for identity in identities:
                self._doors.reply(identity, reply)

    def _snapshot(self, protocol: int) -> MapUpdate:
        return MapUpdate(0, encode_map(self._map, protocol))

    def cold_answered(self, answer: ColdAnswer, now: float, wall: float) -> None:
        """One answer of the cold worker."""
        self._notice_stop(now)
        if isinstance(answer, ColdOpened) and answer.token == OPEN_TOKEN:
            self._cold_rows = answer
            incarnation, generation = answer.marker or ("", 0)
            keepable = answer.marker is not None
            self._doors.tell_control(ColdReady(keepable, incarnation, generation, None))
            self._decide_on_cold_rows(now, wall)
        elif isinstance(answer, ColdFailed) and answer.token == OPEN_TOKEN:
            self._doors.tell_control(ColdReady(False, "", 0, answer.failure))
            self._shard.cold_is_missing(answer.failure, now)
        else:
            self._shard.cold_answer(answer, now)
        self._carry_out(now)

    def _decide_on_cold_rows(self, now: float, wall: float) -> None:
        """What a clean stop left in cold is taken over if that process was this node's last one and
        the map kept the generation."""
        opened, me = self._cold_rows, self._map.member(self._settings.id)
        if opened is None or me is None or me.incarnation != self._ownership.incarnation:
            return
        self._cold_rows = None
        # The process matters too: a new cluster begins with the generations of the old one.
        if opened.marker == (self._before, me.tier(Tier.COLD).generation):
            self._shard.adopt_cold(opened.rows, self._ownership.is_mine, now, wall)
        else:
            self._shard.wipe_cold(now)

    # --- what it tells of itself ----------------------------------------------------------------

    def _serving(self, now: float) -> tuple[bool, str]:
        me = self._map.member(self._settings.id)
        if self._gate.open and me is not None and me.filling:
            return False, "filling: it takes what it will own"
        if not self._gate.open:
            return False, "stopping" if self._stopping else "not caught up, or not in the map"
        state = self._lease.state(now)
        settling = "" if self._ownership.is_settled else ", settling"
        return state is not LeaseState.WAITING, f"lease {state.value}{settling}"

    def _tell_serving(self, now: float) -> None:
        serving = self._serving(now)
        if self._told_serving != serving:
            self._told_serving = serving
            self._doors.tell_control(ServingChanged(*serving, self._map.version))


def _keys_of(request: Request) -> Sequence[bytes]:
    """Those of a data request; none if it is about the whole node."""
    fields = request.fields
    if request.kind in WHOLE_NODE:
        return ()
    return (fields.key,) if isinstance(fields, Incr) else fields.keys  # type: ignore[union-attr]
