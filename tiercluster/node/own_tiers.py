"""This node's own tiers: what the breakers and the prober say, compared with the map. Pure.

Level-triggered: what differs is wished for at every tick until the map shows it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiercluster.tiermap import (
    TIERS,
    Admin,
    Command,
    Drained,
    Evidence,
    Health,
    Member,
    Outcome,
    OutcomeCode,
    Tier,
    TierFailed,
    TierMap,
    TierRecord,
    TierRecovered,
    TierRecovering,
    TierRef,
    brief,
    evidence,
)

from .failures import FailureKind
from .messages import DrainDone, Probed, ProbeDenied, ShardStats, TierTripped
from .prober import AskProbe, Prober, WantFailed, WantRecovered, WantRecovering, Wish
from .proposals import Desire
from .recovery import FailoverAttempt, Verdict, attempt_recovery
from .settings import RecoverySettings

OPEN_STATS = 3  # reports in a row of an open breaker that nobody told us about


@dataclass(slots=True)
class _Trip:
    """The shard keeps away from a tier. ``record``: as the map showed it then."""

    report: TripReport
    record: TierRecord
    incarnation: str
    was_seen_out: bool


@dataclass(frozen=True, slots=True)
class TripReport:
    kind: str
    evidence: Evidence
    keeps_data: bool  # whether what the tier holds is still worth something


@dataclass(frozen=True, slots=True)
class Ended:
    """A failover that was attempted has ended."""

    ref: TierRef
    verdict: Verdict
    took_s: float


class OwnTiers:
    """``node`` is this node's id."""

    def __init__(self, node: str, settings: RecoverySettings) -> None:
        self._node = node
        self._timeout_s = settings.attempt_timeout_s
        self.prober = Prober(settings)
        self._member: Member | None = None
        self._trips: dict[Tier, _Trip] = {}
        self._attempts: dict[Tier, FailoverAttempt] = {}
        self._codes: dict[Tier, OutcomeCode] = {}
        self._drained: dict[Tier, Evidence] = {}
        self._open_stats: dict[Tier, int] = dict.fromkeys(TIERS, 0)

    def is_tripped(self, tier: Tier) -> bool:
        return tier in self._trips

    def is_known(self, ref: str) -> bool:
        """Whether the shard keeps away from this tier of ours already."""
        return any(str(TierRef(self._node, tier)) == ref for tier in self._trips)

    # --- events ---------------------------------------------------------------------------------

    def use_member(self, member: Member | None, now: float, jitter: float) -> None:
        """This node in the map, None while it takes no part."""
        self._member = member
        if member is None:
            return
        for record in member.tiers:
            trip = self._trips.get(record.tier)
            if trip is not None:
                trip.was_seen_out |= record.health is not Health.UP
                if _is_back(record, trip):
                    del self._trips[record.tier]
            self.prober.use_record(record, self.is_tripped(record.tier), now, jitter)
            if record.admin is not Admin.DRAINING:
                self._drained.pop(record.tier, None)

    def tripped(self, report: TierTripped, now: float) -> None:
        """The shard has stopped using the tier."""
        took_ms = round((now - report.first_error_at) * 1000, 1)
        known: dict[str, str | int | float] = {"kind": str(report.kind), "to_trip_ms": took_ms}
        facts = evidence(**known | dict(report.evidence))
        keeps = report.kind is not FailureKind.CORRUPT
        self._trip(report.tier, TripReport(str(report.kind), facts, keeps), now)

    def _trip(self, tier: Tier, report: TripReport, now: float) -> None:
        record = self._member.tier(tier) if self._member is not None else TierRecord(tier)
        incarnation = self._member.incarnation if self._member is not None else ""
        is_out = record.health is not Health.UP
        self._trips[tier] = _Trip(report, record, incarnation, is_out)
        ref, until = TierRef(self._node, tier), now + self._timeout_s
        self._attempts[tier] = FailoverAttempt(ref, record.generation, now, until)
        self._codes.pop(tier, None)

    def stats(self, stats: ShardStats, now: float) -> None:
        """Reads are what shrinks a hold-down; a breaker that is open though we know of no trip is
        one whose report was lost."""
        for tier, counted, breaker in zip(TIERS, stats.tiers, stats.breakers, strict=True):
            self.prober.traffic(tier, counted.hits, now)
            is_lost = breaker != "closed" and not self.is_tripped(tier) and self._is_up(tier)
            self._open_stats[tier] = self._open_stats[tier] + 1 if is_lost else 0
            if self._open_stats[tier] >= OPEN_STATS:
                facts = evidence(breaker=breaker, note="its report was lost")
                self._trip(tier, TripReport("breaker open", facts, False), now)

    def _is_up(self, tier: Tier) -> bool:
        return self._member is not None and self._member.tier(tier).health is Health.UP

    def ejected(self, tier: Tier, facts: Evidence, now: float) -> None:
        """Our own TierFailed about a slow tier is applied. It worked to the end, so this stint
        knows all that it holds."""
        self._trip(tier, TripReport("slow", facts, keeps_data=True), now)

    def probed(self, report: Probed, now: float, jitter: float, too_slow: str = "") -> None:
        """``too_slow``: why one that succeeded counts as failed."""
        failure = report.failure
        text = too_slow if failure is None else brief(f"{failure.kind}: {failure.detail}", 200)
        self.prober.probed(report.tier, text, now, jitter)

    def denied(self, report: ProbeDenied, now: float) -> None:
        self.prober.denied(report.tier, report.wait_s, now)

    def drained(self, report: DrainDone) -> None:
        facts = evidence(moved=report.moved, left_behind=report.left_behind)
        self._drained.update(dict.fromkeys(report.tiers, facts))

    def settled(self, command: Command, outcome: Outcome) -> None:
        """What became of a command of ours."""
        if isinstance(command, TierFailed):
            self._codes[command.ref.tier] = outcome.code

    # --- what follows ---------------------------------------------------------------------------

    def tick(self, now: float, jitter: float) -> tuple[list[Tier], list[Desire]]:
        """The tiers to probe now, and everything that the map lacks."""
        member = self._member
        if member is None:
            return [], []
        wishes = self.prober.tick(now, jitter)
        probes = [w.tier for w in wishes if isinstance(w, AskProbe)]
        failed = (self._failed(member.tier(tier), trip) for tier, trip in self._trips.items())
        desires = {d.subject: d for d in failed if d is not None}
        for wish in wishes:
            record = member.tier(wish.tier)
            desire = self._wished(record, wish)
            if desire is None:
                continue
            # The guard keeps a suspect tier UP: once its probes succeed, only that matters.
            if record.suspect or desire.subject not in desires:
                desires[desire.subject] = desire
        return probes, [*desires.values(), *self._drain_desires(member)]

    def _failed(self, record: TierRecord, trip: _Trip) -> Desire | None:
        if record.health is not Health.UP or record.admin is Admin.OUT:
            return None
        return self._down(record, trip.report.kind, trip.report.evidence)

    def _down(self, record: TierRecord, reason: str, facts: Evidence) -> Desire:
        command = TierFailed(
            id="",
            by=self._node,
            ref=TierRef(self._node, record.tier),
            generation=record.generation,
            reason=brief(reason),
            evidence=facts,
        )
        return Desire(str(command.ref), ("failed", record.generation), command)

    def _wished(self, record: TierRecord, wish: Wish) -> Desire | None:
        match wish:
            case WantFailed(reason=reason):
                return self._down(record, f"a probe failed: {reason}", evidence(probe=reason))
            case WantRecovering():
                facts = evidence(probe="succeeded")
                return self._up(record, "recovering", TierRecovering(
                    id="", by=self._node, ref=TierRef(self._node, record.tier),
                    generation=record.generation, evidence=facts,
                ))  # fmt: skip
            case WantRecovered(successes=successes, stable_s=stable_s):
                keep = self._keeps(record.tier)
                facts = evidence(probes=successes, stable_s=round(stable_s, 3), keep=int(keep))
                return self._up(record, "recovered", TierRecovered(
                    id="", by=self._node, ref=TierRef(self._node, record.tier),
                    generation=record.generation, keep=keep, evidence=facts,
                ))  # fmt: skip
            case AskProbe():
                return None

    def _up(self, record: TierRecord, what: str, command: Command) -> Desire:
        return Desire(str(TierRef(self._node, record.tier)), (what, record.generation), command)

    def _keeps(self, tier: Tier) -> bool:
        """Whether this very stint knows all that happened to the tier's keys since it went out."""
        trip, member = self._trips.get(tier), self._member
        if trip is None or member is None:
            return False
        return trip.report.keeps_data and trip.incarnation == member.incarnation

    def _drain_desires(self, member: Member) -> list[Desire]:
        return [
            Desire(
                f"drained:{tier}",
                (member.incarnation, member.tier(tier).generation),
                Drained(
                    id="",
                    by=self._node,
                    node=self._node,
                    tiers=(tier,),
                    incarnation=member.incarnation,
                    evidence=facts,
                ),
            )
            for tier, facts in self._drained.items()
        ]

    def ended(self, tier_map: TierMap, now: float) -> list[Ended]:
        """The failovers that ended since the last call, well or not."""
        ended = []
        for tier, attempt in list(self._attempts.items()):
            verdict = attempt_recovery(attempt, tier_map, self._codes.get(tier), now)
            if verdict is not None:
                del self._attempts[tier]
                ended.append(Ended(attempt.ref, verdict, now - attempt.started))
        return ended


def _is_back(record: TierRecord, trip: _Trip) -> bool:
    """Whether the map lets the shard use the tier again: the same rule as in `standing`."""
    if record.health is not Health.UP or record.suspect:
        return False
    if trip.was_seen_out or record.generation != trip.record.generation:
        return True
    return record.since_version > trip.record.since_version and record.admin is trip.record.admin
