"""The other side of replication: what this node keeps of keys that others own.

The owner's messages are taken in their order, each once (`streams`), and only from who owns the
slots now by a map that is as new as the sender's. What they say goes into the directory like this
node's own entries, where nobody reads it until the slot is this node's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tiercluster.cluster.codec import values_of
from tiercluster.cluster.ring import slots_of
from tiercluster.cluster.wire import (
    CLIENT_ID_BYTES,
    NAME_BYTES,
    Ack,
    Confirmed,
    Counter,
    Fill,
    Flags,
    Kind,
    OpKind,
    Refusal,
    Replicate,
    Request,
    Result,
    Status,
    Stored,
)
from tiercluster.tiermap import NodeState, TierMap

from .effects import Answered, Effects, ToPeer
from .entry import COLD, NEVER
from .holdings import Holdings
from .keeping import Keeping
from .moves import Moves
from .placing import Placing
from .stream import COUNTED, NO_CURSOR, NO_NAME
from .verbs_scan import step_of
from .verbs_write import integer_of

ASK_AGAIN_S = 1.0  # for slots that nobody has filled
ASK_SOON_S = 0.1  # while nothing comes
ASKED_SLOTS = 4096  # in one message

_BEHIND = "this node has not applied that map yet"
_NOT_YOURS = "these keys have another owner, or are kept by others, in the newer map"
_OLD_MAP = "who keeps what has changed since that was sent"
_OTHER_STINT = "that was meant for another stint, or comes from one"
_CLOSING = "this node is stopping, and its store is closed"
_GAP = "messages before this one are missing"
_ACK = Status.OK, Ack(), b""
_STALE_FILL = Status.REFUSED, Refusal(_OTHER_STINT), b""


class Remembered(NamedTuple):
    """A write that another node has applied: its retry may come here."""

    client: bytes
    rid: int
    left_s: float
    answered: tuple[Status, Result, bytes]
    slot: int


@dataclass(slots=True)
class _Source:
    """The stream of one owner."""

    incarnation: str
    epoch: int
    applied: int = 0


class Copies:
    """``begin_fill`` is told (node, slots, map version) that a node wants all entries of these
    slots."""

    def __init__(
        self,
        node: str,
        holdings: Holdings,
        moves: Moves,
        placing: Placing,
        keeping: Keeping,
        effects: Effects,
        begin_fill: Callable[[str, tuple[int, ...], int], None],
    ) -> None:
        self._node = node
        self._holdings = holdings
        self._moves = moves
        self._placing = placing
        self._keeping = keeping
        self._effects = effects
        self._begin_fill = begin_fill
        self._map = TierMap()
        self._sources: dict[str, _Source] = {}
        self._ask_at = 0.0
        self._remembered: list[Remembered] = []
        self._taken_then = 0
        self.messages = self.taken = self.refused = 0

    def use_map(self, tier_map: TierMap) -> None:
        self._map = tier_map
        known = {m.id: m.incarnation for m in tier_map.members if m.state is NodeState.UP}
        for node, source in list(self._sources.items()):
            if known.get(node) != source.incarnation:
                del self._sources[node]
        self._ask_at = 0.0

    def take_remembered(self) -> list[Remembered]:
        """Writes whose retries are to be answered, not applied."""
        if not self._remembered:
            return []
        remembered, self._remembered = self._remembered, []
        return remembered

    # --- what an owner says ---------------------------------------------------------------------

    def replicate(self, request: Request, now: float, is_closing: bool = False) -> Answered:
        """One message of a stream; none is taken when the store is being closed."""
        asked = request.fields
        assert isinstance(asked, Replicate)
        me = self._map.member(self._node)
        mine = me.incarnation if me is not None else ""
        slots = slots_of(asked.keys)
        why = _CLOSING if is_closing else ""
        why = why or self._refusal(asked, slots, request.map_version, mine)
        source = self._sources.get(asked.node)
        is_known = source is not None and source.epoch == asked.epoch
        applied = source.applied if source is not None and is_known else 0
        if not why and asked.seq > applied:
            if asked.seq == applied + 1:
                self._take(asked, slots, request.body, now)
                applied = asked.seq
            else:
                why = _GAP
        if why:
            self.refused += 1
        return Status.OK, Confirmed(mine, asked.epoch, applied, why), b""

    def _refusal(self, asked: Replicate, slots: list[int], version: int, mine: str) -> str:
        if version > self._map.version:
            return _BEHIND
        sender = self._map.member(asked.node)
        is_up = sender is not None and sender.state is NodeState.UP
        if not is_up or sender is None or sender.incarnation != asked.incarnation:
            return _OTHER_STINT
        if asked.to != mine or not mine:
            return _OTHER_STINT
        known = self._sources.get(asked.node)
        if known is not None and asked.epoch < known.epoch:
            return _OTHER_STINT
        if version < self._keeping.since_version:
            # The keys may have gone to another owner, or another copy, and come back meanwhile.
            return _OLD_MAP
        table, node = self._keeping.table, self._node
        for slot in {*slots, *asked.filled}:
            kept_by = table[slot] if 0 <= slot < len(table) else ()
            if kept_by[:1] != (asked.node,) or node not in kept_by:
                return _NOT_YOURS
        return ""

    def _take(self, asked: Replicate, slots: list[int], body: bytes, now: float) -> None:
        source = self._sources.get(asked.node)
        if source is None or source.epoch != asked.epoch:
            source = self._sources[asked.node] = _Source(asked.incarnation, asked.epoch)
            if asked.anew:
                self._keeping.lost_thread(asked.node, now)
                self._holdings.directory.set_floors(self._keeping.floors, self._keeping.era)
                self._ask_at = 0.0
        source.applied = asked.seq
        self.messages += 1
        self._take_ops(asked, slots, body, now)
        if asked.cursor != NO_CURSOR:
            self._clear(asked.node, asked.prefix, asked.cursor)
        if asked.filled:
            self._keeping.filled(asked.node, asked.filled)
        self._moves.make_room(now)

    def _take_ops(self, asked: Replicate, slots: list[int], body: bytes, now: float) -> None:
        keep = self._placing.keep
        for index, (kind, key, slot, version, flags, ttl, value) in enumerate(
            zip(asked.kinds, asked.keys, slots, asked.versions, asked.flags, asked.ttls,
                values_of(body, asked.sizes), strict=True)
        ):  # fmt: skip
            expires = NEVER if ttl is None else now + ttl
            if kind == OpKind.PUT:
                keep(key, slot, value, flags, expires, version)
            elif kind == OpKind.DROP:
                self._drop(key)
            else:
                self._touch(key, version, expires)
            self.taken += 1
            if asked.names:
                name = asked.names[index * NAME_BYTES : (index + 1) * NAME_BYTES]
                if name != NO_NAME:
                    self._remember(name, slot, kind, version, flags, value)

    def _drop(self, key: bytes) -> None:
        entry = self._holdings.directory.get(key)
        if entry is not None:
            self._holdings.forget(entry)

    def _touch(self, key: bytes, version: int, expires: float) -> None:
        entry = self._holdings.directory.get(key)
        if entry is None or entry.version != version:
            return
        if entry.place == COLD:
            self._holdings.cold.retime(entry)
        entry.expires = expires

    def _clear(self, owner: str, prefix: bytes, cursor: int) -> None:
        table = self._keeping.table
        for entry, slot in step_of(self._holdings.directory, cursor):
            if entry.key.startswith(prefix) and table[slot][:1] == (owner,):
                self._holdings.forget(entry)

    def _remember(self, name: bytes, slot: int, kind: int, version: int, flags: int,
                  value: bytes) -> None:  # fmt: skip
        client = name[:CLIENT_ID_BYTES]
        rid = int.from_bytes(name[CLIENT_ID_BYTES:-4], "big")
        left_s = int.from_bytes(name[-4:], "big") / 1000
        fields: Result
        if kind == OpKind.DROP:
            fields = Flags((bool(flags),))
        elif name[CLIENT_ID_BYTES] & COUNTED:
            total = integer_of(value)
            if total is None:
                return  # nobody counted to that
            rid &= ~(COUNTED << 56)
            fields = Counter(True, True, total, version)
        else:
            fields = Stored((version,))
        self._remembered.append(Remembered(client, rid, left_s, (Status.OK, fields, b""), slot))

    # --- what is still missing ------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Ask the owners for what they have of the slots that this node keeps since lately."""
        if self._keeping.is_whole or now < self._ask_at:
            return
        has_come, self._taken_then = self.messages > self._taken_then, self.messages
        self._ask_at = now + (ASK_AGAIN_S if has_come else ASK_SOON_S)
        me = self._map.member(self._node)
        if me is None:
            return
        for owner, slots in self._keeping.wanted().items():
            member = self._map.member(owner)
            if member is None:
                continue
            for start in range(0, len(slots), ASKED_SLOTS):
                part = tuple(slots[start : start + ASKED_SLOTS])
                fields = Fill(self._node, me.incarnation, member.incarnation, part)
                self._effects.waiting.append(ToPeer(owner, Kind.FILL, fields, b"", 0))

    def fill(self, request: Request) -> Answered:
        """A node asks for entries of slots that are this node's."""
        asked = request.fields
        assert isinstance(asked, Fill)
        me, sender = self._map.member(self._node), self._map.member(asked.node)
        is_ours = me is not None and me.incarnation == asked.to
        if not is_ours or sender is None or sender.incarnation != asked.incarnation:
            return _STALE_FILL
        table = self._keeping.table
        good = tuple(
            s for s in asked.slots
            if 0 <= s < len(table) and table[s][:1] == (self._node,) and asked.node in table[s]
        )  # fmt: skip
        if good:
            self._begin_fill(asked.node, good, request.map_version)
        return _ACK

    def counters(self) -> tuple[tuple[str, int], ...]:
        return (
            ("copies_taken", self.taken),
            ("copies_not_taken", self.refused),
            ("slots_to_fill", self._keeping.missing),
        )
