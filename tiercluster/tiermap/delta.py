"""The difference of two maps, for feeds: small for a small change, and safe to apply late."""

from __future__ import annotations

from dataclasses import dataclass

from .types import Member, TierMap


@dataclass(frozen=True, slots=True)
class MapDelta:
    """What turns the map of ``base_version`` and ``base_digest`` into a later one."""

    base_version: int
    base_digest: str
    cluster: str
    version: int
    ring_version: int
    digest: str
    max_unavailable: float
    founded: str
    changed: tuple[Member, ...] = ()  # new or different, sorted by id
    gone: tuple[str, ...] = ()
    replicas: int = 0
    copies_since: int = 0


def diff(old: TierMap, new: TierMap) -> MapDelta:
    """``patch(old, diff(old, new)) == new`` for any two maps."""
    before = {member.id: member for member in old.members}
    after = {member.id for member in new.members}
    return MapDelta(
        base_version=old.version,
        base_digest=old.digest,
        cluster=new.cluster,
        version=new.version,
        ring_version=new.ring_version,
        digest=new.digest,
        max_unavailable=new.max_unavailable,
        founded=new.founded,
        changed=tuple(m for m in new.members if before.get(m.id) != m),
        gone=tuple(m.id for m in old.members if m.id not in after),
        replicas=new.replicas,
        copies_since=new.copies_since,
    )


def patch(old: TierMap, delta: MapDelta) -> TierMap:
    """The later map; ValueError if ``old`` is not the map that the delta starts from."""
    if (old.version, old.digest) != (delta.base_version, delta.base_digest):
        raise ValueError(
            f"delta from version {delta.base_version} ({delta.base_digest[:8]}) "
            f"does not fit version {old.version} ({old.digest[:8]})"
        )
    members = {member.id: member for member in old.members}
    members.update((member.id, member) for member in delta.changed)
    for node in delta.gone:
        members.pop(node, None)
    return TierMap(
        cluster=delta.cluster,
        version=delta.version,
        ring_version=delta.ring_version,
        members=tuple(members[node] for node in sorted(members)),
        digest=delta.digest,
        max_unavailable=delta.max_unavailable,
        founded=delta.founded,
        replicas=delta.replicas,
        copies_since=delta.copies_since,
    )
