"""What may be lost where nodes answer without copies (``write_ack`` is owner): what was written at
an owner that went before its copies had it.

So what was acknowledged counts only if nobody else, and no other process, has become the owner of
the key since the write began.
"""

from __future__ import annotations

from tiercluster.cluster.ring import Ring, ring_of, slot_of
from tiercluster.cluster.routing import serving_nodes
from tiercluster.tiermap import TierMap

from .promises import Promises

BEHIND_S = 3.0  # so long an owner may go on after the map has named another


class Losses:
    """Told of every map that is committed; tells ``promises`` since when each key is firm."""

    def __init__(self, keys: tuple[bytes, ...], promises: Promises) -> None:
        self._slots = {key: slot_of(key) for key in keys}
        self._promises = promises
        self._ring: Ring | None = None
        self._owners: dict[bytes, str] = {}  # their incarnations

    def use_map(self, tier_map: TierMap, now: float) -> None:
        self._ring = ring_of(tier_map, self._ring)
        owners = self._ring.owners(serving_nodes(tier_map))
        incarnations = {m.id: m.incarnation for m in tier_map.members}
        for key, slot in self._slots.items():
            owner = incarnations.get(owners[slot] or "", "")
            if self._owners.get(key) != owner:
                self._owners[key] = owner
                self._promises.firm_since[key] = now + BEHIND_S
