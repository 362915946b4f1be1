"""Locks and the leases of makers: who holds what, and what the owner before may have granted. Pure.

They stand in a table of their own and in no tier: nothing evicts them, and a tier that fails loses
none. A slot that this node gains is not clear: its last owner may have granted leases that run on.

    gained --it was the cluster's founder--> clear
           --the last owner tells what it granted, alive or when it left--> clear
           --it cannot tell: it crashed, or is cut off--> a lease of T seconds is granted once T
             have passed since this node began to serve the slot; until then nobody gets it

For at that time every lease of T seconds of the last owner has ended. It takes for granted that all
who ask for one name ask for the same time; who asks for less than the holder did could come early.
Versions grow across owners, so `fence` does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import NamedTuple

from tiercluster.cluster.keys import LOCKS_MARK
from tiercluster.cluster.ring import SLOTS, Ring, ring_of, slot_of
from tiercluster.cluster.routing import serving_nodes
from tiercluster.tiermap import NodeState, TierMap

from .ownership import SlotState

MAX_LEASES = 100_000  # held at one time; more are refused
MAX_TOLD = 5000  # in one message; who holds more tells of none, and the next owner waits
ASK_S = 0.25  # until the last owner is asked again that does not answer
AGAIN_S = 0.03  # and that does not know yet
PATIENCE_S = 0.6  # from the first question until those who wait are told that it is held
SWEEP_S = 5.0  # between looks for what has ended

HELD = 0  # by somebody, perhaps one that this node does not know; as the version of a refused ADD


class Told(NamedTuple):
    """What an owner has granted. ``clear_s``: for how long it has known of all there was; inf:
    always. ``leases``: key, version, seconds left."""

    clear_s: float
    leases: tuple[tuple[bytes, int, float], ...]


class No(Enum):
    """Why a lease is neither granted nor held by somebody."""

    ASKING = auto()  # the last owner is being asked: try again in a moment
    FULL = auto()  # MAX_LEASES


@dataclass(frozen=True, slots=True)
class _Held:
    version: int
    expires: float
    slot: int


class _Owner(NamedTuple):
    node: str
    incarnation: str


class _Farewell(NamedTuple):
    clear_since: float
    by_slot: Mapping[int, Mapping[bytes, _Held]]


def _by_slot(told: Told, now: float) -> dict[int, dict[bytes, _Held]]:
    """By the slots that the keys are of, whatever the sender thinks."""
    slots: dict[int, dict[bytes, _Held]] = {}
    for key, version, left_s in told.leases:
        slot = slot_of(key)
        slots.setdefault(slot, {})[key] = _Held(version, now + left_s, slot)
    return slots


def is_lease(key: bytes) -> bool:
    """Whether this wire key is one of a lock or a maker's lease."""
    return key.startswith(LOCKS_MARK, 1)


