"""The thread that hears of changes for a near cache: a connection of its own to every node.

    ask each node for a lease, every RENEW_S while the cache is read
    take what the nodes tell, in order; a lease counts from the sending of the question

It writes into the `NearCache` under the lock that it shares with the calls. Should it be starved of
the interpreter, leases run out and the calls ask the nodes instead.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Iterable

import zmq

from tiercluster.tiermap import NodeState, TierMap

from .codec import encode_request
from .errors import ProtocolError, TierclusterError, Unavailable
from .link import Context, CurveKeys, Link, new_context
from .members import Members
from .nearcache import NearCache
from .routing import Router
from .wire import (
    CLIENT_ID_BYTES,
    SINCE,
    Invalidated,
    Kind,
    NearGrant,
    NearLease,
    Peek,
    Peeked,
    Refusal,
    Reply,
    Request,
    Status,
    WireError,
)

RENEW_S = 0.1
OVERDUE_S = 1.0  # an answer: then it is asked again
IDLE_S = 5.0  # without a read no lease is asked for; the copies stay
OLD_S = 1.0  # until one that speaks an older version is looked at again
SHY_S = 30.0  # until a node that knows no near caches is asked again
AGAIN_S = 1.0  # after a failure
AUDIT_S = 1.0
AUDIT_KEYS = 16
JOIN_S = 2.0

_log = logging.getLogger("tiercluster")


class _Seat:
    """What we know of one node. ``speaks``: it has answered about a lease on this connection."""

    __slots__ = ("asked", "epoch", "next_at", "speaks")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.asked: dict[int, float] = {}  # the request that waits, with when it was sent
        self.next_at = 0.0
        self.speaks = False

    def due_at(self) -> float:
        """One question at a time: each that knows no stint would begin another."""
        return max([self.next_at, *(sent_at + OVERDUE_S for sent_at in self.asked.values())])


class NearFeed:
    """``client`` is whom nodes tell; ``may_watch``: every node that serves can do so. Only the
    thread writes, but for `stop`."""

    def __init__(
        self,
        seeds: tuple[str, ...],
        keys: CurveKeys | None,
        cache: NearCache,
        lock: threading.Lock,
    ) -> None:
        self.client = os.urandom(CLIENT_ID_BYTES)
        self.may_watch = False
        self.audited = self.stale = (
            0  # copies that were looked at, and found older; never the latter
        )
        self.reads = 0  # written by the calls: so many asked the cache and then a node
        self._seeds, self._keys = seeds, keys
        self._cache, self._lock = cache, lock
        self._seats: dict[str, _Seat] = {}
        self._router: Router | None = None
        self._seen = (-1, -1)
        self._used_at = 0.0
        self._audit_at = 0.0
        self._audits: dict[int, tuple[str, list[tuple[bytes, int]]]] = {}
        self._is_stopped = False
        self._wake_reader, self._wake_writer = os.pipe()
        self._thread = threading.Thread(target=self._run, name="tiercluster-near", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended. Nothing is served from the cache then."""
        if self._is_stopped:
            return
        self._is_stopped = True
        os.write(self._wake_writer, b"x")
        if threading.current_thread() is self._thread:
            return
        self._thread.join(JOIN_S)
        if not self._thread.is_alive():
            os.close(self._wake_reader)
            os.close(self._wake_writer)

    # --- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while (context := self._new_context()) is None:
            if self._is_stopped:
                return
        members = Members(context, self._seeds, self._keys, self.client, None, None, None)
        try:
            self._loop(members)
        except Exception:  # noqa: BLE001 - the calls go on without
            _log.exception("the near cache has stopped")
        finally:
            self._give_up()
            members.close()
            context.term()

    def _new_context(self) -> Context | None:
        """None where there can be none yet; it has waited then."""
        try:
            return new_context()
        except Unavailable as error:
            _log.info("near cache: %s", error)
        self._wait((), AGAIN_S)
        return None

    def _loop(self, members: Members) -> None:
        while not self._is_stopped:
            pause = RENEW_S
            try:
                pause = self._turn(members, time.monotonic())
            except (TierclusterError, zmq.ZMQError) as error:
                _log.info("near cache: %s: %s", type(error).__name__, error)
                self._give_up()
                pause = AGAIN_S
            self._wait(members, pause)

    def _give_up(self) -> None:
        self.may_watch = False
        self._seats.clear()
        with self._lock:
            self._cache.lost_all()

    def _wait(self, links: Iterable[Link], seconds: float) -> None:
        poller = zmq.Poller()
        poller.register(self._wake_reader, zmq.POLLIN)
        for link in links:
            poller.register(link.socket, zmq.POLLIN)
            poller.register(link.monitor, zmq.POLLIN)
        poller.poll(max(int(seconds * 1000), 0) + 1)

    def _turn(self, members: Members, now: float) -> float:
        """Take all that has come, ask what is due; the seconds until more is due."""
        if not members.links:
            members.open_more()
        for link in members:
            members.look_after(link, now)
            self._read(members, link, now)
        members.follow(now, lambda: False)
        self._follow_map(members)
        return self._ask_all(members, now)

    def _leave(self, node: str) -> None:
        self._seats.pop(node, None)
        with self._lock:
            self._cache.lost(node)

    # --- the map --------------------------------------------------------------------------------

    def _follow_map(self, members: Members) -> None:
        """Another ring means other owners: everything begins anew."""
        before, router = self._router, members.feed.router
        if router is before or router is None:
            return
        self._router = router
        if before is None or not _is_same_ring(before.tier_map, router.tier_map):
            with self._lock:
                self._cache.lost_all()
            for node in self._seats.keys() - set(_serving(router)):
                del self._seats[node]

    def _ask_all(self, members: Members, now: float) -> float:
        serving = _serving(self._router) if self._router else []
        if self._is_idle(now):
            return RENEW_S
        for node in serving:
            self._ask_if_due(members, node, now)
        if self.may_watch and now >= self._audit_at:
            self._audit_at = now + AUDIT_S
            self._audit(members, now)
        seats = [self._seats.get(node) for node in serving]
        self.may_watch = bool(seats) and all(seat is not None and seat.speaks for seat in seats)
        return min([RENEW_S, *(seat.due_at() - now for seat in seats if seat is not None)])

    def _is_idle(self, now: float) -> bool:
        seen = (self._cache.hits, self.reads)
        if seen != self._seen:
            self._seen, self._used_at = seen, now
        return now >= self._used_at + IDLE_S

    # --- leases ---------------------------------------------------------------------------------

    def _ask_if_due(self, members: Members, node: str, now: float) -> None:
        epoch = members.reach(node)
        seat = self._seats.get(node)
        if seat is not None and seat.epoch != epoch:
            self._leave(node)
            seat = None
        if epoch is None:
            return
        if seat is None:
            seat = self._seats[node] = _Seat(epoch)
        if now >= seat.due_at():
            self._ask(members, node, seat, now)

    def _ask(self, members: Members, node: str, seat: _Seat, now: float) -> None:
        link = members.by_node[node]
        if link.protocol < SINCE[Kind.NEAR_LEASE]:
            seat.speaks, seat.next_at = False, now + OLD_S
            return
        members.last_rid += 1
        rid = members.last_rid
        asked = NearLease(self._cache.stint(node))
        request = Request(Kind.NEAR_LEASE, rid, members.feed.version, 0, self.client, False, asked,
                          protocol=link.protocol)  # fmt: skip
        seat.next_at = now + RENEW_S
        seat.asked.clear()
        if link.send(encode_request(request)):
            seat.asked[rid] = now

    # --- the auditor ----------------------------------------------------------------------------

    def _audit(self, members: Members, now: float) -> None:
        """Ask each node about some of the copies that we have of its keys. What it tells us of
        changes comes by this same connection, before its answer: a copy that is still here then and
        older than the answer is a broken promise. What the node does not have it may have evicted:
        a deleted value that lives on here is not found."""
        self._audits.clear()
        with self._lock:
            copies = list(self._cache.copies(now))
        asked: dict[str, list[tuple[bytes, int]]] = {}
        for key, version, node in random.sample(copies, min(AUDIT_KEYS, len(copies))):
            asked.setdefault(node, []).append((key, version))
        for node, some in asked.items():
            link = members.by_node.get(node)
            if link is None or members.reach(node) is None:
                continue
            members.last_rid += 1
            peek = Peek(tuple([key for key, _ in some]))
            request = Request(Kind.PEEK, members.last_rid, members.feed.version, 0, self.client,
                              False, peek, protocol=link.protocol)  # fmt: skip
            if link.send(encode_request(request)):
                self._audits[members.last_rid] = node, some

    def _take_audit(self, rid: int, peeked: Peeked, now: float) -> None:
        node, asked = self._audits.pop(rid, ("", []))
        with self._lock:
            for (key, version), newest in zip(asked, peeked.versions, strict=False):
                if self._cache.has(key, version, node, now):
                    self.audited += 1
                    self.stale += version < newest

    def _read(self, members: Members, link: Link, now: float) -> None:
        while True:
            try:
                reply = link.receive(now)
            except WireError as error:
                raise ProtocolError(f"{link.address} says what cannot be read: {error}") from None
            if reply is None:
                return
            self._take(members, link, reply, now)

    def _take(self, members: Members, link: Link, reply: Reply, now: float) -> None:
        node, fields = link.node, reply.fields
        seat = self._seats.get(node)
        if isinstance(fields, Invalidated):
            with self._lock:
                is_whole = self._cache.invalidated(
                    node, fields.stint, fields.seq, fields.keys, fields.everything
                )
            if not is_whole and seat is not None:
                seat.next_at = now
        elif isinstance(fields, NearGrant):
            self._take_grant(node, seat, reply.rid, fields, now)
        elif isinstance(fields, Peeked):
            self._take_audit(reply.rid, fields, now)
        elif isinstance(fields, Refusal) and reply.kind is not Kind.PEEK:
            self._take_refusal(node, seat, reply, now)
        elif members.was_ours(reply.rid) or reply.kind is Kind.MAP_PUSH:
            members.take_map(link, reply)
        if reply.map_version > members.feed.version:
            members.want_map(link)

    def _take_grant(
        self, node: str, seat: _Seat | None, rid: int, grant: NearGrant, now: float
    ) -> None:
        sent_at = seat.asked.pop(rid, None) if seat is not None else None
        if seat is None or sent_at is None:
            return  # by an earlier connection
        seat.speaks = True
        until = sent_at + grant.valid_ms / 1000
        with self._lock:
            is_whole = self._cache.granted(node, grant.stint, grant.seq, until)
        if not is_whole:
            seat.next_at = now

    def _take_refusal(self, node: str, seat: _Seat | None, reply: Reply, now: float) -> None:
        """It knows no near caches, or does not allow them: then none of its keys are kept."""
        if seat is None or (reply.rid and reply.rid not in seat.asked):
            return
        _log.info("near cache: %s: %s: %s", node, Status(reply.status).name, reply.fields)
        seat.speaks, seat.next_at = False, now + SHY_S
        seat.asked.clear()
        with self._lock:
            self._cache.lost(node)


def _serving(router: Router) -> list[str]:
    """The members whose keys may be read."""
    return [m.id for m in router.tier_map.members if m.serves and m.state is NodeState.UP]


def _is_same_ring(one: TierMap, other: TierMap) -> bool:
    return one.identity == other.identity and one.ring_version == other.ring_version
