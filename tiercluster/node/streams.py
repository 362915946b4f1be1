"""The owner's side of replication: one stream of numbered messages to each node that keeps copies.

    write --> op in the open message --flush--> sent --Confirmed--> answers that waited go out
                                                  |
                                                  +--silence, or refused: all unconfirmed again

A stream is a reliable queue over links that may lose: the receiver takes message n + 1 only after
n, so that it has, at any time, exactly what this node had at some earlier time. An answer about a
key waits until every stream has confirmed what was queued for that key, a read too: what was read
must not be lost with this node.

What cannot be confirmed for long does not hold up for ever: the map shows the peer DOWN, or apart
from this node. In a minority, where no map can say so, the thread is let go (`let_go`), and later
begun anew, which makes the peer forget what it has of this node (`Keeping.lost_thread`).

A pure core. Times are monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from tiercluster.cluster.holders import Table
from tiercluster.cluster.ring import SLOTS, slots_of
from tiercluster.cluster.wire import NAME_BYTES, Confirmed, Kind, OpKind, Replicate
from tiercluster.tiermap import NodeState, TierMap

from .effects import Answered, Effects, Origin, ToPeer
from .entry import NEVER

MESSAGE_OPS = 1000
MESSAGE_BYTES = 2**20  # of values; one larger value goes alone
MAX_BYTES = 32 * 2**20  # unconfirmed, a stream; then writes are shed
MAX_OPS = 200_000
RESEND_S = 0.1  # of silence
REFUSED_PAUSE_S = 0.01  # a peer that has not applied our map yet is asked again
RESEND_MESSAGES = 32  # at one time
WINDOW = 100  # messages sent and not confirmed: less than the link's queue takes
OP_BYTES = 64  # counted for each op beside its key and value
NO_NAME = bytes(NAME_BYTES)
NO_CURSOR = -2
COUNTED = 0x80  # in the first byte of a name's request id: the write was an INCR


class Op(NamedTuple):
    """One change of one key. ``expires`` in monotonic seconds; ``name``: of the write, so that its
    retry is known wherever it comes to; NO_NAME for none."""

    kind: OpKind
    slot: int
    key: bytes
    version: int
    flags: int
    expires: float
    value: bytes
    name: bytes


class Held:
    """An answer that waits for ``waits`` messages."""

    __slots__ = ("answered", "keys", "origin", "waits")

    def __init__(self, origin: Origin, answered: Answered, keys: Sequence[bytes]) -> None:
        self.origin, self.answered, self.keys = origin, answered, keys
        self.waits = 0


class Release(NamedTuple):
    """An answer to be sent now; ``is_good`` False: this node lost the keys, so nobody knows."""

    origin: Origin
    answered: Answered
    is_good: bool


class _Message:
    __slots__ = ("clear", "filled", "held", "ops", "sent_at", "seq", "size")

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.ops: list[Op] = []
        self.clear: tuple[bytes, int] | None = None  # prefix, cursor
        self.filled: tuple[int, ...] = ()
        self.held: list[Held] = []
        self.size = 0
        self.sent_at = 0.0

    @property
    def is_closed(self) -> bool:
        return (
            len(self.ops) >= MESSAGE_OPS
            or self.size >= MESSAGE_BYTES
            or self.clear is not None
            or bool(self.filled)
        )


class _Stream:
    """To one stint of one peer."""

    __slots__ = ("anew", "epoch", "first_at", "node", "open", "ops", "paused_until",
                 "resends", "seq", "size", "to", "unconfirmed")  # fmt: skip

    def __init__(self, node: str, to: str, epoch: int, now: float, anew: bool) -> None:
        self.node, self.to, self.epoch = node, to, epoch
        self.anew = anew  # writes were acknowledged that the peer does not have
        self.seq = 0
        self.open: _Message | None = None
        self.unconfirmed: deque[_Message] = deque()
        self.size = self.ops = 0
        self.paused_until = 0.0
        self.resends = 0  # since the last new confirmation
        self.first_at = now  # since when the oldest unconfirmed message waits

    @property
    def is_sending(self) -> bool:
        """Whether something was sent and is unconfirmed; what this turn has queued is not."""
        return bool(self.unconfirmed) and self.unconfirmed[0].sent_at > 0

    def message(self) -> _Message:
        """The one to put things into."""
        if self.open is None or self.open.is_closed:
            self.seq += 1
            self.open = _Message(self.seq)
            self.unconfirmed.append(self.open)
        return self.open


class Streams:
    """``node`` is this node's id; ``waits`` False acknowledges without waiting."""

    def __init__(self, node: str, effects: Effects, waits: bool = True) -> None:
        self._node = node
        self._effects = effects
        self._waits = waits
        self._incarnation = ""
        self._ring_version = 0
        self._table: Table = [()] * SLOTS
        self._streams: dict[str, _Stream] = {}
        self._targets: dict[tuple[str, ...], tuple[_Stream, ...]] = {}
        self._epoch = 0
        self._is_let_go = False
        self._lost: set[str] = set()  # peers that lack writes of ours, and do not know it yet
        self._heard: dict[str, float] = {}  # members that are UP, and their last answers to a ping
        self._stints: dict[str, str] = {}  # of these
        self._dirty: dict[bytes, int] = {}  # keys to the number of messages that wait with them
        self._held: dict[Held, None] = {}  # in order
        self._released: list[Release] = []
        self.now = 0.0
        self.sent = self.resent = self.refused = 0

    # --- the map --------------------------------------------------------------------------------

    def use_map(self, tier_map: TierMap, incarnation: str, table: Table, now: float) -> None:
        """``table``: who keeps each slot; ``incarnation``: this node's stint, "" for none."""
        self.now = now
        if incarnation != self._incarnation:
            self._fail_all()
            self._streams.clear()
            self._lost.clear()
            self._heard.clear()  # nobody was asked before
            self._incarnation, self._is_let_go = incarnation, False
        self._table = table
        self._targets = {}
        is_same_ring = tier_map.ring_version == self._ring_version
        self._ring_version = tier_map.ring_version
        self._give_up_moved(is_same_ring)
        up = {m.id: m for m in tier_map.members if m.state is NodeState.UP and m.id != self._node}
        stints, self._stints = self._stints, {node: up[node].incarnation for node in up}
        # A new stint has not been asked yet.
        self._heard = {node: self._heard.get(node, now) if stints.get(node) == stint else now
                       for node, stint in self._stints.items()}  # fmt: skip
        for node, stream in list(self._streams.items()):
            member = up.get(node)
            if member is None or member.incarnation != stream.to:
                self._end(stream)
                self._lost.discard(node)  # what it had is gone, or invisible to its new stint
        mine = [kept_by for kept_by in dict.fromkeys(table) if kept_by[:1] == (self._node,)]
        for node in [node for node in self._streams if not any(node in who for who in mine)]:
            self._end(self._streams[node])
        for kept_by in mine:
            for node in kept_by[1:]:
                if node not in self._streams:
                    self._begin(node, up[node].incarnation, now)
            self._targets[kept_by] = tuple([self._streams[node] for node in kept_by[1:]])
        self._forget_moved()

    def _begin(self, node: str, to: str, now: float) -> None:
        self._epoch += 1
        self._streams[node] = _Stream(node, to, self._epoch, now, node in self._lost)
        if node in self._lost and not self._is_let_go:
            self._streams[node].message()  # an empty one: the peer must know before it takes over

    def _end(self, stream: _Stream) -> None:
        """The peer is gone, or another since: nothing of it is older than what we wrote."""
        del self._streams[stream.node]
        while stream.unconfirmed:
            self._settle(stream, stream.unconfirmed.popleft())

    def _give_up_moved(self, is_same_ring: bool) -> None:
        """Answers about keys that are not ours any more: before any stream ends, for that counts as
        a confirmation. What is about all keys of this node may miss some that have come to it."""
        for held in list(self._held):
            if not self.owns(held.keys) or not (held.keys or is_same_ring):
                del self._held[held]
                self._released.append(Release(held.origin, held.answered, False))

    def _forget_moved(self) -> None:
        """What is not ours, or not the peer's, is not sent; messages keep their numbers."""
        for stream in self._streams.values():
            for message in stream.unconfirmed:
                gone = [op for op in message.ops if not self._is_kept_by(stream.node, op.slot)]
                if gone:
                    self._take_off(stream, gone)
                    message.ops = [
                        op for op in message.ops if self._is_kept_by(stream.node, op.slot)
                    ]
                message.filled = tuple(
                    [slot for slot in message.filled if self._is_kept_by(stream.node, slot)]
                )

    def _is_kept_by(self, peer: str, slot: int) -> bool:
        """Whether the slot is ours and the peer keeps copies of it."""
        kept_by = self._table[slot]
        return kept_by[:1] == (self._node,) and peer in kept_by

    def owns(self, keys: Sequence[bytes]) -> bool:
        """Whether all of these keys are this node's."""
        return all(self._table[slot][:1] == (self._node,) for slot in slots_of(keys))

    # --- what happens to keys -------------------------------------------------------------------

    @property
    def is_on(self) -> bool:
        """Whether anybody keeps copies of anything here."""
        return bool(self._streams) and not self._is_let_go

    def is_full(self, slots: Sequence[int]) -> bool:
        """Whether a node that keeps copies of one of these is too far behind to take more."""
        full = {s.node for s in self._streams.values()
                if s.size > MAX_BYTES or s.ops > MAX_OPS}  # fmt: skip
        return bool(full) and any(full.intersection(self._table[slot][1:]) for slot in slots)

    def put(self, slot: int, key: bytes, version: int, flags: int, expires: float, value: bytes,
            name: bytes = NO_NAME) -> None:  # fmt: skip
        """The key holds this from now on."""
        self._queue(Op(OpKind.PUT, slot, key, version, flags, expires, value, name))

    def drop(self, slot: int, key: bytes, was_there: bool = False, name: bytes = NO_NAME) -> None:
        """The key holds nothing from now on."""
        self._queue(Op(OpKind.DROP, slot, key, 0, was_there, NEVER, b"", name))

    def touch(self, slot: int, key: bytes, version: int, expires: float) -> None:
        """The key's value of this version expires at another time."""
        self._queue(Op(OpKind.TOUCH, slot, key, version, 0, expires, b"", NO_NAME))

    def _queue(self, op: Op) -> None:
        for stream in self._targets.get(self._table[op.slot], ()):
            self._queue_to(stream, op)

    def _queue_to(self, stream: _Stream, op: Op) -> None:
        if self._is_let_go:
            return
        message = self._message(stream)
        message.ops.append(op)
        cost = len(op.key) + len(op.value) + OP_BYTES
        message.size += cost
        stream.size += cost
        stream.ops += 1
        self._dirty[op.key] = self._dirty.get(op.key, 0) + 1

    def _message(self, stream: _Stream) -> _Message:
        if not stream.unconfirmed:
            stream.first_at = self.now
        return stream.message()

    def clear(self, prefix: bytes, cursor: int) -> None:
        """Entries with this prefix, under a cursor of a scan, are gone from all our slots."""
        if self._is_let_go:
            return
        for stream in self._streams.values():
            self._message(stream).clear = prefix, cursor

    def fill(self, node: str, slot: int, key: bytes, version: int, flags: int, expires: float,
             value: bytes) -> None:  # fmt: skip
        """Tell one node what the key has held for long."""
        stream = self._streams.get(node)
        if stream is not None and node in self._table[slot]:
            self._queue_to(stream, Op(OpKind.PUT, slot, key, version, flags, expires, value,
                                      NO_NAME))  # fmt: skip

    def filled(self, node: str, slots: tuple[int, ...]) -> None:
        """Everything there is of these slots has been queued for the node."""
        stream = self._streams.get(node)
        if stream is not None and not self._is_let_go:
            self._message(stream).filled = slots

    def backlog(self, node: str) -> int:
        """Unconfirmed bytes; -1 if there is no stream to the node."""
        stream = self._streams.get(node)
        return stream.size if stream is not None and not self._is_let_go else -1

    def epoch(self, node: str) -> int:
        """Which stream there is to the node now; 0 for none."""
        stream = self._streams.get(node)
        return stream.epoch if stream is not None and not self._is_let_go else 0

    # --- answers --------------------------------------------------------------------------------

    def concerns(self, origin: Origin) -> bool:
        """Whether the answer to this request must wait. A PEEK waits in any case: by it, who keeps
        copies looks whether they are what they should be."""
        if not self._waits and origin.kind is not Kind.PEEK:
            return False
        if not origin.keys or self._is_forgotten:
            return any(stream.unconfirmed for stream in self._streams.values())
        dirty = self._dirty
        return any(key in dirty for key in origin.keys)

    @property
    def _is_forgotten(self) -> bool:
        """Whether a peer has older values than those we answered with while it was let go."""
        return bool(self._lost) and not self._is_let_go and not self._lost.isdisjoint(self._streams)

    @property
    def is_let_go(self) -> bool:
        """Whether answers are given without copies, in a minority."""
        return self._is_let_go

    @property
    def is_busy(self) -> bool:
        """Whether anything is unconfirmed."""
        return bool(self._dirty) or any(s.unconfirmed for s in self._streams.values())

    def hold(self, origin: Origin, answered: Answered) -> None:
        """Keep the answer until all that is queued now has been confirmed."""
        held = Held(origin, answered, origin.keys)
        for stream in self._streams.values():
            if stream.unconfirmed:
                stream.unconfirmed[-1].held.append(held)
                held.waits += 1
        if held.waits:
            self._held[held] = None
        else:
            self._released.append(Release(origin, answered, True))

    def take_released(self) -> list[Release]:
        """The answers that wait no more."""
        if not self._released:
            return []
        released, self._released = self._released, []
        return released

    def _fail_all(self) -> None:
        """A new stint: nobody knows what became of what was asked before."""
        for held in self._held:
            self._released.append(Release(held.origin, held.answered, False))
        self._held.clear()
        self._dirty.clear()

    # --- the streams ----------------------------------------------------------------------------

    def flush(self, now: float) -> None:
        """Send what was queued since the last time, as far as there is room in the window."""
        self.now = now
        for stream in self._streams.values():
            stream.open = None
            if stream.unconfirmed and now >= stream.paused_until:
                for message in islice(stream.unconfirmed, WINDOW):
                    if not message.sent_at:
                        self._send(stream, message, now)

    def _send(self, stream: _Stream, message: _Message, now: float) -> None:
        if message is stream.unconfirmed[0] and not message.sent_at:
            stream.first_at = now
        message.sent_at = now
        self.sent += 1
        prefix, cursor = message.clear or (b"", NO_CURSOR)
        ops = message.ops
        fields = Replicate(
            self._node, self._incarnation, stream.to, stream.epoch, message.seq, stream.anew,
            bytes([op.kind for op in ops]),
            tuple([op.key for op in ops]),
            tuple([op.version for op in ops]),
            tuple([len(op.value) for op in ops]),
            bytes([op.flags for op in ops]),
            tuple([None if op.expires == NEVER else op.expires - now for op in ops]),
            _packed_names(ops),
            prefix, cursor, message.filled,
        )  # fmt: skip
        body = b"".join([op.value for op in ops])
        self._effects.waiting.append(ToPeer(stream.node, Kind.REPLICATE, fields, body, 0))

    def not_sent(self, node: str, seq: int, now: float) -> None:
        """The link did not take this message: it and all after it are sent later."""
        stream = self._streams.get(node)
        if stream is None:
            return
        stream.paused_until = now + REFUSED_PAUSE_S
        for message in stream.unconfirmed:
            if message.seq >= seq:
                message.sent_at = 0.0

    def confirmed(self, node: str, answer: Confirmed, now: float) -> None:
        """A peer has told how far it has come."""
        stream = self._streams.get(node)
        if stream is None or (answer.incarnation, answer.epoch) != (stream.to, stream.epoch):
            return
        has_moved = False
        while stream.unconfirmed and stream.unconfirmed[0].seq <= answer.applied:
            self._settle(stream, stream.unconfirmed.popleft())
            has_moved = True
        if has_moved:
            stream.first_at = now
            stream.resends = 0
            self._lost.discard(node)
        if answer.why:
            self.refused += 1
            stream.paused_until = now + REFUSED_PAUSE_S
        elif has_moved:
            stream.paused_until = 0.0

    def _settle(self, stream: _Stream, message: _Message) -> None:
        """The peer has the message, or needs none any more."""
        if message is stream.open:
            stream.open = None
        self._take_off(stream, message.ops)
        for held in message.held:
            held.waits -= 1
            if not held.waits and held in self._held:
                del self._held[held]
                self._released.append(Release(held.origin, held.answered, True))

    def _take_off(self, stream: _Stream, ops: list[Op]) -> None:
        dirty = self._dirty
        for op in ops:
            stream.size -= len(op.key) + len(op.value) + OP_BYTES
            left = dirty.get(op.key, 1) - 1
            if left:
                dirty[op.key] = left
            else:
                dirty.pop(op.key, None)
        stream.ops -= len(ops)

    def tick(self, now: float) -> None:
        """Send again what nobody has confirmed."""
        for stream in self._streams.values():
            if not stream.unconfirmed or self._is_let_go:
                continue
            first = stream.unconfirmed[0]
            if now < stream.paused_until or first is stream.open:
                continue
            is_refused, is_new = stream.paused_until > 0.0, not first.sent_at
            silence_s = RESEND_S * 2 ** min(stream.resends, 3)
            # One that was held back by a refusal, or by many before it, may be the last for long.
            if is_refused or is_new or now >= first.sent_at + silence_s:
                stream.paused_until = 0.0
                stream.resends += not (is_refused or is_new)
                self._send_again(stream, now)

    def _send_again(self, stream: _Stream, now: float) -> None:
        for count, message in enumerate(stream.unconfirmed):
            if message is stream.open:
                return
            if count >= RESEND_MESSAGES:
                message.sent_at = 0.0
                continue
            self.resent += bool(message.sent_at)
            self._send(stream, message, now)

    # --- peers that do not answer ---------------------------------------------------------------

    def heard(self, node: str, now: float) -> None:
        """The peer has answered a ping of ours."""
        if node in self._heard:
            self._heard[node] = now

    def stalled(self, now: float) -> None:
        """This process was stopped for a while: the silence of the others says nothing yet."""
        self._heard = dict.fromkeys(self._heard, now)
        for stream in self._streams.values():
            stream.first_at = now

    def unreachable(self, now: float, after_s: float) -> frozenset[str]:
        """The members that have answered no ping, or confirmed nothing new, for so long."""
        silent = {node for node, at in self._heard.items() if now - at > after_s}
        behind = {
            stream.node
            for stream in self._streams.values()
            if stream.is_sending and now - stream.first_at > after_s
        }
        return frozenset(silent | behind)

    def let_go(self) -> None:
        """In a minority: answer without copies. What the peers have of ours is worth nothing from
        now on."""
        if self._is_let_go or not self._streams:
            return
        self._is_let_go = True
        self._lost.update(self._streams)
        for stream in self._streams.values():
            while stream.unconfirmed:
                self._settle(stream, stream.unconfirmed.popleft())

    def take_up(self, now: float) -> None:
        """Begin anew with all peers, if they were let go."""
        if not self._is_let_go:
            return
        self._is_let_go = False
        for node, stream in list(self._streams.items()):
            self._begin(node, stream.to, now)
        by_name = self._streams
        self._targets = {
            kept_by: tuple(by_name[s.node] for s in streams)
            for kept_by, streams in self._targets.items()
        }

    def counters(self) -> tuple[tuple[str, int], ...]:
        return (
            ("copies_sent", self.sent),
            ("copies_resent", self.resent),
            ("copies_refused", self.refused),
            ("copies_unconfirmed_bytes", sum(s.size for s in self._streams.values())),
            ("answers_waiting_for_copies", len(self._held)),
        )


def _packed_names(ops: list[Op]) -> bytes:
    if all(op.name is NO_NAME for op in ops):
        return b""
    return b"".join([op.name for op in ops])
