"""What a game day found: figures, verdict, and both as text and as a document. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tiercluster.checks import INF, Breach, Op, TooConcurrent, breaches, check
from tiercluster.tiermap import Event

from .gameday_keys import CONTENDED
from .gameday_plan import Plan, Step
from .gameday_traffic import Diary, Trouble

MAX_TOLD = 3  # problems of one sort that are spelled out


@dataclass(frozen=True, slots=True)
class Moments:
    """Monotonic seconds. ``ended``: when the fault was over, that of a kill at once; ``recovered``
    None: not in time."""

    injected: float
    ended: float
    recovered: float | None


@dataclass(frozen=True)
class Round:
    """One scenario as it went. ``committed``: when the failover was first known to anybody, and to
    each client that learned of it. ``earlier``: calls of before, on keys that are still used.
    ``ended_early``: what ended a client before its time."""

    step: Step
    timeout_s: float
    duration_s: float
    moments: Moments
    decisions: tuple[Event, ...]
    diaries: tuple[Diary, ...]
    committed: tuple[float, tuple[float, ...]] | None
    earlier: tuple[Op, ...] = ()
    ended_early: tuple[str, ...] = ()

    # --- what the clients saw -------------------------------------------------------------------

    @cached_property
    def ops(self) -> list[Op]:
        return [op for diary in self.diaries for op in diary.ops]

    @cached_property
    def troubles(self) -> list[Trouble]:
        return sorted((t for d in self.diaries for t in d.troubles), key=lambda t: t.at)

    @cached_property
    def breaches(self) -> list[Breach]:
        """Of keys with one writer."""
        history = [*self.earlier, *(op for op in self.ops if not _is_contended(op))]
        return breaches(history)

    @cached_property
    def clash(self) -> str:
        """Why no order of the calls explains what was answered for a key with several writers;
        empty if one does."""
        history = [op for op in self.ops if _is_contended(op)]
        try:
            found = check(history)
        except TooConcurrent as error:
            return f"the calls of keys with several writers cannot be judged: {error}"
        if found is None:
            return ""
        key, ops = found
        calls = "; ".join(_told(op) for op in ops[:MAX_TOLD])
        return f"{key}: no order of its calls explains what they answered ({calls} ...)"

    @property
    def errors(self) -> Counter[str]:
        return Counter(
            f"{'read' if trouble.is_read else 'write'}: {trouble.kind}" for trouble in self.troubles
        )

    @property
    def refused_s(self) -> tuple[str, float]:
        """The key whose writes failed for the longest time without a break, and for how long."""
        return longest_refusal(op for op in self.ops if op.f != "r")

    # --- figures --------------------------------------------------------------------------------

    @property
    def seconds(self) -> dict[str, float | None]:
        """From the beginning of the fault on, but for the recovery: from its end on."""
        moments, injected = self.moments, self.moments.injected
        first_error = next((t.at for t in self.troubles if t.at >= injected), None)
        commit, routed = self.committed or (None, ())
        last = max(routed) if len(routed) == len(self.diaries) and routed else None
        return {
            "to_first_error": _between(injected, first_error),
            "to_failover": _between(injected, commit),
            "to_last_client": _between(injected, last),
            "fault": _between(injected, moments.ended),
            "to_recovery": _between(moments.ended, moments.recovered),
            "slowest_call": round(max((op.ret - op.call for op in self.ops if op.ret != INF),
                                      default=0.0), 3),
        }  # fmt: skip

    @cached_property
    def problems(self) -> list[str]:
        """What the cluster promised and did not keep, or what could not be seen to be kept."""
        found = [f"a client ended early: {text}" for text in self.ended_early]
        if not any(op.ret != INF for op in self.ops):
            found.append("nothing was answered at all")
        found += [str(breach) for breach in self.breaches[:MAX_TOLD]]
        if self.breaches[MAX_TOLD:]:
            found.append(f"{len(self.breaches) - MAX_TOLD} more reads like these")
        found += [self.clash] if self.clash else []
        return [*found, *self._missing()]

    def _missing(self) -> list[str]:
        spots = ", ".join(map(str, self.step.spots))
        found = []
        if self.step.scenario.must_fail_over and self.committed is None:
            found.append(f"{spots} did not fail over within {self.duration_s:g} s")
        elif self.committed is not None and self.seconds["to_last_client"] is None:
            found.append("not every client learned of the failover")
        if self.moments.recovered is None:
            found.append(self._not_back(spots))
        return found

    def _not_back(self, spots: str) -> str:
        if not self.step.scenario.ends:
            return (
                f"{spots} did not come back within {self.timeout_s:g} s: nothing has restarted the "
                "process that was killed; start it"
            )
        return f"not everything was UP again within {self.timeout_s:g} s: see `tiercluster status`"

    @property
    def is_good(self) -> bool:
        return not self.problems

    @property
    def word(self) -> str:
        return "held" if self.is_good else "NOT GOOD"

    def document(self) -> dict[str, Any]:
        reads = [op for op in self.ops if op.f == "r"]
        key, refused_s = self.refused_s
        return {
            "scenario": self.step.scenario.name,
            "targets": list(map(str, self.step.spots)),
            "ok": self.is_good,
            "problems": self.problems,
            "operations": len(self.ops),
            "reads": len(reads),
            "hits": sum(op.out is not None for op in reads),
            "writes": len(self.ops) - len(reads),
            "clients": len(self.diaries),
            "errors": dict(self.errors),
            "refused_writes": {"key": key or None, "longest_s": round(refused_s, 3)},
            "seconds": self.seconds,
            "failed_over": self.committed is not None,
            "decisions": [_decision(event) for event in self.decisions],
            "stale_reads": len(self.breaches),
            "linearizable": not self.clash,
        }


def longest_refusal(writes: Iterable[Op]) -> tuple[str, float]:
    """From the first write of a key that failed to the end of the next that did not; of a key that
    was never written again, to the beginning of its last attempt."""
    since: dict[str, float] = {}
    worst = ("", 0.0)
    for op in sorted(writes, key=lambda op: op.call):
        key = str(op.key)
        if op.ret == INF:
            since.setdefault(key, op.call)
        if key in since:
            until = op.call if op.ret == INF else op.ret
            worst = max(worst, (key, until - since[key]), key=lambda found: found[1])
        if op.ret != INF:
            since.pop(key, None)
    return worst


def _is_contended(op: Op) -> bool:
    """Whether its key has several writers."""
    return str(op.key).startswith(CONTENDED)


def _told(op: Op) -> str:
    out = "unknown" if op.ret == INF else op.out
    return f"client {op.client} {op.f} {op.arg if op.f != 'r' else ''} -> {out}"


def _between(start: float, end: float | None) -> float | None:
    return None if end is None else round(max(0.0, end - start), 3)


def _decision(event: Event) -> dict[str, Any]:
    return {
        "version": event.version,
        "ref": event.ref,
        "from": event.from_state,
        "to": event.to_state,
        "reason": event.reason,
        "evidence": dict(event.evidence),
    }


@dataclass(frozen=True, slots=True)
class Report:
    """The whole day. ``rounds`` are fewer than the plan's steps if it ended early."""

    plan: Plan
    rounds: Sequence[Round] = field(default_factory=tuple)

    @property
    def not_played(self) -> list[str]:
        return [step.scenario.name for step in self.plan.steps[len(self.rounds) :]]

    @property
    def is_good(self) -> bool:
        return not self.not_played and all(played.is_good for played in self.rounds)

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "ok": self.is_good,
            "plan": self.plan.document(),
            "scenarios": [played.document() for played in self.rounds],
            "not_played": self.not_played,
        }

    def rows(self) -> list[tuple[object, ...]]:
        """One a scenario, for COLUMNS."""
        return [_row(played) for played in self.rounds]

    def lines(self) -> list[str]:
        """What stands below the table."""
        found = [line for played in self.rounds for line in _lines(played)]
        if self.not_played:
            found.append(f"not played: {', '.join(self.not_played)}")
        if self.is_good:
            found.append("All promises held: no read was stale, every answer is explained, "
                         "everything came back.")  # fmt: skip
        return found


