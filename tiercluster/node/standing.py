"""Which of this node's tiers may be read and written now: the map, less what its breakers forbid.

The map alone adds; a breaker, a closed drain or a missing store only subtracts.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiercluster.tiermap import (
    TIERS,
    Admin,
    Health,
    Member,
    Tier,
    TierMap,
    TierRecord,
    TierRef,
)

from .breaker import Breaker
from .effects import Effects
from .entry import COLD, REMOTE
from .failures import Failure
from .messages import TierTripped
from .recovery import has_cold_elsewhere
from .settings import NodeSettings

NOT_LIVE = -1  # no entry has this generation
UNCONFIRMED = -2  # that of an entry whose tier has not confirmed it: never live


@dataclass(slots=True)
class TierStanding:
    """One tier: its record in the map and what stands against it here."""

    tier: Tier
    breaker: Breaker
    record: TierRecord | None = None
    tripped_in: TierRecord | None = None  # the record when the breaker opened
    was_seen_out: bool = False  # not UP in a map since the breaker opened
    closed_generation: int | None = None  # the drain of this generation has ended
    is_read_only: bool = False  # what it holds is served, nothing new comes in

    @property
    def is_barred(self) -> bool:
        return self.tripped_in is not None or self.closed_generation is not None

    @property
    def is_readable(self) -> bool:
        return self.record is not None and self.record.is_readable and not self.is_barred

    @property
    def is_usable(self) -> bool:
        may_be_written = not self.is_barred and not self.is_read_only
        return self.record is not None and self.record.is_usable and may_be_written

    @property
    def is_draining(self) -> bool:
        """DRAINING and still to be moved."""
        return self.is_readable and self.record is not None and not self.record.is_usable

    def use(self, record: TierRecord | None, now: float) -> None:
        self.record = record
        if record is None:
            return
        if self.closed_generation is not None and record.generation != self.closed_generation:
            self.closed_generation = None
        if self.tripped_in is not None:
            self.was_seen_out |= record.health is not Health.UP
            if self._is_back(record, self.tripped_in):
                self.tripped_in = None
                self.breaker.reset(now)

    def _is_back(self, record: TierRecord, then: TierRecord) -> bool:
        if record.health is not Health.UP or record.suspect:
            return False
        if self.was_seen_out or record.generation != then.generation:
            return True
        # Its DOWN may have come and gone between two maps; a drain in between is no recovery.
        return record.since_version > then.since_version and record.admin is then.admin


class Standing:
    """``live[place]`` is the generation that an entry of this place must carry to be read, NOT_LIVE
    if the place may not be read; ``writable`` are the places of new entries, best first.
    ``is_emergency``: no tier is left to this member, here or elsewhere."""

    def __init__(self, settings: NodeSettings, effects: Effects) -> None:
        self._node = settings.id
        self._effects = effects
        limits = (settings.hot, settings.warm, settings.cold)
        self.tiers = tuple(
            TierStanding(tier, Breaker(limit)) for tier, limit in zip(TIERS, limits, strict=True)
        )
        self.map = TierMap()
        self.live: list[int] = [NOT_LIVE] * 4
        self.writable: tuple[int, ...] = ()
        self.is_emergency = False

    def use_map(self, tier_map: TierMap, now: float) -> None:
        self.map = tier_map
        member: Member | None = tier_map.member(self._node)
        for standing in self.tiers:
            standing.use(member.tier(standing.tier) if member else None, now)
        self._refresh()

    def _refresh(self) -> None:
        for place, standing in enumerate(self.tiers):
            self.live[place] = self.generation(place) if standing.is_readable else NOT_LIVE
        # What others keep for us is used while the map shows our cold tier out, never after.
        self.live[REMOTE] = self.generation(COLD) if self.is_cold_out else NOT_LIVE
        usable = tuple(p for p, s in enumerate(self.tiers) if s.is_usable)
        self.writable = usable or tuple(
            p for p, s in enumerate(self.tiers) if s.is_readable and not s.is_read_only
        )
        self.is_emergency = not self._has_any

    @property
    def _has_any(self) -> bool:
        if self.map.member(self._node) is None or any(s.is_readable for s in self.tiers):
            return True
        return self.is_cold_out and has_cold_elsewhere(self.map, self._node)

    def has_other(self, place: int) -> bool:
        """Whether anything can take over the work of a place."""
        if any(s.is_usable for p, s in enumerate(self.tiers) if p != place):
            return True
        return has_cold_elsewhere(self.map, self._node)

    @property
    def is_cold_out(self) -> bool:
        """Whether the whole cluster knows that our cold tier takes nothing."""
        record = self.tiers[COLD].record
        return record is not None and not record.is_usable

    @property
    def outage(self) -> str:
        """The tag of what others keep for our cold tier."""
        return f"{TierRef(self._node, Tier.COLD)}@{self.generation(COLD)}"

    def generation(self, place: int) -> int:
        """The current one in the map; 0 before there is one."""
        record = self.tiers[COLD if place == REMOTE else place].record
        return record.generation if record is not None else 0

    def is_dead(self, place: int, generation: int) -> bool:
        """Whether an entry of this place and generation can never be read again."""
        if place == REMOTE and not self.is_cold_out:
            return True
        return generation != self.generation(place)

    def succeeded(
        self, place: int, now: float, epoch: int | None = None, *, is_write: bool = False
    ) -> None:
        self.tiers[place].breaker.record_success(now, epoch, is_write=is_write)

    def failed(self, place: int, failure: Failure, now: float, *, is_write: bool = False) -> None:
        """Count it; when the breaker opens, stop using the tier and say so."""
        standing = self.tiers[place]
        if standing.breaker.record_failure(now, failure.kind, is_write=is_write):
            self._trip(standing, failure, now)

    def is_dead_now(self, place: int, failure: Failure, now: float) -> None:
        """The tier can do nothing any more: open its breaker whatever it has counted."""
        standing = self.tiers[place]
        if standing.breaker.trip(now, failure.kind):
            self._trip(standing, failure, now)

    def _trip(self, standing: TierStanding, failure: Failure, now: float) -> None:
        standing.tripped_in = standing.record or TierRecord(standing.tier)
        standing.was_seen_out = standing.tripped_in.health is not Health.UP
        self._refresh()
        trip = standing.breaker.last_trip
        evidence = (
            ("failures", trip.failures if trip else 0),
            ("calls", trip.calls if trip else 0),
            ("detail", failure.detail[:200]),
        )
        first = trip.first_error_at if trip else now
        generation = standing.tripped_in.generation
        self._effects.control(TierTripped(standing.tier, generation, failure.kind, evidence, first))

    def make_read_only(self, place: int, is_read_only: bool) -> None:
        self.tiers[place].is_read_only = is_read_only
        self._refresh()

    def close(self, place: int) -> None:
        """Its drain is over: neither read nor written until the map has another generation."""
        self.tiers[place].closed_generation = self.generation(place)
        self._refresh()

    def is_called_off(self, place: int) -> bool:
        """Whether its drain is over here while the map shows it in service, as it was."""
        record, closed = self.tiers[place].record, self.tiers[place].closed_generation
        if record is None or closed is None:
            return False
        return record.admin is Admin.IN and record.generation == closed

    def reopen(self, place: int) -> None:
        """Take back `close`."""
        self.tiers[place].closed_generation = None
        self._refresh()

    def is_drained(self, place: int) -> bool:
        """Whether an operator has it out of service."""
        record = self.tiers[place].record
        return record is not None and record.admin is Admin.OUT