class LeaseBook:
    """``next_version`` grows; ``ask`` asks a node about a slot that it lost at a ring version, the
    answer comes through `told`. Times are monotonic seconds."""

    def __init__(
        self,
        node: str,
        next_version: Callable[[], int],
        ask: Callable[[str, int, int, float], object],
    ) -> None:
        self._node = node
        self._next_version = next_version
        self._ask = ask
        self._held: dict[bytes, _Held] = {}
        self._map = TierMap()
        self._ring: Ring = Ring(())
        self._stint = ""
        self._mine = bytearray(SLOTS)
        self._gained = [0] * SLOTS
        # Since when no lease was granted that this node does not know; -inf: ever, inf: not yet.
        self._since = [inf] * SLOTS
        self._lost = [0] * SLOTS  # the ring version at which each slot went
        self._before: dict[int, _Owner] = {}  # the last owner of each slot that is not clear
        self._asked: dict[int, tuple[float, float]] = {}  # slots: first and last time
        self._owners: frozenset[_Owner] = frozenset()  # whose farewells may be of use
        self._farewells: dict[_Owner, _Farewell] = {}
        self._unsettled = False
        self._swept_at = -inf
        self.refused = 0  # leases that might have been held by somebody unknown

    @property
    def count(self) -> int:
        return len(self._held)

    # --- requests -------------------------------------------------------------------------------

    def add(self, key: bytes, slot: int, ttl: float, now: float) -> int | No:
        """The version of the lease if it is granted, HELD if somebody has it."""
        if self._find(key, now) is not None:
            return HELD
        if not self._is_clear(slot, ttl, now):
            answer = self._clear_up(slot, now)
            return self.add(key, slot, ttl, now) if answer is None else answer
        if len(self._held) >= MAX_LEASES:
            return No.FULL
        return self._grant(key, slot, ttl, now)

    def extend(self, key: bytes, slot: int, version: int, ttl: float, now: float) -> int:
        """The new version, HELD if it is not the holder's own any more."""
        held = self._find(key, now)
        if held is None or held.version != version:
            return HELD
        return self._grant(key, slot, ttl, now)

    def release(self, key: bytes, version: int | None, now: float) -> bool:
        held = self._find(key, now)
        if held is None or (version is not None and held.version != version):
            return False
        del self._held[key]
        return True

    def look(self, key: bytes, now: float) -> tuple[int, float]:
        """Version and seconds left; (0, 0.0) if nobody is known to hold it."""
        held = self._find(key, now)
        return (0, 0.0) if held is None else (held.version, held.expires - now)

    def _find(self, key: bytes, now: float) -> _Held | None:
        held = self._held.get(key)
        return held if held is not None and held.expires > now else None

    def _grant(self, key: bytes, slot: int, ttl: float, now: float) -> int:
        version = self._next_version()
        self._held[key] = _Held(version, now + ttl, slot)
        return version

    # --- slots that are not clear ---------------------------------------------------------------

    def _is_clear(self, slot: int, ttl: float, now: float) -> bool:
        return now - self._since[slot] >= ttl

    def _clear_up(self, slot: int, now: float) -> int | No | None:
        """None: it is known now, look again; else what to answer."""
        before = self._before.get(slot)
        farewell = self._farewells.get(before) if before is not None else None
        if farewell is not None:
            self._learn(slot, farewell.clear_since, farewell.by_slot.get(slot, {}))
            return None
        if before is None or not self._is_there(before):
            self.refused += 1
            return HELD
        first, last = self._asked.get(slot, (now, -inf))
        if now - last >= ASK_S:
            self._asked[slot] = (first, now)
            self._ask(before.node, slot, self._gained[slot], now)
        if now - first < PATIENCE_S:
            return No.ASKING
        self.refused += 1
        return HELD

    def _is_there(self, owner: _Owner) -> bool:
        member = self._map.member(owner.node)
        return member is not None and (member.state, member.incarnation) == (
            NodeState.UP,
            owner.incarnation,
        )

    def told(self, slot: int, ring_version: int, told: Told | None, now: float) -> None:
        """The answer of the last owner; None: it does not know."""
        is_about_now = self._gained[slot] == ring_version
        if not is_about_now or slot not in self._before:
            return
        if told is None and slot in self._asked:
            self._asked[slot] = (self._asked[slot][0], now - ASK_S + AGAIN_S)
        elif told is not None:
            self._learn(slot, now - told.clear_s, _by_slot(told, now).get(slot, {}))

    def _learn(self, slot: int, clear_since: float, held: Mapping[bytes, _Held]) -> None:
        del self._before[slot]
        self._asked.pop(slot, None)
        self._since[slot] = clear_since
        for key, one in held.items():
            self._held.setdefault(key, one)

    def answer(self, slot: int, ring_version: int, now: float) -> Told | None:
        """For the next owner of a slot that we lost at ``ring_version``: what we had granted. None:
        we did not own it until then, or have not lost it yet."""
        if slot >= SLOTS or self._mine[slot] or self._lost[slot] != ring_version:
            return None
        if slot in self._before and self._clear_up(slot, now) is No.ASKING:
            return None  # it asks the one before it first
        return self._tell((slot,), now)

    def farewell(self, now: float) -> Told | None:
        """For everybody, when this node grants nothing any more: of what it lost before, too, whose
        next owner may not have asked yet. None: it cannot tell."""
        return self._tell([slot for slot in range(SLOTS) if self._gained[slot]], now)

    def _tell(self, slots: Collection[int], now: float) -> Told | None:
        """None if a slot is not settled, or if it is too much for one message."""
        since, wanted = max(map(self._since.__getitem__, slots), default=-inf), frozenset(slots)
        leases = tuple(
            (key, held.version, held.expires - now)
            for key, held in self._held.items()
            if held.expires > now and held.slot in wanted
        )
        return None if since == inf or len(leases) > MAX_TOLD else Told(now - since, leases)

    def hear_farewell(self, node: str, incarnation: str, told: Told, now: float) -> None:
        owner = _Owner(node, incarnation)
        if owner in self._owners:
            self._farewells[owner] = _Farewell(now - told.clear_s, _by_slot(told, now))

    # --- the map and time -----------------------------------------------------------------------

    def use_map(self, new: TierMap, slots: Sequence[int], gained: Sequence[int]) -> None:
        """A map in which slots were gained or lost. ``slots``: SlotState of each; ``gained``: the
        ring version at which each became ours."""
        owners = self._last_owners(new)
        self._map, self._ring = new, ring_of(new, self._ring)
        me = new.member(self._node)
        self._stint = me.incarnation if me is not None else ""
        is_founder = bool(self._stint) and new.founded == self._stint
        anew = set[int]()
        for slot in range(SLOTS):
            is_mine, was_mine = slots[slot] != SlotState.NOT_MINE, self._mine[slot]
            if is_mine and not (was_mine and gained[slot] == self._gained[slot]):
                anew.add(slot)
                self._begin(slot, owners[slot], is_founder and not self._gained[slot])
                self._gained[slot] = gained[slot]
            elif was_mine and not is_mine:
                self._lost[slot] = new.ring_version
            self._mine[slot] = is_mine
        if anew:
            self._held = {k: held for k, held in self._held.items() if held.slot not in anew}
            self._unsettled = True
        members = (_Owner(m.id, m.incarnation) for m in new.members)
        self._owners = frozenset((*members, *self._before.values()))
        self._farewells = {o: told for o, told in self._farewells.items() if o in self._owners}

    def _begin(self, slot: int, before: _Owner | None, is_first: bool) -> None:
        self._asked.pop(slot, None)
        self._before.pop(slot, None)
        if before is not None:
            self._before[slot] = before
        self._since[slot] = -inf if is_first and before is None else inf

    def _last_owners(self, new: TierMap) -> list[_Owner | None]:
        """Who owned each slot before this map. A process that is new in it takes the map for the
        one before, less itself; the member that is asked knows whether that is so."""
        was, now_me = self._map.member(self._node), new.member(self._node)
        is_new = was is None or now_me is None or was.incarnation != now_me.incarnation
        before = new if is_new else self._map
        serving = serving_nodes(before) - ({self._node} if is_new else frozenset())
        names = {m.id: _Owner(m.id, m.incarnation) for m in before.members}
        owners = ring_of(before, self._ring).owners(serving)
        return [names[o] if o is not None else None for o in owners]

    def settled(self, now: float) -> None:
        """Every slot of this node is served: nobody else has granted anything since."""
        if not self._unsettled:
            return
        self._unsettled = False
        for slot in range(SLOTS):
            if self._since[slot] == inf and self._mine[slot]:
                self._since[slot] = now

    def tick(self, now: float) -> None:
        if now - self._swept_at >= SWEEP_S:
            self._swept_at = now
            self._held = {k: held for k, held in self._held.items() if held.expires > now}
            waiting_s = 2 * SWEEP_S
            self._asked = {s: t for s, t in self._asked.items() if now - t[1] < waiting_s}