COLUMNS = (
    "scenario", "target", "#calls", "#errors", "#first error", "#failover", "#last client",
    "#writes refused", "#recovery", "#stale", "verdict",
)  # fmt: skip


def _row(played: Round) -> tuple[object, ...]:
    seconds = played.seconds
    return (
        played.step.scenario.name,
        ", ".join(map(str, played.step.spots)),
        len(played.ops),
        len(played.troubles),
        _time(seconds["to_first_error"]),
        _time(seconds["to_failover"]),
        _time(seconds["to_last_client"]),
        _time(played.refused_s[1]),
        _time(seconds["to_recovery"]),
        len(played.breaches),
        played.word,
    )


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f} s"


def _lines(played: Round) -> list[str]:
    name = played.step.scenario.name
    found = [f"{name}: NOT GOOD: {problem}" for problem in played.problems]
    for event in played.decisions:
        facts = ", ".join(f"{k} {v}" for k, v in event.evidence)
        found.append(f"{name}: {event.ref} {event.from_state} -> {event.to_state}: {event.reason}"
                     + (f" ({facts})" if facts else ""))  # fmt: skip
    if played.errors:
        counts = ", ".join(f"{count} {what}" for what, count in played.errors.most_common())
        found.append(f"{name}: clients saw {counts}")
    return found
