"""What may have been in maps that a node has not seen, when several come at once. Pure.

A member that bears the same incarnation before and after has not joined in between, so its weight
was the same; one that does not may have been anything, even removed.
"""

from __future__ import annotations

from tiercluster.cluster.holders import Table
from tiercluster.cluster.ring import SLOTS, Ring
from tiercluster.tiermap import Member, TierMap


def may_have_changed(old: TierMap, new: TierMap) -> bool:
    """Whether another may have kept something in a map between these two, who keep the same."""
    return new.version > old.version + 1 and any(
        _has_changed(m, old.version) or m.apart_version > old.version for m in new.members
    )


def unsteady(old: TierMap, new: TierMap) -> frozenset[str]:
    """The members that may have owned nothing in a map between these two, if there was one: others
    may have owned their keys then, and have told them since what this node has not heard."""
    if new.version <= old.version + 1 or new.ring_version == old.ring_version:
        return frozenset()  # each change of who may own keys has a ring version of its own
    earlier = {m.id: m for m in old.members}
    return frozenset(
        m.id
        for m in new.members
        if not _is_same(earlier.get(m.id), m) or _has_changed(m, old.version)
    )


def kept_in_between(node: str, old: TierMap, new: TierMap, ring: Ring) -> Table | None:
    """For every slot members that kept it in every map that may have been between these two, as far
    as it is certain, if ``node`` did; None if no map was. ``ring`` is that of ``new``."""
    if new.version == old.version + 1:
        return None
    earlier = {m.id: m for m in old.members}
    steady = [m for m in new.members if _is_same(earlier.get(m.id), m)]
    joined = len(new.members) - len(steady)
    forgotten = len(earlier.keys() - {m.id for m in new.members})
    count = new.copies - joined - forgotten
    is_same = new.copies_since <= old.version
    if count < 1 or not is_same or not _held_throughout(old.member(node), new.member(node)):
        return [()] * SLOTS
    # At most these kept anything: who is among the best of all of them was so in each map. Who
    # fills all the time is ranked with who serves only where the node itself fills.
    me, since = new.member(node), old.version
    fills = me is not None and (me.filling or earlier[node].filling)
    most = [m for m in steady
            if (m.has_tier or earlier[m.id].has_tier or _has_changed(m, since))
            and (fills or not _has_filled_throughout(earlier[m.id], m, since))]  # fmt: skip
    all_of_them = Ring((m.id, m.weight) for m in most).heir_of(ring)
    return all_of_them.leaders({m.id for m in most}, count)


def _is_same(was: Member | None, member: Member) -> bool:
    return was is not None and was.incarnation == member.incarnation


def _has_filled_throughout(was: Member, member: Member, since: int) -> bool:
    """A member that serves fills again only as another stint, or with a tier that was out."""
    return was.fills and member.fills and not _has_changed(member, since)


def _held_throughout(was: Member | None, member: Member | None) -> bool:
    """Whether the member could hold entries all the time, and was reached by all owners."""
    if was is None or member is None or not _is_same(was, member):
        return False
    if member.apart_version > was.apart_version:
        return False
    return any(before == now and now.is_readable
               for before, now in zip(was.tiers, member.tiers, strict=True))  # fmt: skip


def _has_changed(member: Member, since: int) -> bool:
    return member.since_version > since or any(t.since_version > since for t in member.tiers)
