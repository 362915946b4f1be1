"""Requests of operators and followers: a command to commit, a tier to probe. Pure.

A command is proposed as it came, again and again under its own id, until its outcome is applied
here. Without a quorum the answer is NO_QUORUM, at once if it has been missing for a while.

A probe that may not go yet is ordered again when the breaker is half-open, if anybody can wait.
"""

from __future__ import annotations

from dataclasses import dataclass

import cbor2

from tiercluster.cluster.wire import Decided, Probe, Propose, Refusal, Report, Result, Status
from tiercluster.tiermap import TIERS, MapState, OutcomeCode, Tier, decode_command, outcome_of

from .messages import AdminAnswer, AdminAsked, Probed, ProbeDenied

DECIDE_S = 1.3  # for a command to be decided; people are told within 2 s
PROBE_S = 1.3
AGAIN_S = 0.3
QUORUM_PATIENCE_S = 0.6  # a new leader may be found within it
REQUESTS_LIMIT = 1000


@dataclass(slots=True)
class _Waiting:
    token: int
    command_id: str
    frame: bytes
    until: float
    again_at: float


class AdminRequests:
    """Every request is answered exactly once."""

    def __init__(self) -> None:
        self._commands: dict[int, _Waiting] = {}
        self._probes: dict[Tier, list[tuple[int, float]]] = {tier: [] for tier in TIERS}
        self._probe_at: dict[Tier, float] = {}  # when to order it again

    def asked(self, asked: AdminAsked, state: MapState, now: float) -> AdminAnswer | Tier | None:
        """The answer if there is one already, or the tier to probe."""
        if self._count() >= REQUESTS_LIMIT:
            return _refused(asked.token, Status.SHED, "too many requests wait for a decision")
        match asked.request.fields:
            case Propose(command=frame):
                return self._propose(asked.token, frame, state, now)
            case Probe(tier=name) if name in set(TIERS):
                tier = Tier(name)
                self._probes[tier].append((asked.token, now + PROBE_S))
                return tier
            case Probe(tier=name):
                return _refused(asked.token, Status.UNKNOWN_REF, f"no tier {name!r} here")
            case _:
                return _refused(
                    asked.token, Status.BAD_REQUEST, "no request for the control worker"
                )

    def _count(self) -> int:
        return len(self._commands) + sum(map(len, self._probes.values()))

    def _propose(self, token: int, frame: bytes, state: MapState, now: float) -> AdminAnswer | None:
        try:
            command = decode_command(frame)
        except ValueError as error:
            return _refused(token, Status.BAD_REQUEST, f"no command: {error}")
        waiting = _Waiting(token, command.id, frame, now + DECIDE_S, now)
        answer = _decided(waiting, state)
        if answer is None:
            self._commands[token] = waiting
        return answer

    def applied(self, state: MapState) -> list[AdminAnswer]:
        """The answers to what this state has decided."""
        answers = [_decided(waiting, state) for waiting in self._commands.values()]
        return self._answered([a for a in answers if a is not None])

    def probed(self, report: Probed) -> list[AdminAnswer]:
        """Every request for a probe of this tier is answered by it."""
        waiting, self._probes[report.tier] = self._probes[report.tier], []
        self._probe_at.pop(report.tier, None)
        return [AdminAnswer(token, Status.OK, _probe_report(report)) for token, _ in waiting]

    def denied(self, report: ProbeDenied, now: float) -> list[AdminAnswer]:
        """The answers to those who cannot wait until the tier's breaker is half-open."""
        tier, at = report.tier, now + report.wait_s
        text = f"its breaker is open: the next probe may go in {report.wait_s:.1f} s"
        answers = self._unprobed(tier, at, _report(tier, False, "not_now", text, 0.0))
        if self._probes[tier]:
            self._probe_at[tier] = at
        return answers

    def probes_due(self, now: float) -> list[Tier]:
        """The tiers to probe now, of those that were not to be probed before."""
        due = [tier for tier, at in self._probe_at.items() if now >= at]
        for tier in due:
            del self._probe_at[tier]
        return due

    def tick(self, quorum_lost_s: float, now: float) -> tuple[list[bytes], list[AdminAnswer]]:
        """Frames to propose now, and the answers to what has waited long enough.
        ``quorum_lost_s``: for how long there has been no quorum, 0 if there is one."""
        answers = self._late_probes(now)
        if quorum_lost_s > QUORUM_PATIENCE_S:
            text = f"no quorum for {quorum_lost_s:.1f} s: too few voters reach each other"
            late = [_refused(token, Status.NO_QUORUM, text) for token in self._commands]
        else:
            text = f"no quorum: not decided within {DECIDE_S} s; it may still be"
            overdue = [w.token for w in self._commands.values() if now >= w.until]
            late = [_refused(token, Status.NO_QUORUM, text) for token in overdue]
        answers += self._answered(late)
        return [self._again(w, now) for w in self._commands.values() if now >= w.again_at], answers

    def _again(self, waiting: _Waiting, now: float) -> bytes:
        waiting.again_at = now + AGAIN_S
        return waiting.frame

    def _answered(self, answers: list[AdminAnswer]) -> list[AdminAnswer]:
        for answer in answers:
            del self._commands[answer.token]
        return answers

    def _late_probes(self, now: float) -> list[AdminAnswer]:
        late: list[AdminAnswer] = []
        for tier in TIERS:
            report = _report(tier, False, "timeout", "the probe was not answered", PROBE_S)
            late += self._unprobed(tier, now, report)
        return late

    def _unprobed(self, tier: Tier, by: float, report: Result) -> list[AdminAnswer]:
        """This answer for all who wait for a probe of the tier no longer than ``by``."""
        waiting = self._probes[tier]
        self._probes[tier] = [(token, until) for token, until in waiting if by < until]
        return [AdminAnswer(token, Status.OK, report) for token, until in waiting if by >= until]


def _decided(waiting: _Waiting, state: MapState) -> AdminAnswer | None:
    outcome = outcome_of(state, waiting.command_id)
    if outcome is None:
        return None
    match outcome.code:
        case OutcomeCode.DONE | OutcomeCode.NOOP | OutcomeCode.STALE:
            decided = Decided(str(outcome.code), outcome.reason, outcome.version)
            return AdminAnswer(waiting.token, Status.OK, decided)
        case OutcomeCode.REFUSED:
            return _refused(waiting.token, Status.REFUSED, outcome.reason)
        case OutcomeCode.UNKNOWN:
            return _refused(waiting.token, Status.UNKNOWN_REF, outcome.reason)


def _refused(token: int, status: Status, text: str) -> AdminAnswer:
    return AdminAnswer(token, status, Refusal(text))


def _probe_report(probed: Probed) -> Result:
    failure = probed.failure
    kind, detail = (str(failure.kind), failure.detail) if failure is not None else ("", "")
    return _report(probed.tier, failure is None, kind, detail, probed.took_s)


def _report(tier: Tier, ok: bool, failure: str, detail: str, took_s: float) -> Result:
    plain = {"tier": str(tier), "ok": ok, "failure": failure, "detail": detail,
             "took_ms": round(took_s * 1000, 3)}  # fmt: skip
    return Report(cbor2.dumps(plain))
