"""Routing: where a key lives now and where a failed tier's work goes, from ring and map alone.

The owner of a slot is the first node of its preference list that serves. The work of a tier that
is not usable goes to the next lower usable tier of the owner; that of cold goes to the cold tier of
the next node on the list; where there is none, nowhere. While all usable tiers of an owner are
draining, they take its work as before: it stays the owner until they are drained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from xxhash import xxh3_64_intdigest

from tiercluster.tiermap import TIERS, Member, NodeState, Tier, TierMap, TierRecord, TierRef

from .ring import SLOT_MASK, SLOTS, Ring, ring_of

_NOT_YET = ""  # no node id is empty


@dataclass(frozen=True, slots=True)
class Route:
    """The answer for one slot. ``tiers``: where work for each tier of the owner goes, None for
    nowhere. ``read_order``: what may hold the key, fastest first. ``skipped``: what was passed
    over on the way, nodes (``n1``) and tiers (``n2/cold``), with the reason in words."""

    owner: str | None
    preference: tuple[str, ...]
    tiers: Mapping[Tier, TierRef | None]
    read_order: tuple[TierRef, ...]
    skipped: Mapping[str, str]
    version: int


def owner(ring: Ring, tier_map: TierMap, slot: int) -> str | None:
    """The node that owns the slot; None if no member serves. For many slots, see Router."""
    serving = serving_nodes(tier_map)
    return next((node for node in ring.preference(slot) if node in serving), None)


def serving_nodes(tier_map: TierMap) -> frozenset[str]:
    """The members that may own keys."""
    return frozenset(m.id for m in tier_map.members if m.serves)


def failover_cold(ring: Ring, tier_map: TierMap, slot: int, node: str) -> TierRef | None:
    """The usable cold tier that comes after ``node`` on the slot's preference list, from the end
    of which the search goes on at its start; None if there is none."""
    candidates = _after(ring.preference(slot), node)
    return next(
        (TierRef(other, Tier.COLD) for other in candidates if _has_usable_cold(tier_map, other)),
        None,
    )


def route(ring: Ring, tier_map: TierMap, slot: int) -> Route:
    """Everything about one slot, with the reasons."""
    preference = ring.preference(slot)
    node = owner(ring, tier_map, slot)
    member = tier_map.member(node) if node else None
    if member is None:
        skipped = {other: _why_not_owner(tier_map, other) for other in preference}
        nowhere: dict[Tier, TierRef | None] = dict.fromkeys(TIERS)
        return _frozen(None, preference, nowhere, (), skipped, tier_map.version)
    remote = failover_cold(ring, tier_map, slot, member.id)
    tiers = _placement(member, remote)
    return _frozen(
        member.id,
        preference,
        tiers,
        _read_order(member, tiers[Tier.COLD]),
        _skipped(tier_map, preference, member, tiers[Tier.COLD]),
        tier_map.version,
    )


def _frozen(
    node: str | None,
    preference: tuple[str, ...],
    tiers: dict[Tier, TierRef | None],
    read_order: tuple[TierRef, ...],
    skipped: dict[str, str],
    version: int,
) -> Route:
    return Route(
        owner=node,
        preference=preference,
        tiers=MappingProxyType(tiers),
        read_order=read_order,
        skipped=MappingProxyType(skipped),
        version=version,
    )


def placeable(member: Member) -> tuple[Tier, ...]:
    """The tiers that take new work on a member that serves: the usable ones, or while there are
    none, those that still drain."""
    usable = tuple(r.tier for r in member.tiers if r.is_usable)
    return usable or tuple(r.tier for r in member.tiers if r.is_readable)


def _placement(member: Member, remote: TierRef | None) -> dict[Tier, TierRef | None]:
    open_tiers = placeable(member)

    def place(tier: Tier) -> TierRef | None:
        below = TIERS[TIERS.index(tier) :]
        found = next((t for t in below if t in open_tiers), None)
        return TierRef(member.id, found) if found else remote

    return {tier: place(tier) for tier in TIERS}


def _read_order(member: Member, cold: TierRef | None) -> tuple[TierRef, ...]:
    own = tuple(TierRef(member.id, r.tier) for r in member.tiers if r.is_readable)
    return own if cold is None or cold in own else (*own, cold)


def _skipped(
    tier_map: TierMap, preference: tuple[str, ...], member: Member, cold: TierRef | None
) -> dict[str, str]:
    nodes = preference[: preference.index(member.id)]
    skipped = {node: _why_not_owner(tier_map, node) for node in nodes}
    open_tiers = placeable(member)
    for record in member.tiers:
        if record.tier not in open_tiers:
            skipped[str(TierRef(member.id, record.tier))] = _why_not_tier(record)
    if cold is None or cold.node != member.id:
        skipped |= _skipped_colds(tier_map, _after(preference, member.id), cold)
    return skipped


def _skipped_colds(
    tier_map: TierMap, candidates: tuple[str, ...], cold: TierRef | None
) -> dict[str, str]:
    passed = candidates[: candidates.index(cold.node)] if cold else candidates
    return {f"{node}/{Tier.COLD}": _why_not_cold(tier_map, node) for node in passed}


def _after(preference: tuple[str, ...], node: str) -> tuple[str, ...]:
    at = preference.index(node) if node in preference else -1
    return preference[at + 1 :] + preference[: max(at, 0)]


def _has_usable_cold(tier_map: TierMap, node: str) -> bool:
    member = tier_map.member(node)
    return member is not None and member.state is NodeState.UP and member.tier(Tier.COLD).is_usable


def _why_not_owner(tier_map: TierMap, node: str) -> str:
    member = tier_map.member(node)
    if member is None:
        return "not in the map"
    if member.fills:
        return "it takes what it will own, and owns it then"
    if member.state is NodeState.UP:
        return "no tier of it can be read"
    return _worded(member.state, member.reason)


def _why_not_cold(tier_map: TierMap, node: str) -> str:
    member = tier_map.member(node)
    if member is None or member.state is not NodeState.UP:
        return _why_not_owner(tier_map, node)
    return _why_not_tier(member.tier(Tier.COLD))


def _why_not_tier(record: TierRecord) -> str:
    return _worded(record.state, record.reason)


def _worded(state: str, reason: str) -> str:
    return f"{state}: {reason}" if reason else str(state)


class Router:
    """The routing of one map, ready for many keys: owners are looked up once for each slot.

    A value: what it answers never changes. A new map makes a new Router, which takes over what
    still holds. Safe to share between threads.
    """

    __slots__ = ("_owners", "_serving", "ring", "tier_map")

    def __init__(self, tier_map: TierMap, before: Router | None = None) -> None:
        """``before``: the router of an earlier map, to start from what it knows."""
        self.tier_map = tier_map
        self.ring: Ring = ring_of(tier_map, before.ring if before else None)
        self._serving = serving_nodes(tier_map)
        # Whoever fills in a slot's owner writes the same, so threads and routers share the list.
        self._owners: list[str | None] = (
            before._owners if before and self._has_owners_of(before) else [_NOT_YET] * SLOTS
        )

    def __repr__(self) -> str:
        return f"Router(version={self.version}, serving={sorted(self._serving)})"

    @property
    def version(self) -> int:
        return self.tier_map.version

    def owner_of(self, key: bytes) -> str | None:
        """The node that owns the key; None if no member serves."""
        slot = xxh3_64_intdigest(key) & SLOT_MASK
        found = self._owners[slot]
        return found if found != _NOT_YET else self._find(slot)

    def sole_owner(self, keys: Sequence[bytes]) -> str | None:
        """The node that owns all these keys; None if there are several, or none."""
        if len(self._serving) == 1:
            return next(iter(self._serving))
        owners, found = self._owners, self.owner_of(keys[0])
        for key in keys:
            if owners[xxh3_64_intdigest(key) & SLOT_MASK] != found and self.owner_of(key) != found:
                return None
        return found

    def by_owner(self, keys: Sequence[bytes], part: Iterable[int]) -> dict[str | None, list[int]]:
        """The indices of ``part``, in order, by the owners of their keys."""
        owners, found = self._owners, dict[str | None, list[int]]()
        for index in part:
            slot = xxh3_64_intdigest(keys[index]) & SLOT_MASK
            node = owners[slot]
            if node == _NOT_YET:
                node = self._find(slot)
            if node in found:
                found[node].append(index)
            else:
                found[node] = [index]
        return found

    def owner(self, slot: int) -> str | None:
        """The node that owns the slot; None if no member serves."""
        found = self._owners[slot]
        return found if found != _NOT_YET else self._find(slot)

    def slots_of(self, node: str) -> frozenset[int]:
        """All slots that the node owns. Asks for every slot: some milliseconds the first time."""
        return frozenset(slot for slot in range(SLOTS) if self.owner(slot) == node)

    def route(self, slot: int) -> Route:
        """Everything about one slot, with the reasons."""
        return route(self.ring, self.tier_map, slot)

    def failover_cold(self, slot: int, node: str) -> TierRef | None:
        """Where the work of ``node``'s cold tier goes for this slot."""
        return failover_cold(self.ring, self.tier_map, slot, node)

    def _has_owners_of(self, before: Router) -> bool:
        return before.ring is self.ring and before._serving == self._serving

    def _find(self, slot: int) -> str | None:
        found = next((n for n in self.ring.preference(slot) if n in self._serving), None)
        self._owners[slot] = found
        return found
