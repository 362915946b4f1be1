"""The connections of one thread (or event loop) to the cluster, and the calls on them.

The shell of `attempt` and `feed`: it opens links, greets members, follows the tier map at one of
them, sends what attempts want and hands them the answers. `pump` does all of that without waiting;
who calls it waits on the sockets in its own way (`client`: poll; `aio`: the event loop).
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import zmq

from tiercluster.tiermap import Member, NodeState, decode_map

from .attempt import SILENCE_S, Asking, Attempt
from .errors import ProtocolError, TierclusterError, Unavailable
from .feed import Feed
from .link import QUICK_WAIT_MS, Context, CurveKeys, Link
from .plan import LookOp, Operation
from .routing import Router
from .wire import (
    CLIENT_ID_BYTES,
    Fields,
    Hello,
    Kind,
    MapUpdate,
    Refusal,
    Reply,
    Request,
    Status,
    Subscribe,
    Welcome,
    WireError,
    decode_reply,
    encode_request,
)

CHORES_S = 0.05  # between looks at all connections while single requests go well
RENEW_S = 2.0  # of the subscription to map changes
HURRIED_RENEW_S = 0.1  # while an answer is overdue
GREETING_S = 0.3  # until it is repeated
MAX_SPARE_LINKS = 8  # opened at once in search of a member that is alive
STEP_S = 0.005  # between looks at all waiting calls, unless something happened


@dataclass(slots=True)
class Counts:
    """What a session has seen; only its user writes."""

    calls: int = 0
    hits: int = 0
    misses: int = 0
    retries: int = 0
    rerouted: int = 0
    stale_maps: int = 0
    late_answers: int = 0
    bad_answers: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class Session:
    """Not to be used by two threads at once; may be handed over."""

    def __init__(
        self,
        context: Context,
        seeds: tuple[str, ...],
        keys: CurveKeys | None,
        router: Router | None = None,
        opened: Callable[[Link], None] | None = None,
        closing: Callable[[Link], None] | None = None,
    ) -> None:
        """``opened`` and ``closing`` tell who waits on the sockets; ``router`` is a start."""
        self._context = context
        self._seeds = seeds
        self._keys = keys
        self._opened, self._closing = opened, closing
        self.client = os.urandom(CLIENT_ID_BYTES)
        self.feed = Feed(router)
        self.counts = Counts()
        self._rid = 0
        self._links: dict[str, Link] = {}
        self._by_node: dict[str, Link] = {}
        self._routed: Router | None = None  # that _by_node was made for
        self._attempts: dict[int, Attempt] = {}  # by id()
        self._asked: dict[int, tuple[Attempt, Asking]] = {}
        self._own: dict[int, Link] = {}  # greetings and subscriptions
        self._subscribed: Link | None = None
        self._renew_at = 0.0
        self._chores_at = 0.0
        self._step_at = 0.0
        self._happened = True  # something that any waiting call may depend on
        self._fresh: list[Attempt] = []
        self.finished: list[Attempt] = []  # since somebody last emptied it; only if `opened`
        self.is_closed = False

    # --- calls ----------------------------------------------------------------------------------

    def quick(self, operation: Operation, now: float, deadline: float,
              clock: Callable[[], float]) -> Attempt | None:  # fmt: skip
        """The straight path for one key: send, wait a little, take the answer. None: done; else
        the call, to be driven on with `pump`."""
        router = self.feed.router
        keys = operation.keys
        if (
            router is None
            or len(keys) != 1
            or now >= self._chores_at
            or self._attempts
            or operation.kind is Kind.SUBSCRIBE
        ):
            return self.begin(operation, now, deadline)
        node = operation.node or router.owner_of(keys[0])
        link = self._by_node.get(node) if node else None
        if (
            link is None
            or link.offset_ms is None
            or router is not self._routed
            or deadline - now < 2 * QUICK_WAIT_MS / 1000
        ):
            return self.begin(operation, now, deadline)
        self._rid = rid = self._rid + 1
        epoch, stamp = link.epoch, int(link.offset_ms + deadline * 1000)
        asked, body = operation.ask((0,))
        request = Request(operation.kind, rid, router.version, stamp, self.client, False, asked,
                          body)  # fmt: skip
        if not link.send(encode_request(request)):
            return self.begin(operation, now, deadline)
        return self._quick_answer(operation, link, rid, epoch, stamp, now, deadline, clock)

    def _quick_answer(
        self, operation: Operation, link: Link, rid: int, epoch: int, stamp: int, now: float,
        deadline: float, clock: Callable[[], float],
    ) -> Attempt | None:  # fmt: skip
        reply, bad = None, ""
        try:
            reply = decode_reply(link.socket.recv_multipart())
            link.heard(reply.clock_ms, clock())
            if reply.rid == rid and reply.status is Status.OK:
                operation.answered_by, operation.router = link.node, self.feed.router
                operation.take((0,), reply)
                self._count(operation)
                if reply.map_version > self.feed.version:
                    self._chores_at = 0.0
                    self._want_map(link)
                return None
        except zmq.Again:
            pass
        except WireError as error:
            bad = str(error)
        now = clock()
        attempt = Attempt(operation, now, deadline, random.random)
        member = self._member_of(link)
        ask = attempt.resume(link.node, member.incarnation if member else "", rid, epoch, stamp,
                             now)  # fmt: skip
        link.silent_since = link.silent_since or now
        self._asked[rid] = (attempt, ask)
        self._add(attempt)
        if reply is not None:
            self._dispatch(link, reply, now)
        if bad:
            self._bad_answer(link, bad)
        self._first_pump(attempt, now)
        return attempt

    def _member_of(self, link: Link) -> Member | None:
        router = self.feed.router
        return router.tier_map.member(link.node) if router else None

    def begin(
        self, operation: Operation, now: float, deadline: float, *, pumps: bool = True
    ) -> Attempt:
        """Start a call and, if ``pumps``, send what can be sent now. End it with `end`."""
        attempt = Attempt(operation, now, deadline, random.random)
        if isinstance(operation, LookOp):
            self._renew_at = now
        if not attempt.is_done:
            self._add(attempt)
            if pumps:
                self._first_pump(attempt, now)
        return attempt

    def _first_pump(self, attempt: Attempt, now: float) -> None:
        try:
            self.pump(now)
        except BaseException:
            self.end(attempt)
            raise

    def _add(self, attempt: Attempt) -> None:
        self._attempts[id(attempt)] = attempt
        self._fresh.append(attempt)

    def end(self, attempt: Attempt) -> None:
        """Forget a call; later answers to it are late."""
        self._attempts.pop(id(attempt), None)
        for rid in attempt.rids:
            self._asked.pop(rid, None)
        self.counts.retries += attempt.retries
        self.counts.rerouted += attempt.rerouted
        self._count(attempt.operation)

    def _count(self, operation: Operation) -> None:
        counts, hits = self.counts, operation.hits()
        counts.calls += 1
        if hits >= 0:
            counts.hits += hits
            counts.misses += len(operation.keys) - hits

    # --- the pump -------------------------------------------------------------------------------

    def pump(self, now: float) -> None:
        """Take all that has arrived and send all that is due. Never waits."""
        if not self._links:
            self._open_more()
        for link in tuple(self._links.values()):
            if link.read_monitor(now):
                self._connection_changed(link)
            self._read(link, now)
            if link.is_up and link.offset_ms is None and now >= link.greeted_at + GREETING_S:
                self._greet(link, now)
        self._follow(now)
        self._step(now)
        self._chores_at = now + CHORES_S

    def wake_at(self) -> float:
        """When to pump again if nothing arrives."""
        return min(self._step_at, self._renew_at)

    def _connection_changed(self, link: Link) -> None:
        self._happened = True
        if not link.is_ready:  # what was asked there for ourselves will not be answered
            self._own = {rid: other for rid, other in self._own.items() if other is not link}

    def _read(self, link: Link, now: float) -> None:
        while True:
            try:
                reply = link.receive(now)
            except WireError as error:
                self._bad_answer(link, str(error))
                continue
            if reply is None:
                return
            self._dispatch(link, reply, now)

    def _bad_answer(self, link: Link, text: str) -> None:
        """Nobody can tell which question it answers, so all that wait for this member fail."""
        self.counts.bad_answers += 1
        link.refusal = ProtocolError(f"{link.address} says what this client cannot read: {text}")
        for attempt in self._attempts.values():
            if any(ask.node == link.node for ask in attempt.asks):
                attempt.fail(link.refusal)
        self._happened = True

    def _dispatch(self, link: Link, reply: Reply, now: float) -> None:
        asked = self._asked.pop(reply.rid, None)
        if asked is not None and asked[1].rid == reply.rid:
            self._answered(link, reply, *asked, now)
        elif reply.rid == 0:
            self._pushed(link, reply)
        elif self._own.pop(reply.rid, None) is not None:
            self._take_map(link, reply)
            self._looked(link)
        else:
            self.counts.late_answers += 1
        if reply.map_version > self.feed.version:
            self._want_map(link)

    def _answered(self, link: Link, reply: Reply, attempt: Attempt, ask: Asking,
                  now: float) -> None:  # fmt: skip
        if reply.status is Status.STALE_MAP:
            self.counts.stale_maps += 1
            self._take_map(link, reply)
        elif reply.status is Status.DEADLINE:
            link.offset_ms = reply.clock_ms - now * 1000
        operation = attempt.operation
        operation.answered_by, operation.router = link.node, self.feed.router
        attempt.answered(ask, reply, now)
        self._fresh.append(attempt)

    def _pushed(self, link: Link, reply: Reply) -> None:
        if isinstance(reply.fields, Refusal):
            self._bad_answer(link, reply.fields.text)
        elif reply.kind is Kind.MAP_PUSH:
            self._take_map(link, reply)

    def _take_map(self, link: Link, reply: Reply) -> None:
        before = self.feed.router
        try:
            if isinstance(reply.fields, Welcome):
                self._welcomed(link, reply.fields)
            elif isinstance(reply.fields, MapUpdate) and not self.feed.take(
                reply.fields, reply.map_version
            ):
                self._want_map(link)
        except ProtocolError as error:
            self._bad_answer(link, str(error))
        if self.feed.router is not before:
            self._happened = True

    def _welcomed(self, link: Link, welcome: Welcome) -> None:
        """A member's own map. Another cluster's is taken only if nobody of ours is left: the
        members may have been set up anew at their old addresses."""
        try:
            tier_map = decode_map(welcome.map)
        except ValueError as error:
            raise ProtocolError(f"a tier map that cannot be read: {error}") from None
        link.node, link.cluster = welcome.node, tier_map.cluster
        self._happened = True
        ours = self.feed.cluster
        is_foreign = bool(ours and tier_map.cluster and tier_map.cluster != ours)
        others = (o for o in self._links.values() if o is not link and o.is_ready)
        if is_foreign and any(other.cluster == ours for other in others):
            self._close(link)
            return
        self.feed.use(tier_map, another_cluster=is_foreign)

    def _looked(self, link: Link) -> None:
        if self.feed.router is None:
            return
        for attempt in self._attempts.values():
            if isinstance(attempt.operation, LookOp):
                attempt.operation.router = self.feed.router
                attempt.operation.answered_by = link.node
                attempt.asks.clear()
        self._happened = True

    # --- the map --------------------------------------------------------------------------------

    def _tell(self, link: Link, kind: Kind, asked: Fields) -> bool:
        """Ask something for the session itself."""
        self._rid += 1
        request = Request(kind, self._rid, self.feed.version, 0, self.client, False, asked)
        if not link.send(encode_request(request)):
            return False
        self._own[self._rid] = link
        return True

    def _greet(self, link: Link, now: float) -> None:
        if self._tell(link, Kind.HELLO, Hello()):
            link.greeted_at = now

    def _want_map(self, link: Link) -> None:
        """This member knows a newer map; at most one such question to it at a time."""
        if link not in self._own.values():
            self._tell(link, Kind.SUBSCRIBE, Subscribe(self.feed.version))

    def _follow(self, now: float) -> None:
        """Keep a subscription at a member that answers."""
        self._route()
        link = self._subscribed
        if link is None or not link.is_ready or _is_silent(link, now):
            link = self._live_link(now)
        elif now < self._renew_at:
            return
        if link is None:
            self._subscribed = None
            self._renew_at = now + GREETING_S
            self._open_more()
        elif self._tell(link, Kind.SUBSCRIBE, Subscribe(self.feed.version)):
            link.silent_since = link.silent_since or now
            self._subscribed = link
            self._renew_at = now + RENEW_S

    def _live_link(self, now: float) -> Link | None:
        links = [k for k in self._links.values() if k.is_ready and not _is_silent(k, now)]
        return links[0] if links else None

    def _route(self) -> None:
        """Which link leads to which node, for the newest map; close those to nobody."""
        router = self.feed.router
        if router is self._routed or router is None:
            return
        self._routed = router
        members = [m for m in router.tier_map.members if m.state is not NodeState.LEFT]
        addresses = {m.address for m in members}
        if any(k.is_ready and k.address in addresses for k in self._links.values()):
            for link in tuple(self._links.values()):
                if link.address not in addresses:
                    self._close(link)
        self._by_node = {m.id: self._links[m.address] for m in members if m.address in self._links}
        for node, link in self._by_node.items():
            link.node = node

    # --- links ----------------------------------------------------------------------------------

    def links(self) -> Iterator[Link]:
        return iter(self._links.values())

    def _open(self, address: str) -> Link:
        try:
            link = Link(self._context, address, self._keys)
        except zmq.ZMQError as error:
            raise Unavailable(f"cannot connect to {address}: {error}") from None
        self._links[address] = link
        if self._opened is not None:
            self._opened(link)
        return link

    def _close(self, link: Link) -> None:
        if self._closing is not None:
            self._closing(link)
        link.close()
        self._links.pop(link.address, None)
        self._by_node = {node: k for node, k in self._by_node.items() if k is not link}
        self._own = {rid: k for rid, k in self._own.items() if k is not link}
        if self._subscribed is link:
            self._subscribed = None

    def _open_more(self) -> None:
        """Try members and seeds that are not tried yet, in search of one that lives."""
        spare = MAX_SPARE_LINKS - sum(not link.is_ready for link in self._links.values())
        for address in self._addresses():
            if spare > 0 and address not in self._links:
                self._open(address)
                self._routed = None
                spare -= 1

    def _addresses(self) -> list[str]:
        router = self.feed.router
        members = router.tier_map.members if router else ()
        up = [m.address for m in members if m.state is NodeState.UP]
        return [*up, *self._seeds]

    def _reach(self, node: str) -> int | None:
        link = self._by_node.get(node) or self._connect(node)
        return link.epoch if link is not None and link.is_ready else None

    def _connect(self, node: str) -> Link | None:
        router = self.feed.router
        member = router.tier_map.member(node) if router else None
        if member is None or not member.address or member.state is NodeState.LEFT:
            return None
        link = self._links.get(member.address) or self._open(member.address)
        link.node = node
        self._by_node[node] = link
        return link

    # --- attempts -------------------------------------------------------------------------------

    def _step(self, now: float) -> None:
        """Look at the calls that something happened to; at all when it may concern all."""
        self._route()
        if self._happened or now >= self._step_at:
            self._happened = False
            self._fresh.clear()
            attempts = list(self._attempts.values())
            self._step_at = now + RENEW_S
        else:
            attempts, self._fresh = self._fresh, []
        for attempt in attempts:
            if not attempt.is_done:
                self._step_one(attempt, now)
            if attempt.is_done and self._opened is not None:
                self.finished.append(attempt)
        self._step_at = max(self._step_at, now + 0.0005)

    def _step_one(self, attempt: Attempt, now: float) -> None:
        self._find_nobody(attempt)
        if attempt.is_done:
            return
        for ask in attempt.step(now, self.feed.router, self._reach):
            if not self._send(attempt, ask, now):
                self._step_at = min(self._step_at, now + STEP_S)
        self._step_at = min(self._step_at, attempt.wake_at())

    def _send(self, attempt: Attempt, ask: Asking, now: float) -> bool:
        router = self.feed.router
        assert router is not None
        operation = attempt.operation
        node = attempt.target(ask, router)
        assert node is not None
        link = self._by_node[node]
        rid, is_retry = ask.rid, ask.rid != 0
        if not is_retry:
            self._rid = rid = self._rid + 1
        # A retry is never later than the first request: the node forgets a write at its deadline.
        stamp = link.stamp(attempt.deadline)
        ask.stamp = min(stamp, ask.stamp) if is_retry and ask.epoch == link.epoch else stamp
        asked, body = operation.ask(ask.part)
        request = Request(operation.kind, rid, router.version, ask.stamp, self.client, is_retry,
                          asked, body)  # fmt: skip
        if not link.send(encode_request(request)):
            return False
        attempt.sent(ask, node, rid, link.epoch, now)
        link.silent_since = link.silent_since or now
        self._asked[rid] = (attempt, ask)
        if is_retry:
            self._renew_at = min(self._renew_at, now + HURRIED_RENEW_S)
        return True

    def _find_nobody(self, attempt: Attempt) -> None:
        """Fail at once if every known address has refused since the call began."""
        links = self._links
        if not all(_is_hopeless(link, attempt.began) for link in links.values()):
            return
        if all(address in links for address in self._addresses()):
            attempt.fail(_nobody(list(links.values())))
        else:
            self._open_more()

    def close(self) -> None:
        self.is_closed = True
        for link in tuple(self._links.values()):
            self._close(link)
        self.fail_all(Unavailable("the client was closed"))

    def fail_all(self, error: TierclusterError) -> None:
        """End every call that waits."""
        for attempt in self._attempts.values():
            attempt.fail(error)
            self.finished.append(attempt)


def _is_silent(link: Link, now: float) -> bool:
    return bool(link.silent_since) and now - link.silent_since > SILENCE_S


def _is_hopeless(link: Link, since: float) -> bool:
    return not link.is_ready and (link.failed_at >= since or link.refusal is not None)


def _nobody(links: list[Link]) -> TierclusterError:
    said = next((link.refusal for link in links if link.refusal is not None), None)
    if said is not None:
        return said
    return Unavailable(f"no member reachable at {', '.join(link.address for link in links)}")
