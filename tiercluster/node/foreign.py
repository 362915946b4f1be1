"""What this node's cold tier keeps for other nodes whose own is out: apart, bounded, and not long.

Rows stand under ``b"\\xff" + length of the outage + outage + key``. No key of ours begins so: the
first byte of a wire key is the length of its namespace, at most 200.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from tiercluster.cluster.wire import (
    Ack,
    ColdDrop,
    ColdValue,
    Kind,
    Refusal,
    Request,
    Status,
)
from tiercluster.cluster.wire import ColdGet as AskedGet
from tiercluster.cluster.wire import ColdPut as AskedPut
from tiercluster.tiermap import TierRef

from .coldqueue import READ, WRITE, Job, Outcome
from .effects import Answered, Effects, Origin
from .entry import COLD, OVERHEAD_BYTES
from .holdings import Holdings
from .messages import ColdCommand, ColdDone, ColdFound, ColdGet, ColdPut
from .moves import Moves
from .peerbook import REMOTE_TTL_S

MARK = b"\xff"  # the first byte of a row kept for another node
MAX_OUTAGE_BYTES = 128
MAX_WRITING = 32  # entries of others on their way to our disk; it has our own to write, too
MAX_READING = 64  # reads for others
EXPIRE_A_TICK = 1000  # entries looked at

_BUSY = Status.SHED, Refusal("too much is under way for other nodes"), b""
_NO_ROOM = Status.SHED, Refusal("no room for other nodes' entries"), b""
_FAILED = Status.REFUSED, Refusal("the cold tier failed"), b""
_NOT_USABLE = Status.REFUSED, Refusal("the cold tier takes nothing now"), b""
_OVER = Status.REFUSED, Refusal("that outage is over"), b""
_NO_OUTAGE = Status.BAD_REQUEST, Refusal("an outage is written NODE/cold@GENERATION"), b""
_NOT_HERE = Status.OK, ColdValue(False, 0), b""
_ACK = Status.OK, Ack(), b""


@dataclass(slots=True)
class _Kept:
    version: int
    expires: float
    cost: int
    generation: int  # of our cold tier; -1 until the worker has confirmed it


def parse_outage(outage: str) -> tuple[TierRef, int]:
    """``n2/cold@7`` to ref and generation; ValueError for anything else."""
    ref, _, generation = outage.partition("@")
    if len(outage.encode()) > MAX_OUTAGE_BYTES or not generation.encode().isdigit():
        raise ValueError(f"{outage!r} is no outage")
    return TierRef.parse(ref), int(generation)


def row_key(outage: str, key: bytes) -> bytes:
    tag = outage.encode()
    return MARK + bytes((len(tag),)) + tag + key


class Foreign:
    """Entries by outage and key. A version of a key is kept once; a newer one replaces it."""

    def __init__(self, holdings: Holdings, moves: Moves, effects: Effects) -> None:
        self._holdings = holdings
        self._moves = moves
        self._effects = effects
        self._kept: dict[str, OrderedDict[bytes, _Kept]] = {}
        self._writing = self._reading = 0
        self.refused = 0  # what others wanted kept or read

    @property
    def count(self) -> int:
        return sum(map(len, self._kept.values()))

    def handle(self, request: Request, origin: Origin, now: float) -> Answered | None:
        """COLD_PUT, COLD_GET, COLD_DROP."""
        asked = request.fields
        assert isinstance(asked, AskedPut | AskedGet | ColdDrop)
        try:
            ref, generation = parse_outage(asked.outage)
        except ValueError:
            return _NO_OUTAGE
        match asked:
            case AskedPut():
                # A sender with an older map than ours may not know yet that its outage is over.
                tier_map = self._holdings.standing.map
                if request.map_version <= tier_map.version and self._is_over(ref, generation):
                    return _OVER
                return self._put(asked, request.body, origin, now)
            case AskedGet():
                return self._get(asked, origin, now)
            case ColdDrop():
                self._drop_key(asked) if asked.key else self._drop_tier(ref)
                return _ACK

    # --- one entry ------------------------------------------------------------------------------

    def _put(self, asked: AskedPut, value: bytes, origin: Origin, now: float) -> Answered | None:
        cold, standing = self._holdings.cold, self._holdings.standing
        if not standing.tiers[COLD].is_usable:
            return _NOT_USABLE
        cost = len(value) + len(asked.key) + len(asked.outage) + OVERHEAD_BYTES
        if cost > min(cold.largest, cold.foreign_capacity):
            return self._refuse(_NO_ROOM)
        if self._writing >= MAX_WRITING:
            return self._refuse(_BUSY)
        self._drop(asked.outage, asked.key)
        generation = standing.generation(COLD)
        ttl = REMOTE_TTL_S if asked.ttl is None else min(asked.ttl, REMOTE_TTL_S)
        kept = _Kept(asked.version, now + ttl if ttl > 0 else now, cost, -1)
        row = row_key(asked.outage, asked.key)

        def command(token: int) -> ColdCommand | None:
            if not self._is_kept(asked.outage, asked.key, kept):
                return None
            self._holdings.queue.pardon(row, kept.version)
            expires = self._moves.expires_wall(kept.expires)
            return ColdPut(token, row, kept.version, generation, asked.flags, expires, value)

        def finish(outcome: Outcome, now: float) -> None:
            self._writing -= 1
            is_current = self._is_kept(asked.outage, asked.key, kept)
            if isinstance(outcome, ColdDone) and is_current:
                kept.generation = generation
                self._effects.answer(origin, _ACK)
                return
            if is_current:
                self._drop(asked.outage, asked.key)
            elif outcome is not None:
                self._doom_unless_kept(asked.outage, asked.key, kept.version)
            self._effects.answer(origin, _FAILED)

        self._kept.setdefault(asked.outage, OrderedDict())[asked.key] = kept
        cold.foreign_bytes += cost
        self._writing += 1
        if not self._holdings.queue.ask(
            Job(command, finish, len(value), origin.deadline), WRITE, now
        ):
            self._writing -= 1
            self._drop(asked.outage, asked.key)
            return self._refuse(_NO_ROOM)
        self._make_room()
        return None

    def _find(self, outage: str, key: bytes) -> _Kept | None:
        entries = self._kept.get(outage)
        return entries.get(key) if entries is not None else None

    def _is_kept(self, outage: str, key: bytes, kept: _Kept) -> bool:
        return self._find(outage, key) is kept

    def _doom_unless_kept(self, outage: str, key: bytes, version: int) -> None:
        now_kept = self._find(outage, key)
        if now_kept is None or now_kept.version != version:
            self._holdings.queue.doom(row_key(outage, key), version)

    def _get(self, asked: AskedGet, origin: Origin, now: float) -> Answered | None:
        kept = self._find(asked.outage, asked.key)
        live = self._holdings.standing.live[COLD]
        if (
            kept is None
            or kept.version != asked.version
            or kept.generation != live
            or kept.expires <= now
        ):
            return _NOT_HERE
        if self._reading >= MAX_READING:
            return self._refuse(_BUSY)
        row = row_key(asked.outage, asked.key)

        def command(token: int) -> ColdCommand | None:
            return ColdGet(token, row, asked.version)

        def finish(outcome: Outcome, now: float) -> None:
            self._reading -= 1
            if isinstance(outcome, ColdFound):
                found = ColdValue(True, outcome.flags)
                self._effects.answer(origin, (Status.OK, found, outcome.value))
            else:
                self._effects.answer(origin, _NOT_HERE)

        self._reading += 1
        if not self._holdings.queue.ask(Job(command, finish, 0, origin.deadline), READ, now):
            self._reading -= 1
            return self._refuse(_NO_ROOM)
        return None

    def _refuse(self, answer: Answered) -> Answered:
        self.refused += 1
        return answer

    def _drop(self, outage: str, key: bytes) -> None:
        kept = self._find(outage, key)
        if kept is not None:
            del self._kept[outage][key]
            self._forgotten(outage, key, kept)

    def _forgotten(self, outage: str, key: bytes, kept: _Kept) -> None:
        self._holdings.cold.foreign_bytes -= kept.cost
        self._holdings.queue.doom(row_key(outage, key), kept.version)
        if not self._kept.get(outage):
            self._kept.pop(outage, None)

    def _drop_key(self, asked: ColdDrop) -> None:
        self._drop(asked.outage, asked.key)

    # --- many -----------------------------------------------------------------------------------

    def _drop_tier(self, ref: TierRef) -> None:
        for outage in [o for o in self._kept if parse_outage(o)[0] == ref]:
            self._drop_outage(outage)

    def _drop_outage(self, outage: str) -> None:
        for key in list(self._kept.get(outage, ())):
            self._drop(outage, key)

    def _make_room(self) -> None:
        cold = self._holdings.cold
        while cold.foreign_bytes > cold.foreign_capacity and self._kept:
            outage = next(iter(self._kept))
            self._drop(outage, next(iter(self._kept[outage])))
        self._moves.trim_cold()

    def _is_over(self, ref: TierRef, generation: int) -> bool:
        record = self._holdings.standing.map.record(ref)
        return record is None or record.generation != generation or record.is_usable

    def use_map(self) -> None:
        """Drop what is kept for outages that are over, or by a cold tier that began anew."""
        for outage in list(self._kept):
            if self._is_over(*parse_outage(outage)):
                self._drop_outage(outage)
        current = self._holdings.standing.generation(COLD)
        for outage, key, kept in list(self._entries()):
            if kept.generation not in (-1, current):
                self._drop(outage, key)

    def _entries(self) -> Iterator[tuple[str, bytes, _Kept]]:
        for outage, entries in self._kept.items():
            for key, kept in entries.items():
                yield outage, key, kept

    def tick(self, now: float) -> None:
        """The oldest of each outage expire first, but for those with a shorter time to live."""
        for outage in list(self._kept):
            entries = self._kept[outage]
            for _ in range(min(EXPIRE_A_TICK, len(entries))):
                key, kept = next(iter(entries.items()))
                if kept.expires > now:
                    break
                self._drop(outage, key)


KINDS = frozenset({Kind.COLD_PUT, Kind.COLD_GET, Kind.COLD_DROP})
