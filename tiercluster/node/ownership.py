"""Which slots this node answers for now: settling after a gain.

    not mine --the map names me--> settling --every UP member has applied it--> served
        ^-----------------the map names another (at once)-------------------------+

A pure core. It is the second of the rules in ARCHITECTURE.md that make the owner of a key unique in
time; what it may show of its own past is for `keeping` to say.
"""

from __future__ import annotations

from enum import IntEnum

from tiercluster.cluster.ring import SLOTS, Ring, ring_of
from tiercluster.tiermap import Member, NodeState, TierMap


class SlotState(IntEnum):
    NOT_MINE = 0
    SETTLING = 1
    SERVED = 2


class Ownership:
    """What one process of one node owns. Each (re)join of the process ``token`` is an incarnation
    ``token#n``; a new one starts with nothing. ``fence_s`` is how long a lease may outlive its last
    grant: a member removed by force while UP is given that long to stop by itself."""

    def __init__(self, node: str, token: str, fence_s: float) -> None:
        self._node = node
        self._token = token
        self._fence_s = fence_s
        self.incarnation = ""
        self._map = TierMap()
        self._ring: Ring | None = None
        self._confirmed: dict[str, tuple[str, int]] = {}
        self._ahead: dict[str, tuple[str, int]] = {}  # confirmed maps that are newer than ours
        self._required = 0  # the ring version that every other UP member must have applied
        self._not_before = 0.0
        self._fencing = False
        self._up_since = 0  # the version at which the newest of the members that are UP came
        self.slots = bytearray(SLOTS)  # SlotState
        self.gained = [0] * SLOTS  # the ring version at which each slot became mine
        self.newest_gain = 0

    @property
    def is_settled(self) -> bool:
        """Whether every slot of this node is served."""
        return self._required == 0

    @property
    def ring_version(self) -> int:
        return self._map.ring_version

    def _drop_all(self) -> None:
        self.slots = bytearray(SLOTS)
        self._required = 0

    def is_mine(self, slot: int) -> bool:
        """Whether the map names this node its owner, served or settling."""
        return self.slots[slot] != SlotState.NOT_MINE

    def use_map(self, new: TierMap, now: float) -> bool:
        """Take a newer map; True if the set of slots that are mine may have changed."""
        old, self._map = self._map, new
        self._catch_up_with_peers()
        if self._may_be_leased(old, new):
            self._fencing = True
        self._up_since = max((m.since_version for m in new.members), default=0)
        me = new.member(self._node)
        if new.ring_version == old.ring_version and self._ring is not None:
            self._settle(now)
            return self._joined_without_serving(me)
        self._ring = ring_of(new, self._ring)
        if me is None or not self._is_ours(me):
            self._drop_all()
            return True
        if me.incarnation != self.incarnation or not me.serves:
            self.incarnation = me.incarnation
            self._drop_all()
        if not me.serves:
            return True
        self._assign(_serving(new), new.ring_version)
        self._settle(now)
        return True

    def _joined_without_serving(self, me: Member | None) -> bool:
        """Whether this is a new stint of ours that changed no ring: none of its tiers is readable.
        It takes part all the same, and pings under its new name."""
        if me is None or not self._is_ours(me):
            return False
        if me.incarnation == self.incarnation:
            return False
        self.incarnation = me.incarnation
        self._drop_all()
        return True

    def _is_ours(self, me: Member) -> bool:
        """Whether this member, of our id, is this very process."""
        return me.process == self._token

    def _may_be_leased(self, old: TierMap, new: TierMap) -> bool:
        """Whether somebody who is out now may hold a lease when all others have confirmed: one that
        was removed while UP, that went together with one who may have granted to it, that had not
        applied the map of those who voted it out, or in whose name another process joined
        elsewhere. Such a lease rests on grants of members that were behind, too; they end when
        these confirm."""
        if _somebody_moved(old, new):
            return True
        was = old.member(self._node)
        if was is None or was.state is not NodeState.UP or not self._is_ours(was):
            # A newcomer cannot tell when they went, nor whether those who LEFT were UP then.
            return any(m.state is not NodeState.UP and m.id != self._node for m in new.members)
        up = {m.id for m in new.members if m.state is NodeState.UP}
        gone = [m for m in old.members if m.state is NodeState.UP and m.id not in up]
        if not gone:
            return False
        if any(m.id in up and m.since_version > old.version for m in new.members):
            return True  # who came at the same time may have voted
        if len(gone) > 1:
            return True  # one may have granted to the other until both were voted out
        return _somebody_was_removed(old, new) or not all(map(self._knew_all, gone))

    def _knew_all(self, member: Member) -> bool:
        """Whether the member had applied a map with all who could vote it out."""
        incarnation, version = self._confirmed.get(member.id, ("", 0))
        return incarnation == member.incarnation and version >= self._up_since

    def _assign(self, serving: frozenset[str], ring_version: int) -> None:
        assert self._ring is not None
        node, slots, gained = self._node, self.slots, self.gained
        for slot, owner in enumerate(self._ring.owners(serving)):
            if owner != node:
                slots[slot] = SlotState.NOT_MINE
            elif slots[slot] == SlotState.NOT_MINE:
                slots[slot] = SlotState.SETTLING
                gained[slot] = ring_version
                self._required = self.newest_gain = ring_version
        if self._required:
            # What still settles waits for this ring: a peer may have served it in one in between
            # that this node, whose maps may come several at once, has not seen.
            self._required = ring_version

    def confirm(self, node: str, incarnation: str, version: int, now: float) -> None:
        """The shard of ``node`` has applied the map of ``version``. One newer than ours counts
        once we have applied it too: it may give the peer back what we are about to serve."""
        known = self._confirmed.get(node)
        if known is not None and known[0] == incarnation and known[1] >= version:
            return
        if version > self._map.version:
            self._ahead[node] = (incarnation, version)
            return
        self._confirmed[node] = (incarnation, version)
        self._settle(now)

    def _catch_up_with_peers(self) -> None:
        for node, (incarnation, version) in list(self._ahead.items()):
            if version <= self._map.version:
                del self._ahead[node]
                self._confirmed[node] = (incarnation, version)

    def tick(self, now: float) -> None:
        """Let a wait end that only time ends."""
        self._settle(now)

    def _settle(self, now: float) -> None:
        if not self._required or not all(map(self._has_confirmed, self._others())):
            return
        if self._fencing:
            self._fencing = False
            self._not_before = now + self._fence_s
        if now < self._not_before:
            return
        self._required = 0
        self.slots = self.slots.replace(bytes((SlotState.SETTLING,)), bytes((SlotState.SERVED,)))

    def _others(self) -> list[Member]:
        return [m for m in self._map.members if m.id != self._node and m.state is NodeState.UP]

    def _has_confirmed(self, member: Member) -> bool:
        incarnation, version = self._confirmed.get(member.id, ("", 0))
        return incarnation == member.incarnation and version >= self._required


def _serving(tier_map: TierMap) -> frozenset[str]:
    return frozenset(m.id for m in tier_map.members if m.serves)


def _somebody_moved(old: TierMap, new: TierMap) -> bool:
    """Whether an earlier process of a member may run on: at the same address its port was free."""
    now_at = {m.id: m.address for m in new.members if m.state is NodeState.UP}
    return any(
        m.state is NodeState.UP and now_at.get(m.id, m.address) != m.address for m in old.members
    )


def _somebody_was_removed(old: TierMap, new: TierMap) -> bool:
    up = {m.id for m in old.members if m.state is NodeState.UP}
    now_up_or_down = {m.id for m in new.members if m.state is not NodeState.LEFT}
    return not up <= now_up_or_down
