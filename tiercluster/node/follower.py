"""How a node follows the map without a replica: the feed of any member, and proposals through it.

It stands where a voter has its Raft replica: the same doors (`propose`, `barrier`, `stop`) and the
same events (Applied, Standing, BarrierDone). It stays with a member of its own cluster that votes
and has a quorum: what another knows may be old, and two that follow each other learn nothing.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import zmq

from tiercluster.cluster.codec import decode_plain, decode_reply, encode_request
from tiercluster.cluster.wire import (
    CLIENT_ID_BYTES,
    OLDEST_VERSION,
    VERSION,
    Decided,
    EventList,
    EventsQuery,
    Fields,
    Hello,
    Kind,
    MapUpdate,
    Propose,
    Refusal,
    Reply,
    Report,
    Request,
    Status,
    StatusQuery,
    Subscribe,
    Welcome,
    WireError,
)
from tiercluster.tiermap import (
    MAX_EVENTS,
    MAX_OUTCOMES,
    Barrier,
    Event,
    MapState,
    NodeState,
    Outcome,
    OutcomeCode,
    TierMap,
    decode_command,
    decode_delta,
    decode_event,
    decode_map,
    encode_command,
    patch,
)
from tiercluster.tiermap.raft import (
    NO_CUT,
    Applied,
    BarrierDone,
    Cut,
    Open,
    Outlet,
    ReplicaEvent,
    Standing,
)

from .inbox import Inbox
from .keyring import NodeKeys
from .sockets import dealer, own_curve, servers_of

RENEW_S = 1.0  # between renewals of the subscription, which also prove that the member lives
SILENCE_S = 2.5  # without a word of a quorum: try another member
PROPOSAL_S = 2.0  # a proposal without an answer is dropped; its proposer tries again
PROPOSALS_LIMIT = 1000
POLL_MS = 100

log = logging.getLogger(__name__)


class Follower:
    """Follows through one member at a time; tries the others when it falls silent, or says nothing
    that is worth following."""

    def __init__(
        self,
        node: str,
        seed: str,
        deliver: Callable[[ReplicaEvent[Any]], object],
        keys: NodeKeys | None = None,
        state: MapState | None = None,
    ) -> None:
        """``seed``: a member's address, empty if ``state`` names members to follow."""
        self._node = node
        self._seed = seed
        self._deliver = deliver
        self._keys = keys
        self._new_keys: deque[NodeKeys] = deque(maxlen=1)  # the newest
        self._client = os.urandom(CLIENT_ID_BYTES)
        self._inbox: Inbox[bytes] = Inbox(PROPOSALS_LIMIT)
        self._stopping = threading.Event()
        self._state = state or MapState()
        self._waiting: dict[int, tuple[float, str, str]] = {}  # rid: until, command id, barrier
        self._barriers: dict[str, int] = {}  # token: the version that must be applied first
        # Outcomes whose version is not applied here yet.
        self._early: deque[Outcome] = deque(maxlen=MAX_OUTCOMES)
        self._rid = 0
        self._next_address = 0
        self._address = ""  # of the member that we follow through now
        self._cut = NO_CUT
        self._heard = self._renewed = 0.0
        self._is_ours = False  # the member that we follow through now
        self._protocol = 0  # the newest version that it and we speak; 0: it has not said
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._sockets: set[zmq.Socket[bytes]] = set()
        self._outlet: Outlet | None = None
        self._address = ""
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def propose(self, frame: bytes) -> bool:
        """Enqueue a command for the member; False when too many wait. Any thread."""
        return self._inbox.tell(frame)

    def barrier(self, token: str) -> None:
        """BarrierDone(token) follows when a no-op was committed and its version is applied here."""
        frame = encode_command(Barrier(id=f"barrier:{token}", by=self._node))
        if not self._inbox.tell(frame):
            self._deliver(BarrierDone(token, ok=False))

    def cut_off(self, cut: Cut) -> None:
        """Have what is said to and by these members dropped, for a game day. Any thread."""
        self._cut = cut

    def use_keys(self, keys: NodeKeys) -> None:
        """Show these from now on. Any thread."""
        self._new_keys.append(keys)

    def stop(self, timeout_s: float = 2.0) -> None:
        self._stopping.set()  # seen within POLL_MS
        self._thread.join(timeout_s)

    # --- the loop -------------------------------------------------------------------------------

    def _run(self) -> None:
        self._poller.register(self._inbox, zmq.POLLIN)
        while not self._stopping.is_set():
            now = time.monotonic()
            self._take_keys()
            if self._outlet is None or now - self._heard > SILENCE_S:
                self._connect(now)
            if self._outlet is not None and now - self._renewed > RENEW_S:
                self._renew(now)
            ready = dict(self._poller.poll(POLL_MS))
            for socket in ready:
                if socket in self._sockets:
                    self._receive(socket)
            for frame in self._inbox.drain():
                self._send_proposal(frame)
            self._expire(time.monotonic())
        self._close()

    def _close(self) -> None:
        self._hang_up()
        self._context.term()

    def _hang_up(self) -> None:
        if self._outlet is not None:
            self._outlet.close()
            self._outlet = None

    def _take_keys(self) -> None:
        while self._new_keys:
            self._keys = self._new_keys.popleft()
            if self._outlet is not None:
                self._outlet.renew(self._opener(self._address), self._servers)
                self._renewed = 0.0  # the new connection wants a subscription of its own

    def _addresses(self) -> list[str]:
        others = [m for m in self._state.map.members
                  if m.state is not NodeState.LEFT and m.id != self._node]  # fmt: skip
        others.sort(key=lambda m: m.state is not NodeState.UP)
        seeds = [self._seed] if self._seed else []
        return [*seeds, *(m.address for m in others if m.address != self._seed)]

    @property
    def _servers(self) -> tuple[bytes | None, ...]:
        return servers_of(own_curve(self._keys))

    def _opener(self, address: str) -> Open:
        context, curve = self._context, own_curve(self._keys)
        return lambda server: dealer(context, address, curve, server)

    def _opened(self, socket: zmq.Socket[bytes]) -> None:
        self._sockets.add(socket)
        self._poller.register(socket, zmq.POLLIN)

    def _closing(self, socket: zmq.Socket[bytes]) -> None:
        self._sockets.discard(socket)
        self._poller.unregister(socket)

    def _connect(self, now: float) -> None:
        if self._outlet is not None:
            self._hang_up()
            self._deliver(Standing(None, False, False, 0))
        addresses = self._addresses()
        if not addresses:
            return
        self._address = addresses[self._next_address % len(addresses)]
        self._next_address += 1
        opener = self._opener(self._address)
        self._outlet = Outlet(opener, self._servers, self._opened, self._closing)
        self._heard, self._renewed = now, 0.0
        self._is_ours = not self._state.map.members
        self._protocol = 0

    def _renew(self, now: float) -> None:
        """Not sent (no connection yet): tried again in the next round."""
        # It may be upgraded while we are connected.
        if self._protocol < VERSION and not self._send(Kind.HELLO, Hello()):
            return
        if self._protocol:
            self._send(Kind.SUBSCRIBE, Subscribe(self._state.map.version))
        if self._send(Kind.STATUS, StatusQuery()):
            self._renewed = now

    def _send(self, kind: Kind, fields: Fields) -> int:
        if self._outlet is None:
            return 0
        self._rid += 1
        if self._is_cut_off():
            return self._rid
        protocol = self._protocol or OLDEST_VERSION
        request = Request(kind, self._rid, 0, 0, self._client, False, fields, protocol=protocol)
        return self._rid if self._outlet.send(encode_request(request)) else 0

    def _is_cut_off(self) -> bool:
        followed = (m.id for m in self._state.map.members if m.address == self._address)
        return self._cut.drops(next(followed, ""), time.monotonic())

    def _send_proposal(self, frame: bytes) -> None:
        command = decode_command(frame)
        rid = self._send(Kind.PROPOSE, Propose(frame)) if self._is_ours else self._skip()
        barrier = command.id.removeprefix("barrier:") if isinstance(command, Barrier) else ""
        if rid:
            self._waiting[rid] = (time.monotonic() + PROPOSAL_S, command.id, barrier)
        elif barrier:
            self._deliver(BarrierDone(barrier, ok=False))

    def _skip(self) -> int:
        """The id of a proposal that is not sent: it waits in vain, like one that was lost."""
        self._rid += 1
        return self._rid

    def _expire(self, now: float) -> None:
        for rid in [r for r, (until, _, _) in self._waiting.items() if until < now]:
            _, _, barrier = self._waiting.pop(rid)
            if barrier:
                self._deliver(BarrierDone(barrier, ok=False))

    # --- what the member says -------------------------------------------------------------------

    def _receive(self, socket: zmq.Socket[bytes]) -> None:
        for _ in range(100):
            if socket.closed:  # what was read here has led to a send, that to another connection
                return
            try:
                frames = socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            if self._is_cut_off():
                continue
            with suppress(ValueError):  # not of this protocol: as if it had not come
                self._take(decode_reply(frames))

    def _take(self, reply: Reply) -> None:
        match reply.fields:
            case Welcome(protocol=protocol):
                self._welcomed(protocol)
            case Refusal(text) if reply.kind is Kind.HELLO:
                log.error("cannot follow this member: %s", text)
            case MapUpdate():
                self._update(reply.fields)
            case EventList(frames):
                self._remember(events=tuple(map(decode_event, frames)))
            case Decided(code, reason, version):
                self._decided(reply.rid, OutcomeCode(code), reason, version)
            case Report(data):
                self._report(data)
            case _ if reply.rid in self._waiting:
                self._turned_down(reply)

    def _welcomed(self, protocol: int) -> None:
        spoken = min(protocol, VERSION)
        if spoken != self._protocol:
            self._protocol = spoken
            self._send(Kind.SUBSCRIBE, Subscribe(self._state.map.version))

    def _update(self, update: MapUpdate) -> None:
        try:
            new = self._mapped(update)
        except ValueError:
            self._renewed = 0.0  # a gap: ask for a snapshot at once
            return
        known = self._state.map
        self._is_ours = not known.members or new.identity == known.identity
        says_more = new.version == known.version and new.level > known.level  # it was upgraded
        if self._is_ours and (new.version > known.version or says_more):
            since = self._state.events[-1].version if self._state.events else 0
            self._state = replace(self._state, map=new)
            self._deliver(Applied(self._state))
            self._send(Kind.EVENTS, EventsQuery(since))
        self._catch_up()

    def _mapped(self, update: MapUpdate) -> TierMap:
        if update.base == 0:
            return decode_map(update.data)
        return patch(self._state.map, decode_delta(update.data))

    def _remember(self, events: tuple[Event, ...] = (), outcomes: tuple[Outcome, ...] = ()) -> None:
        newest = self._state.events[-1].version if self._state.events else 0
        fresh = tuple(e for e in events if e.version > newest)
        self._state = replace(
            self._state,
            events=(self._state.events + fresh)[-MAX_EVENTS:],
            outcomes=(self._state.outcomes + outcomes)[-MAX_OUTCOMES:],
        )
        self._deliver(Applied(self._state))

    def _decided(self, rid: int, code: OutcomeCode, reason: str, version: int) -> None:
        _, command_id, barrier = self._waiting.pop(rid, (0.0, "", ""))
        if barrier:
            self._barriers[barrier] = version
        elif command_id:
            self._learned(Outcome(command_id, code, reason, version))
        self._catch_up()

    def _learned(self, outcome: Outcome) -> None:
        """Once, though a command that was proposed again is answered as often."""
        if all(early.command_id != outcome.command_id for early in self._early):
            self._early.append(outcome)

    def _turned_down(self, reply: Reply) -> None:
        """REFUSED and UNKNOWN_REF are outcomes; anything else means: not decided, ask again."""
        _, command_id, barrier = self._waiting.pop(reply.rid)
        text = getattr(reply.fields, "text", "")
        codes = {Status.REFUSED: OutcomeCode.REFUSED, Status.UNKNOWN_REF: OutcomeCode.UNKNOWN}
        if barrier:
            self._deliver(BarrierDone(barrier, ok=False))
        elif reply.status in codes:
            outcome = Outcome(command_id, codes[reply.status], text, reply.map_version)
            self._remember(outcomes=(outcome,))

    def _catch_up(self) -> None:
        """Tell of what the map here shows by now: who knows what became of a report, but not the
        map that it made, would grant to a member that is out by it."""
        version = self._state.map.version
        known = tuple(o for o in self._early if o.version <= version)
        if known:
            early = (o for o in self._early if o.version > version)
            self._early = deque(early, maxlen=MAX_OUTCOMES)
            self._remember(outcomes=known)
        for token, version in list(self._barriers.items()):
            if self._state.map.version >= version:
                del self._barriers[token]
                self._deliver(BarrierDone(token, ok=True))

    def _report(self, data: bytes) -> None:
        report = decode_plain(data)
        if not isinstance(report, dict):
            raise WireError("a status that is no map")
        leader, has_quorum = report.get("leader"), report.get("quorum") is True
        if not self._is_ours:
            return
        # Each time: a replica that fails to heal says in between that it sees no quorum.
        self._deliver(Standing(leader if type(leader) is str else None, False, has_quorum, 0))
        if has_quorum and report.get("voting") is True:
            self._heard = time.monotonic()
