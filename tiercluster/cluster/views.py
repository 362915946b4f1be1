"""What client calls return besides plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Item(NamedTuple, Generic[T]):
    """A value with what is known about it. ``ttl``: seconds left, None never expires. ``tier`` and
    ``node``: where it was found. ``degraded``: a stand-in answered, because the node that the key
    prefers, or that node's cold tier, is out of service."""

    value: T
    version: int
    ttl: float | None
    tier: str
    node: str
    degraded: bool


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a key lives now and why. ``owner`` is "" if no member serves; ``tiers``: the tier
    reference that takes the work of each tier, absent where there is none; ``skipped``: what was
    passed over, with the reason."""

    owner: str
    preference: tuple[str, ...]
    tiers: Mapping[str, str]
    version: int
    skipped: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TierStatus:
    """One tier, as ``tiercluster tier list`` shows it. The figures are None if its node did not
    answer."""

    ref: str
    tier: str
    state: str
    generation: int
    entries: int | None
    bytes: int | None
    capacity_bytes: int | None
    hits: int | None
    misses: int | None
    reason: str
    since_version: int


@dataclass(frozen=True, slots=True)
class Stats:
    """What this client has seen since it was made. ``swallowed``: errors that ``on_error="miss"``
    turned into misses, by their type's name; ``errors`` is their sum. ``retries_denied``: for which
    there was no budget (a tenth of the calls). What the near cache answered stands in ``near_hits``
    alone; ``near_misses`` are keys that were asked of nodes then; ``near_invalidations`` copies
    that were dropped because their node told of a change; ``near_resets``: how often all copies of
    a node were dropped; ``near_audited``: copies that were compared with what their node has;
    ``near_stale``: those that were older, which must be 0."""

    calls: int
    hits: int
    misses: int
    errors: int
    swallowed: Mapping[str, int]
    retries: int
    retries_denied: int
    rerouted: int
    stale_maps: int
    late_answers: int
    bad_answers: int
    connections: int
    map_version: int
    near_hits: int = 0
    near_misses: int = 0
    near_entries: int = 0
    near_invalidations: int = 0
    near_resets: int = 0
    near_audited: int = 0
    near_stale: int = 0
