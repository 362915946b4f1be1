"""The way of a data request: known already? let through? handled, and answered once that holds.

A request passes the write log, the gate and the streams before the shard sees it; its answer passes
the streams, where it may wait for copies, and the write log, which remembers it for its retry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tiercluster.cluster.ring import slot_of, slots_of
from tiercluster.cluster.wire import (
    CLIENT_ID_BYTES,
    MOVED_SINCE,
    Get,
    Incr,
    Kind,
    Refusal,
    Replicate,
    Request,
    Result,
    Status,
    WatchGet,
)
from tiercluster.tiermap import TierMap

from .announcer import Announcer, watched
from .desk import LONGEST_CALL_S, Desk
from .doors import Doors
from .effects import Answer, Effect, Origin, ToCold, ToControl, ToPeer
from .gate import WHOLE_NODE, WRITES, Gate, is_repeatable
from .lease import Lease
from .peering import Peering
from .replies import Replies
from .shard import Shard
from .watches import Watches
from .writelog import Answered, WriteLog

_NOBODY = bytes(CLIENT_ID_BYTES)  # a peer asks
_NOT_KNOWN = "the keys have another owner, or their copies were let go"
_REFUSED_BEFORE = Answered(Status.RETRY, Refusal("a copy of this request was refused"), b"")


class DataPath:
    """Between the door and the shard; it carries the shard's effects out."""

    def __init__(
        self,
        shard: Shard,
        gate: Gate,
        lease: Lease,
        watches: Watches,
        peering: Peering,
        replies: Replies,
        desk: Desk,
        doors: Doors,
    ) -> None:
        self._shard = shard
        self._streams = shard.streams
        self._gate = gate
        self._lease = lease
        self._watches = watches
        self._near = Announcer(watches, gate, lease)
        self._peering = peering
        self._replies = replies
        self._desk = desk
        self._doors = doors
        self._writes = WriteLog()
        self._again: dict[tuple[bytes, int], Origin] = {}  # who asked last for what waits
        self._copies = TierMap().copies

    def use_map(self, new: TierMap) -> None:
        self._gate.map_version = new.version
        self._copies = new.copies

    def expire(self, now: float) -> None:
        self._writes.expire(now)
        self._again = {name: o for name, o in self._again.items() if self._writes.knows(*name)}
        self._watches.expire(now)

    # --- requests -------------------------------------------------------------------------------

    def serve(self, origin: Origin, request: Request, now: float) -> None:
        """A data request; ``origin`` has its keys."""
        is_write = request.kind in WRITES
        if is_write and self._writes.knows(request.client, request.rid):
            known = self._writes.answer(request.client, request.rid)
            if known is not None:
                self._say(origin, known, now)
            else:  # its answer waits; the connection by which it came first may be gone
                self._again[request.client, request.rid] = origin
            return
        deadline = origin.deadline or now + LONGEST_CALL_S
        if is_write and request.retry and self._writes.may_have_forgotten(deadline):
            # Before the gate, whose refusal would say that nothing has been applied.
            text = "too many writes to remember"
            self._turn_down(origin, request, Status.UNKNOWN_OUTCOME, text, now)
            return
        slots = slots_of(origin.keys)
        verdict = self._gate.check(request, slots, now)
        if verdict.status is not Status.OK:
            self._desk.count_refused(verdict.status)
            self._turn_down(origin, request, verdict.status, verdict.text, now)
            return
        self.take_up(now)
        if request.kind is Kind.PEEK and self._streams.is_let_go and request.client == _NOBODY:
            # A peer audits its copies: in a minority this node has let them go.
            self._turn_down(origin, request, Status.RETRY, "this node is in a minority", now)
            return
        if request.prior and self._is_answered(origin, request, slots, deadline, now):
            return
        if is_write and self._streams.is_full(slots):
            self._desk.count_refused(Status.SHED)
            self._turn_down(origin, request, Status.SHED, "the copies of these keys lag", now)
            return
        if is_write:
            self._writes.begin(request.client, request.rid, deadline, now)
            origin = Origin(origin.identity, origin.rid, origin.kind, deadline, request.client,
                            origin.keys, origin.protocol, None, self._gate.map_version)  # fmt: skip
        answer = self._shard.handle(request, origin, now, slots)
        if self._watches.has_news:
            self._tell_near(now)
        if answer is not None:
            self._answer(origin, *answer, now)
        self.carry_out(now)

    def _is_answered(self, origin: Origin, request: Request, slots: Sequence[int],
                     deadline: float, now: float) -> bool:  # fmt: skip
        """A write that a node which is gone may have applied: if it has, and told us, that is the
        answer, unless this node has begun anew with the key since. If it may have and we cannot
        tell, nobody can. That this process refused a copy of it, or lost the key while it waited,
        says nothing of another."""
        known = self._writes.answer(request.client, request.prior)
        if known is not None and known.status is Status.OK and self._holds(known):
            self._writes.begin(request.client, request.rid, deadline, now)
            self._writes.finish(request.client, request.rid, known)
            self._say(origin, known, now)
            return True
        # This node's own, of keys that went to another owner and came back, or were not only one's.
        has_moved = known is not None and known.status is not Status.RETRY
        if is_repeatable(request) or not (has_moved or self._shard.keeping.is_new(slots, now)):
            return False
        text = "this node keeps the key since too short a time to know"
        self._turn_down(origin, request, Status.UNKNOWN_OUTCOME, text, now)
        return True

    def _holds(self, known: Answered) -> bool:
        """Whether what this node had of the key when it learned of the write is what it shows."""
        return known.slot < 0 or self._shard.keeping.floors[known.slot] <= known.era

    def _say(self, origin: Origin, known: Answered, now: float) -> None:
        self._replies.send(origin, known.status, known.fields, known.body, now)

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
        self._replies.refuse(origin, status, text, now)

    def replicate(self, origin: Origin, request: Request, now: float) -> None:
        """An owner tells of its writes."""
        answer = self._shard.handle(request, origin, now)
        assert answer is not None
        for write in self._shard.take_remembered():
            self._writes.begin(write.client, write.rid, now + write.left_s, now)
            answered = Answered(*write.answered, write.slot, self._shard.keeping.era)
            self._writes.finish(write.client, write.rid, answered)
        self._replies.send(origin, *answer, now)
        self.carry_out(now)

    # --- near copies ----------------------------------------------------------------------------

    def serve_watched(self, origin: Origin, request: Request, now: float) -> None:
        """A GET of a client that keeps what it reads and is told when it changes."""
        asked = request.fields
        assert isinstance(asked, WatchGet)
        slots = slots_of(asked.keys)
        verdict = self._gate.check(request, slots, now)
        if verdict.status is not Status.OK:
            self._desk.count_refused(verdict.status)
            self._replies.refuse(origin, verdict.status, verdict.text, now)
            return
        watching = self._near.watch(asked, slots)
        origin = replace(origin, keys=asked.keys, watching=watching)
        read = request._replace(kind=Kind.GET, fields=Get(asked.keys, True))
        answer = self._shard.handle(read, origin, now, slots)
        if answer is not None:
            self._near.found(asked, watching, answer[1])
            self._answer(origin, *answer, now)
        self.carry_out(now)

    def renew_near(self, origin: Origin, request: Request, now: float) -> None:
        grant = self._near.renew(request, origin.identity, now)
        self._tell_near(now)  # all that its number counts
        self._replies.send(origin, Status.OK, grant, b"", now)

    def _tell_near(self, now: float) -> None:
        """Before a write is answered, the copies of its key have been recalled."""
        for identity, news in self._watches.take():
            self._replies.recall(identity, news, now)

    # --- answers --------------------------------------------------------------------------------

    def take_up(self, now: float) -> None:
        """Out of a minority, whose answers needed no copies: none is given like that any more."""
        if self._streams.is_let_go and now < self._lease.held_until:
            self._streams.take_up(now)

    def _answer(self, origin: Origin, status: Status, fields: Result, body: bytes,
                now: float) -> None:  # fmt: skip
        """What is said of a key holds if this node dies now: until then it waits."""
        self.take_up(now)
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
                self._replies.refuse(origin, Status.RETRY, _NOT_KNOWN, now)

    def _has_moved(self, origin: Origin) -> bool:
        """Whether the keys of a write that waited are another's, or were meanwhile: whoever owned
        them then was not told of it, and has told this node what it is to hold. Without copies
        this node would hold nothing (`Placing`)."""
        if self._copies == 1:
            return False
        slots = slots_of(origin.keys)
        is_ours = self._streams.owns(origin.keys)
        return not is_ours or self._gate.has_gained(slots, origin.under)

    def _say_moved(self, origin: Origin, now: float) -> None:
        text = "the keys went to another owner before it was known to have this"
        status = Status.MOVED if origin.protocol >= MOVED_SINCE else Status.UNKNOWN_OUTCOME
        self._finish(origin, status, Refusal(text), b"", now)

    def _finish(self, origin: Origin, status: Status, fields: Result, body: bytes,
                now: float) -> None:  # fmt: skip
        if origin.client:
            slot = slot_of(origin.keys[0]) if len(origin.keys) == 1 else -1
            answered = Answered(status, fields, body, slot, self._shard.keeping.era)
            self._writes.finish(origin.client, origin.rid, answered)
            again = self._again.pop((origin.client, origin.rid), None)
            if again is not None and again.identity != origin.identity:
                self._say(again, answered, now)
        if origin.watching is not None:
            fields = watched(fields, origin.watching)
        self._replies.send(origin, status, fields, body, now)

    def carry_out(self, now: float) -> None:
        """What the shard and the streams want done."""
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
                if origin.client and status is Status.OK and self._has_moved(origin):
                    self._say_moved(origin, now)
                else:
                    self._answer(origin, status, fields, body, now)
            case ToCold(command):
                if not self._doors.tell_cold(command):
                    self._desk.count("cold_shed")
                    self._shard.cold_shed(command, now)
            case ToPeer(node, kind, fields, body, token):
                if self._peering.tell(node, kind, fields, body, token):
                    return
                if isinstance(fields, Replicate):
                    self._streams.not_sent(node, fields.seq, now)
                self._shard.peer_answer(token, None, now)
            case ToControl(report):
                self._doors.tell_control(report)


def keys_of(request: Request) -> Sequence[bytes]:
    """Those of a data request; none if it is about the whole node."""
    fields = request.fields
    if request.kind in WHOLE_NODE:
        return ()
    return (fields.key,) if isinstance(fields, Incr) else fields.keys  # type: ignore[union-attr]
