"""One stream of numbered messages to one node that keeps copies: what is queued, sent, confirmed.

    queued --> in the open message --flush--> sent --confirmed--> gone
                                               |
                                               +--silence, or refused: sent again

Times are monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from tiercluster.cluster.wire import NAME_BYTES, OpKind, Replicate

from .entry import NEVER
from .held import Held

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
COUNTED = 0x80  # in the first byte of a name's request id: the write was an INCR
NO_CURSOR = -2


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

    @property
    def cost(self) -> int:
        return len(self.key) + len(self.value) + OP_BYTES


class Message:
    """``held``: answers that wait for its confirmation."""

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


class Stream:
    """To one stint of one peer. ``anew``: writes were acknowledged that the peer does not have."""

    __slots__ = ("anew", "epoch", "first_at", "node", "open", "ops", "paused_until",
                 "resends", "seq", "size", "to", "unconfirmed")  # fmt: skip

    def __init__(self, node: str, to: str, epoch: int, now: float, anew: bool) -> None:
        self.node, self.to, self.epoch = node, to, epoch
        self.anew = anew
        self.seq = 0
        self.open: Message | None = None
        self.unconfirmed: deque[Message] = deque()
        self.size = self.ops = 0
        self.paused_until = 0.0
        self.resends = 0  # since the last new confirmation
        self.first_at = now  # since when the oldest unconfirmed message waits

    @property
    def is_full(self) -> bool:
        return self.size > MAX_BYTES or self.ops > MAX_OPS

    @property
    def is_sending(self) -> bool:
        """Whether something was sent and is unconfirmed; what this turn has queued is not."""
        return bool(self.unconfirmed) and self.unconfirmed[0].sent_at > 0

    # --- queueing -------------------------------------------------------------------------------

    def message(self, now: float) -> Message:
        """The one to put things into."""
        if not self.unconfirmed:
            self.first_at = now
        if self.open is None or self.open.is_closed:
            self.seq += 1
            self.open = Message(self.seq)
            self.unconfirmed.append(self.open)
        return self.open

    def put(self, op: Op, now: float) -> None:
        message, cost = self.message(now), op.cost
        message.ops.append(op)
        message.size += cost
        self.size += cost
        self.ops += 1

    def forget(self, is_kept: Callable[[int], bool]) -> list[Op]:
        """The ops of slots that the peer does not keep: they are not sent, or not again."""
        all_gone: list[Op] = []
        for message in self.unconfirmed:
            gone = [op for op in message.ops if not is_kept(op.slot)]
            if gone:
                message.ops = [op for op in message.ops if is_kept(op.slot)]
                self._take_off(gone)
                all_gone += gone
            message.filled = tuple(filter(is_kept, message.filled))
        return all_gone

    def _take_off(self, ops: list[Op]) -> None:
        self.size -= sum(op.cost for op in ops)
        self.ops -= len(ops)

    # --- sending --------------------------------------------------------------------------------

    def to_send(self, now: float) -> list[Message]:
        """What was queued since the last time, as far as there is room in the window."""
        self.open = None
        if not self.unconfirmed or now < self.paused_until:
            return []
        return [m for m in islice(self.unconfirmed, WINDOW) if not m.sent_at]

    def to_send_again(self, now: float) -> list[Message]:
        """What nobody has confirmed for too long."""
        if not self.unconfirmed or now < self.paused_until:
            return []
        first = self.unconfirmed[0]
        if first is self.open:
            return []
        is_refused, is_new = self.paused_until > 0.0, not first.sent_at
        silence_s = RESEND_S * 2 ** min(self.resends, 3)
        # One that was held back by a refusal, or by many before it, may be the last for long.
        if not (is_refused or is_new or now >= first.sent_at + silence_s):
            return []
        self.paused_until = 0.0
        self.resends += not (is_refused or is_new)
        closed = [message for message in self.unconfirmed if message is not self.open]
        for message in closed[RESEND_MESSAGES:]:
            message.sent_at = 0.0
        return closed[:RESEND_MESSAGES]

    def sent(self, message: Message, now: float) -> None:
        if message is self.unconfirmed[0] and not message.sent_at:
            self.first_at = now
        message.sent_at = now

    def not_sent(self, seq: int, now: float) -> None:
        """The link did not take this message: it and all after it are sent later."""
        self.paused_until = now + REFUSED_PAUSE_S
        for message in self.unconfirmed:
            if message.seq >= seq:
                message.sent_at = 0.0

    # --- confirmation ---------------------------------------------------------------------------

    def take_confirmed(self, applied: int, is_refused: bool, now: float) -> list[Message]:
        """The peer has all up to ``applied``, and refused what came after."""
        taken = self._take_up_to(applied)
        if taken:
            self.first_at = now
            self.resends = 0
        if is_refused:
            self.paused_until = now + REFUSED_PAUSE_S
        elif taken:
            self.paused_until = 0.0
        return taken

    def take_all(self) -> list[Message]:
        """Nobody needs them any more."""
        return self._take_up_to(self.seq)

    def _take_up_to(self, seq: int) -> list[Message]:
        taken: list[Message] = []
        while self.unconfirmed and self.unconfirmed[0].seq <= seq:
            message = self.unconfirmed.popleft()
            if message is self.open:
                self.open = None
            self._take_off(message.ops)
            taken.append(message)
        return taken


def packed(stream: Stream, message: Message, node: str, incarnation: str,
           now: float) -> tuple[Replicate, bytes]:  # fmt: skip
    """A message of ``node``'s as it is sent: fields and body."""
    ops = message.ops
    prefix, cursor = message.clear or (b"", NO_CURSOR)
    fields = Replicate(
        node, incarnation, stream.to, stream.epoch, message.seq, stream.anew,
        bytes([op.kind for op in ops]),
        tuple([op.key for op in ops]),
        tuple([op.version for op in ops]),
        tuple([len(op.value) for op in ops]),
        bytes([op.flags for op in ops]),
        tuple([None if op.expires == NEVER else op.expires - now for op in ops]),
        _packed_names(ops),
        prefix, cursor, message.filled,
    )  # fmt: skip
    return fields, b"".join([op.value for op in ops])


def _packed_names(ops: list[Op]) -> bytes:
    if all(op.name is NO_NAME for op in ops):
        return b""
    return b"".join([op.name for op in ops])
