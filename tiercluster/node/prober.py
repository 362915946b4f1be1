"""When a tier that is out is probed, and when it has earned its way back: pure, one per node.

    IN_USE --out, by the map or by the breaker--> HOLDING --hold-down over--> PROBING
    PROBING --probe failed--> HOLDING (a relapse if one had succeeded before)
    PROBING --not now, its breaker is open--> PROBING, the next probe when it is half-open
    PROBING --N successes in a row over a stable time--> TierRecovered proposed and applied: IN_USE
    IN_USE --out again--> HOLDING, the hold-down doubled (a relapse)
    any --too many relapses in the window--> LATCHED --an operator's restore--> PROBING at once

A restore is told from our own TierRecovering by its evidence: it has none, ours always has some.
A tier that the guard would not let go DOWN is never LATCHED: no operator could restore it.
The hold-down shrinks again only while reads succeed in the tier, never by time alone. What an
operator drained is not probed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from tiercluster.tiermap import TIERS, Admin, Health, Tier, TierRecord

from .settings import RecoverySettings

PROBE_TIMEOUT_S = 3.0  # a probe without an answer has failed
CALM_S = 10.0  # of successful reads, at least, until the hold-down halves


class Phase(StrEnum):
    IN_USE = "in_use"
    HOLDING = "holding"
    PROBING = "probing"
    LATCHED = "latched"


@dataclass(frozen=True, slots=True)
class AskProbe:
    """Probe the tier now, through its real path."""

    tier: Tier


@dataclass(frozen=True, slots=True)
class WantRecovering:
    """The first probe succeeded: TierRecovering should be proposed."""

    tier: Tier


@dataclass(frozen=True, slots=True)
class WantRecovered:
    """It has earned it: TierRecovered should be proposed."""

    tier: Tier
    successes: int
    stable_s: float


@dataclass(frozen=True, slots=True)
class WantFailed:
    """A probe failed though the map says RECOVERING: TierFailed should be proposed."""

    tier: Tier
    reason: str


Wish = AskProbe | WantRecovering | WantRecovered | WantFailed


@dataclass(slots=True)
class _Watch:
    """One tier. ``level`` doubles the hold-down; ``due`` is when the next probe may go."""

    tier: Tier
    phase: Phase = Phase.IN_USE
    level: int = 0
    has_recovered: bool = False
    due: float = 0.0
    asked_at: float | None = None
    streak: int = 0
    first_success_at: float = 0.0
    failure: str = ""
    relapses: deque[float] = field(default_factory=deque)
    calm_since: float = 0.0
    hits: int = 0
    health: Health = Health.UP
    since_version: int = -1


class Prober:
    """``tick`` returns what should be done now; it repeats a wish until the map has granted it."""

    def __init__(self, settings: RecoverySettings) -> None:
        self._settings = settings
        self._watches = {tier: _Watch(tier) for tier in TIERS}

    def phase(self, tier: Tier) -> Phase:
        return self._watches[tier].phase

    def hold_down_s(self, tier: Tier) -> float:
        """The hold-down now in force, without jitter."""
        level = self._watches[tier].level
        return min(self._settings.hold_down_s * 2.0**level, self._settings.hold_down_max_s)

    # --- events ---------------------------------------------------------------------------------

    def use_record(self, record: TierRecord, is_tripped: bool, now: float, jitter: float) -> None:
        """The own tier as the map shows it, and whether the shard keeps away from it. ``jitter``: a
        random number from 0 to 1."""
        watch = self._watches[record.tier]
        was, is_new = watch.health, record.since_version != watch.since_version
        watch.health, watch.since_version = record.health, record.since_version
        if record.admin is not Admin.IN:
            watch.phase = Phase.IN_USE
            self._forget_probes(watch)
        elif record.health is Health.UP and not record.suspect and not is_tripped:
            self._come_back(watch, now)
        elif is_new and record.health is Health.RECOVERING and not record.evidence:
            self._start_over(watch, now)
        elif watch.phase is Phase.IN_USE:
            self._go_out(watch, now, jitter)
        elif is_new and watch.streak and record.health is Health.DOWN and was is not Health.UP:
            # It came back and failed again between two maps: what probes said before is past.
            self._fail(watch, "", now, jitter)
        elif watch.phase is Phase.LATCHED and record.suspect:
            self._hold(watch, now, jitter)

    def probed(self, tier: Tier, failure: str, now: float, jitter: float) -> None:
        """What a probe came to; ``failure`` is empty if it succeeded."""
        watch = self._watches[tier]
        if watch.asked_at is None or watch.phase is not Phase.PROBING:
            return
        watch.asked_at = None
        if failure:
            self._fail(watch, failure, now, jitter)
            return
        watch.first_success_at = watch.first_success_at if watch.streak else now
        watch.streak += 1
        watch.failure = ""
        watch.due = now + self._settings.probe_interval_s

    def denied(self, tier: Tier, wait_s: float, now: float) -> None:
        """The probe that was asked for did not go: the tier's breaker is open for ``wait_s``. That
        says that a probe of somebody else's has failed, so successes are counted anew."""
        watch = self._watches[tier]
        if watch.asked_at is None or watch.phase is not Phase.PROBING:
            return
        watch.asked_at = None
        watch.streak = 0
        watch.due = now + wait_s

    def traffic(self, tier: Tier, hits: int, now: float) -> None:
        """How many reads the tier has answered since the start."""
        watch = self._watches[tier]
        grew, watch.hits = hits > watch.hits, hits
        if watch.phase is not Phase.IN_USE or not watch.has_recovered or not grew:
            return
        if now - watch.calm_since >= max(CALM_S, self.hold_down_s(tier)):
            watch.calm_since = now
            watch.has_recovered = watch.level > 0
            watch.level = max(0, watch.level - 1)

    def tick(self, now: float, jitter: float) -> tuple[Wish, ...]:
        """What should be done, in the order of the tiers."""
        wishes: list[Wish] = []
        for watch in self._watches.values():
            if watch.asked_at is not None and now - watch.asked_at > PROBE_TIMEOUT_S:
                self.probed(watch.tier, "the probe was not answered", now, jitter)
            wishes += self._wishes(watch, now)
        return tuple(wishes)

    # --- what follows ---------------------------------------------------------------------------

    def _wishes(self, watch: _Watch, now: float) -> list[Wish]:
        wishes: list[Wish] = []
        if watch.phase is Phase.HOLDING and now >= watch.due:
            watch.phase = Phase.PROBING
        if watch.health is Health.RECOVERING and watch.failure:
            wishes.append(WantFailed(watch.tier, watch.failure))
        if watch.phase is not Phase.PROBING:
            return wishes
        stable_s = now - watch.first_success_at
        if watch.streak >= self._settings.successes and stable_s >= self._settings.stable_s:
            wishes.append(WantRecovered(watch.tier, watch.streak, stable_s))
        elif watch.streak and watch.health is Health.DOWN:
            wishes.append(WantRecovering(watch.tier))
        if watch.asked_at is None and now >= watch.due:
            watch.asked_at = now
            wishes.append(AskProbe(watch.tier))
        return wishes

    def _come_back(self, watch: _Watch, now: float) -> None:
        if watch.phase is Phase.IN_USE:
            return
        watch.phase = Phase.IN_USE
        watch.has_recovered = True
        watch.calm_since = now
        self._forget_probes(watch)

    def _start_over(self, watch: _Watch, now: float) -> None:
        """An operator restored it: no hold-down, no latch, no past."""
        watch.phase = Phase.PROBING
        watch.level = 0
        watch.has_recovered = False
        watch.relapses.clear()
        watch.due = now
        self._forget_probes(watch)

    def _go_out(self, watch: _Watch, now: float, jitter: float) -> None:
        self._forget_probes(watch)
        if watch.has_recovered:
            self._relapse(watch, now)
        if watch.phase is not Phase.LATCHED:
            self._hold(watch, now, jitter)

    def _fail(self, watch: _Watch, failure: str, now: float, jitter: float) -> None:
        if watch.streak:
            self._relapse(watch, now)
        self._forget_probes(watch)
        watch.failure = failure
        if watch.phase is not Phase.LATCHED:
            self._hold(watch, now, jitter)

    def _relapse(self, watch: _Watch, now: float) -> None:
        watch.level += self.hold_down_s(watch.tier) < self._settings.hold_down_max_s
        watch.relapses.append(now)
        while watch.relapses[0] <= now - self._settings.latch_window_s:
            watch.relapses.popleft()
        if len(watch.relapses) > self._settings.latch_relapses:
            watch.relapses.popleft()
            watch.phase = Phase.LATCHED

    def _hold(self, watch: _Watch, now: float, jitter: float) -> None:
        watch.phase = Phase.HOLDING
        watch.due = now + self.hold_down_s(watch.tier) * (1 + self._settings.jitter * jitter)

    def _forget_probes(self, watch: _Watch) -> None:
        watch.asked_at = None
        watch.streak = 0
        watch.failure = ""
