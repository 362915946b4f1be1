"""Which slots this node keeps entries of, since when, and whether it has all of them.

    not kept --the map names me, owner or copy--> kept, not whole --filled by the owner--> whole
        ^--------------the map names others, or the thread of writes is lost--------------+

An owner answers a write only when every node that keeps the slot has it. So what is kept without a
gap is never older than the newest acknowledged write, and this node may serve it the moment it
becomes the owner. After a gap all that was kept before is worth nothing. Gaps are counted in
*eras* of this process: each entry carries the era in which it was stored, each slot the era in
which it began to be kept without a gap, its floor, and an entry below it is invisible.

Two copies of an owner that is gone may differ by what was on its way to both. One of them owns the
slot now and answers with what it has; the other begins anew.

A pure core; the fourth of the rules in ARCHITECTURE.md that keep the past from being served.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from tiercluster.cluster.holders import Table, holders
from tiercluster.cluster.ring import SLOTS, Ring, ring_of
from tiercluster.cluster.wire import PRIOR_S
from tiercluster.tiermap import NodeState, TierMap

from .between import kept_in_between, may_have_changed, unsteady

NEW_S = PRIOR_S + 2.0  # no call that began before is still asking about it
NOBODYS = 1 << 40  # a floor above every era: not kept, so nothing that is here of it is visible


class Keeping:
    """What one process of ``node`` keeps. ``table`` names who keeps each slot, ``floors`` are the
    eras; ``era`` is the current one."""

    def __init__(self, node: str, token: str) -> None:
        self._node = node
        self._token = token
        self._map = TierMap()
        self._ring: Ring | None = None
        self._incarnation = ""
        self._signature: object = None
        self.table: Table = [()] * SLOTS
        self.since_version = 0  # of the map that changed the table last
        self.floors = [NOBODYS] * SLOTS
        # A slot that this process never kept has no floor: what it holds of it can only come from
        # a clean stop of its last owner, this node.
        self._had = bytearray(SLOTS)
        self.era = 1
        self._missing: set[int] = set()  # kept, and not all of it is here yet
        self._since = [0] * SLOTS  # the era in which each slot began to be kept
        self._began: dict[int, float] = {}  # when the newest eras began
        self._noted = 0

    @property
    def is_whole(self) -> bool:
        """Whether everything is here of all that is kept."""
        return not self._missing

    @property
    def missing(self) -> int:
        """Slots whose entries are still on their way."""
        return len(self._missing)

    def owner_of(self, slot: int) -> str:
        """ "" for nobody."""
        kept_by = self.table[slot]
        return kept_by[0] if kept_by else ""

    def keeps(self, slot: int) -> bool:
        return self.floors[slot] != NOBODYS

    def wanted(self) -> dict[str, list[int]]:
        """Slots that are not whole, by the owner that has their entries."""
        by_owner: defaultdict[str, list[int]] = defaultdict(list)
        for slot in sorted(self._missing):
            by_owner[self.owner_of(slot)].append(slot)
        return by_owner

    # --- the map --------------------------------------------------------------------------------

    def use_map(self, new: TierMap) -> bool:
        """Take a newer map; True if what is kept, or who else keeps it, may have changed."""
        old, self._map = self._map, new
        me = new.member(self._node)
        if me is None or not (me.serves or me.fills) or me.process != self._token:
            return self._drop_all()
        signature = _signature(new)
        if me.incarnation != self._incarnation:
            self._drop_all()
            self._incarnation = me.incarnation
        elif signature == self._signature and not may_have_changed(old, new):
            return False
        self._signature, self.since_version = signature, new.version
        self._ring = ring_of(new, self._ring)
        before, self.table = self.table, holders(self._ring, new)
        self._compare(
            before, kept_in_between(self._node, old, new, self._ring), unsteady(old, new)
        )  # fmt: skip
        return True

    def _drop_all(self) -> bool:
        had_any = self._incarnation != ""
        self._incarnation, self._signature = "", None
        self.table = [()] * SLOTS
        self.floors = [NOBODYS] * SLOTS
        self._missing.clear()
        return had_any

    def _compare(self, before: Table, safe: Table | None, changed: frozenset[str]) -> None:
        """``safe``: who kept each slot in every map that may have been in between; None: there was
        none. ``changed``: who may have been out in one of them."""
        if self.table is before and safe is None:
            return
        node, floors, has_skipped = self._node, self.floors, safe is not None
        is_new_era = False
        for slot, kept_by in enumerate(self.table):
            if safe is None and kept_by == before[slot]:
                continue
            if node not in kept_by:
                if floors[slot] != NOBODYS:
                    floors[slot] = NOBODYS
                    self._missing.discard(slot)
                continue
            was, is_owner = before[slot], kept_by[0] == node
            if node in was and (
                (is_owner and was[0] == node)
                or (
                    (safe is None or node in safe[slot])
                    and not _may_differ(node, was, kept_by[0], has_skipped)
                    and kept_by[0] not in changed
                )
            ):
                # An owner need not ask what was in between: nobody else served before this node
                # had confirmed the map that says so.
                if is_owner:
                    self._missing.discard(slot)
                continue
            if not is_new_era:
                is_new_era, self.era = True, self.era + 1
            self._begin(slot, is_owner)

    def _begin(self, slot: int, is_owner: bool) -> None:
        self._since[slot] = self.era
        self.floors[slot] = self.era if self._had[slot] else 0
        self._had[slot] = True
        if is_owner:
            self._missing.discard(slot)  # nobody knows more
        else:
            self._missing.add(slot)

    def note_time(self, now: float) -> None:
        """After a change; monotonic seconds."""
        if self.era > self._noted:
            self._noted = self.era
            self._began = {era: at for era, at in self._began.items() if now - at < NEW_S}
            self._began[self.era] = now

    def is_new(self, slots: Sequence[int], now: float) -> bool:
        """Whether one of these is kept for so short a time that writes from before may be asked
        about, which this node was not told of by name."""
        return any(now - self._began.get(self._since[slot], -math.inf) < NEW_S for slot in slots)

    # --- the writes of the owners ---------------------------------------------------------------

    def filled(self, owner: str, slots: tuple[int, ...]) -> None:
        """The owner has sent everything that it has of these."""
        self._missing.difference_update(s for s in slots if self.owner_of(s) == owner)

    def lost_thread(self, owner: str, now: float) -> None:
        """Writes of this owner have not reached this node: begin anew with its slots."""
        self.era += 1
        self.note_time(now)
        for slot, kept_by in enumerate(self.table):
            if kept_by and kept_by[0] == owner and self._node in kept_by[1:]:
                self._begin(slot, is_owner=False)


def _may_differ(node: str, was: tuple[str, ...], owner: str, has_skipped: bool) -> bool:
    """Whether the new owner may have writes that ``node`` lacks: both kept copies for an owner that
    is gone, and what was on its way reached one of them."""
    if owner in (node, was[0]) or was[0] == node:
        return False
    return owner in was or has_skipped


def _signature(tier_map: TierMap) -> object:
    """What the table depends on."""
    members = tuple(
        (m.id, m.weight, m.incarnation, m.serves, m.fills, m.apart)
        for m in tier_map.members
        if m.state is not NodeState.LEFT
    )
    return members, tier_map.copies
