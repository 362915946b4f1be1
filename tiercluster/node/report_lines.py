"""The log line that a shard's report becomes."""

from __future__ import annotations

from .actions import Log
from .messages import DrainDone, ServingChanged, TierRemedied, TierTripped


def log_line(report: TierTripped | TierRemedied | DrainDone | ServingChanged) -> Log:
    match report:
        case TierTripped():
            level, event = "warning", "tier_tripped"
            facts: dict[str, object] = {
                "tier": report.tier,
                "kind": report.kind,
                "generation": report.generation,
                "evidence": dict(report.evidence),
            }
        case TierRemedied():
            level, event = "info" if report.ok else "error", "recovery_attempted"
            facts = {
                "tier": report.tier,
                "strategy": report.strategy,
                "kind": report.kind,
                "ok": report.ok,
                "evidence": dict(report.evidence),
            }
        case DrainDone():
            level, event = "info", "drain_done"
            facts = {
                "tiers": ", ".join(report.tiers),
                "moved": report.moved,
                "left_behind": report.left_behind,
            }
        case ServingChanged():
            level, event = "info", "serving_changed"
            facts = {
                "serving": report.serving,
                "reason": report.reason,
                "map_version": report.map_version,
            }
    return Log(level, event, tuple(facts.items()))
