"""Who keeps each slot's entries: its owner, and who would own it next. Pure, from ring and map.

    serving, R best of the preference list -------------> owner, then copies
    filling, among the R best of serving and filling ---> one copy more, until it serves

A member that an owner cannot send to (``Member.apart``) keeps no copies of that owner's slots; the
next on the list does.
"""

from __future__ import annotations

from collections.abc import Collection

from tiercluster.tiermap import TierMap

from .ring import Ring
from .routing import serving_nodes

Table = list[tuple[str, ...]]  # for every slot the owner, then who keeps copies


def filling_nodes(tier_map: TierMap) -> frozenset[str]:
    """The members that take copies of what they will own."""
    return frozenset(m.id for m in tier_map.members if m.fills)


def holders(ring: Ring, tier_map: TierMap) -> Table:
    """For every slot its owner, then the nodes that keep copies; () if nobody serves. Not to be
    changed."""
    serving, copies = serving_nodes(tier_map), tier_map.copies
    if copies == 1:
        return ring.leaders(serving, 1)
    apart = {m.id: m.apart for m in tier_map.members if m.apart}
    filling = filling_nodes(tier_map)
    if not apart and not filling:
        return ring.leaders(serving, copies)
    name = "holders", serving, filling, tuple(sorted(apart.items())), copies
    return ring.made(name, lambda: _make(ring, serving, filling, apart, copies))


def _make(
    ring: Ring,
    serving: frozenset[str],
    filling: frozenset[str],
    apart: dict[str, tuple[str, ...]],
    copies: int,
) -> Table:
    table = ring.leaders(serving, copies + len(apart))
    wanted = ring.leaders(serving | filling, copies) if filling else [()] * len(table)
    made: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[str, ...]] = {}
    found = []
    for pair in zip(table, wanted, strict=True):
        known = made.get(pair)
        if known is None:
            known = made[pair] = _one(*pair, copies, filling, apart)
        found.append(known)
    return found


def _one(
    best: tuple[str, ...],
    wanted: tuple[str, ...],
    copies: int,
    filling: Collection[str],
    apart: dict[str, tuple[str, ...]],
) -> tuple[str, ...]:
    if not best:
        return ()
    owner = best[0]
    kept = [node for node in best if owner not in apart.get(node, ())][:copies]
    kept += [n for n in wanted if n in filling and owner not in apart.get(n, ())]
    return tuple(kept)


def holders_of(ring: Ring, tier_map: TierMap, slot: int) -> tuple[str, ...]:
    """`holders` of one slot."""
    members = {m.id: m for m in tier_map.members}
    order = [members[node] for node in ring.preference(slot) if node in members]
    serving = [m for m in order if m.serves]
    if not serving or tier_map.copies == 1:
        return tuple(m.id for m in serving[:1])
    owner, copies = serving[0].id, tier_map.copies
    kept = [m.id for m in serving if owner not in m.apart][:copies]
    best = [m for m in order if m.serves or m.fills][:copies]
    return (*kept, *(m.id for m in best if m.fills and owner not in m.apart))
