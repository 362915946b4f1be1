"""The owner's side of replication: one stream of numbered messages to each node that keeps copies.

    write --> op in the open message --flush--> sent --Confirmed--> answers that waited go out
                                                  |
                                                  +--silence, or refused: all unconfirmed again

A stream (`stream`) is a reliable queue over links that may lose: the receiver takes message n + 1
only after n, so that it has, at any time, exactly what this node had at some earlier time. An
answer about a key waits (`held`) until every stream has confirmed what was queued for that key, a
read too: what was read must not be lost with this node.

What cannot be confirmed for long does not hold up for ever: the map shows the peer DOWN, or apart
from this node. In a minority, where no map can say so, the thread is let go (`let_go`), and later
begun anew, which makes the peer forget what it has of this node (`Keeping.lost_thread`).

A pure core. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tiercluster.cluster.holders import Table
from tiercluster.cluster.ring import SLOTS, slots_of
from tiercluster.cluster.wire import Confirmed, Kind, OpKind
from tiercluster.tiermap import NodeState, TierMap

from .effects import Answered, Effects, Origin, ToPeer
from .entry import NEVER
from .held import HeldAnswers, Release
from .stream import NO_NAME, Message, Op, Stream, packed


class Streams:
    """``node`` is this node's id; ``waits`` False acknowledges without waiting."""

    def __init__(self, node: str, effects: Effects, waits: bool = True) -> None:
        self._node = node
        self._effects = effects
        self._waits = waits
        self._incarnation = ""
        self._ring_version = 0
        self._table: Table = [()] * SLOTS
        self._streams: dict[str, Stream] = {}
        self._targets: dict[tuple[str, ...], tuple[Stream, ...]] = {}
        self._epoch = 0
        self._is_let_go = False
        self._lost: set[str] = set()  # peers that lack writes of ours, and do not know it yet
        self._heard: dict[str, float] = {}  # members that are UP, and their last answers to a ping
        self._stints: dict[str, str] = {}  # of these
        self._answers = HeldAnswers()
        self.now = 0.0
        self.sent = self.resent = self.refused = 0

    # --- the map --------------------------------------------------------------------------------

    def use_map(self, tier_map: TierMap, incarnation: str, table: Table, now: float) -> None:
        """``table``: who keeps each slot; ``incarnation``: this node's stint, "" for none."""
        self.now = now
        if incarnation != self._incarnation:
            self._answers.fail_all()
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
        self._streams[node] = Stream(node, to, self._epoch, now, node in self._lost)
        if node in self._lost and not self._is_let_go:
            # An empty one: the peer must know before it takes over.
            self._streams[node].message(now)

    def _end(self, stream: Stream) -> None:
        """The peer is gone, or another since: nothing of it is older than what we wrote."""
        del self._streams[stream.node]
        self._settle(stream.take_all())

    def _give_up_moved(self, is_same_ring: bool) -> None:
        """Answers about keys that are not ours any more: before any stream ends, for that counts as
        a confirmation. What is about all keys of this node may miss some that have come to it."""
        self._answers.give_up(
            lambda held: not self.owns(held.origin.keys) or not (held.origin.keys or is_same_ring)
        )

    def _forget_moved(self) -> None:
        """What is not ours, or not the peer's, is not sent; messages keep their numbers."""
        for node, stream in self._streams.items():
            gone = stream.forget(partial(self._is_kept_by, node))
            self._answers.arrived([op.key for op in gone])

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
        full = {stream.node for stream in self._streams.values() if stream.is_full}
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

    def _queue_to(self, stream: Stream, op: Op) -> None:
        if self._is_let_go:
            return
        stream.put(op, self.now)
        self._answers.queued(op.key)

    def clear(self, prefix: bytes, cursor: int) -> None:
        """Entries with this prefix, under a cursor of a scan, are gone from all our slots."""
        if self._is_let_go:
            return
        for stream in self._streams.values():
            stream.message(self.now).clear = prefix, cursor

    def fill(self, node: str, slot: int, key: bytes, version: int, flags: int, expires: float,
             value: bytes) -> None:  # fmt: skip
        """Tell one node what the key has held for long."""
        stream = self._streams.get(node)
        if stream is not None and self._is_kept_by(node, slot):
            self._queue_to(stream, Op(OpKind.PUT, slot, key, version, flags, expires, value,
                                      NO_NAME))  # fmt: skip

    def filled(self, node: str, slots: tuple[int, ...]) -> None:
        """Everything there is of these slots has been queued for the node."""
        stream = self._streams.get(node)
        good = tuple([slot for slot in slots if self._is_kept_by(node, slot)])
        if stream is not None and good and not self._is_let_go:
            stream.message(self.now).filled = good

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
        return self._answers.is_dirty(origin.keys)

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
        return self._answers.has_dirty or any(s.unconfirmed for s in self._streams.values())

    def hold(self, origin: Origin, answered: Answered) -> None:
        """Keep the answer until all that is queued now has been confirmed."""
        newest = [s.unconfirmed[-1].held for s in self._streams.values() if s.unconfirmed]
        self._answers.hold(origin, answered, newest)

    def take_released(self) -> list[Release]:
        """The answers that wait no more."""
        return self._answers.take_released()

    # --- the streams ----------------------------------------------------------------------------

    def flush(self, now: float) -> None:
        """Send what was queued since the last time, as far as there is room in the window."""
        self.now = now
        for stream in self._streams.values():
            for message in stream.to_send(now):
                self._send(stream, message, now)

    def _send(self, stream: Stream, message: Message, now: float) -> None:
        stream.sent(message, now)
        self.sent += 1
        fields, body = packed(stream, message, self._node, self._incarnation, now)
        self._effects.waiting.append(ToPeer(stream.node, Kind.REPLICATE, fields, body, 0))

    def not_sent(self, node: str, seq: int, now: float) -> None:
        """The link did not take this message: it and all after it are sent later."""
        stream = self._streams.get(node)
        if stream is not None:
            stream.not_sent(seq, now)

    def confirmed(self, node: str, answer: Confirmed, now: float) -> None:
        """A peer has told how far it has come."""
        stream = self._streams.get(node)
        if stream is None or (answer.incarnation, answer.epoch) != (stream.to, stream.epoch):
            return
        messages = stream.take_confirmed(answer.applied, bool(answer.why), now)
        self.refused += bool(answer.why)
        if messages:
            self._lost.discard(node)
            self._settle(messages)

    def _settle(self, messages: list[Message]) -> None:
        """The peer has them, or needs none any more."""
        for message in messages:
            self._answers.arrived([op.key for op in message.ops])
            self._answers.settle(message.held)

    def tick(self, now: float) -> None:
        """Send again what nobody has confirmed."""
        if self._is_let_go:
            return
        for stream in self._streams.values():
            for message in stream.to_send_again(now):
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
        # Who keeps copies must not hear as confirmed what it has not.
        self._answers.give_up(lambda held: held.origin.kind is Kind.PEEK)
        for stream in self._streams.values():
            self._settle(stream.take_all())

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
            ("answers_waiting_for_copies", len(self._answers)),
        )
