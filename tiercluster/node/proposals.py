"""What this node wants committed, proposed until its outcome is known. Pure.

    WANTED --proposed--> IN FLIGHT --its outcome is applied--> SETTLED --pause, still wanted--> WANTED
    IN FLIGHT --no longer wanted, or wanted otherwise--> dropped (its conditions make it harmless)

One command a subject is in flight. It is proposed again under the same id, so that a copy that was
late changes nothing. A report that a member is unreachable is never dropped: grants to that member
wait until it is certain what became of the report.
"""  # noqa: E501 (the picture)

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace

from tiercluster.tiermap import Command, MapState, Outcome, OutcomeCode, ReportUnreachable

AGAIN_S = 0.3  # until a command without an outcome is proposed again
PAUSE_S: dict[OutcomeCode, float] = {  # until the same wish is proposed under a new id
    OutcomeCode.DONE: 0.3,
    OutcomeCode.NOOP: 0.3,
    OutcomeCode.STALE: 0.3,
    OutcomeCode.UNKNOWN: 1.0,
    OutcomeCode.REFUSED: 5.0,
}


@dataclass(frozen=True, slots=True)
class Desire:
    """A wish about ``subject``; another ``key`` is another wish. ``command`` has no id and time
    yet."""

    subject: str
    key: Hashable
    command: Command


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a wish."""

    subject: str
    command: Command
    outcome: Outcome


@dataclass(slots=True)
class _InFlight:
    key: Hashable
    command: Command
    again_at: float
    is_new: bool


class Proposals:
    """``new_id`` gives a command id that is unique in the cluster for ever."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._in_flight: dict[str, _InFlight] = {}
        self._pauses: dict[str, tuple[Hashable, float]] = {}
        self._last_seen = ""

    @property
    def unsettled_reports(self) -> frozenset[str]:
        """Members about whom a report is under way."""
        commands = (p.command for p in self._in_flight.values())
        return frozenset(c.node for c in commands if isinstance(c, ReportUnreachable))

    def applied(self, state: MapState, now: float) -> list[Settled]:
        """The wishes whose outcome this state shows."""
        subjects = {p.command.id: subject for subject, p in self._in_flight.items()}
        settled = []
        for outcome in _newer(state.outcomes, self._last_seen):
            subject = subjects.pop(outcome.command_id, None)
            if subject is not None:
                done = self._in_flight.pop(subject)
                self._pauses[subject] = (done.key, now + PAUSE_S[outcome.code])
                settled.append(Settled(subject, done.command, outcome))
        if state.outcomes:
            self._last_seen = state.outcomes[-1].command_id
        return settled

    def want(
        self, desires: Iterable[Desire], now: float, wall: float
    ) -> list[tuple[Command, bool]]:
        """Everything wanted now; the commands to propose, each at most once in AGAIN_S, and whether
        each is new."""
        wanted = {desire.subject: desire for desire in desires}
        self._drop_unwanted(wanted)
        self._pauses = {s: p for s, p in self._pauses.items() if now < p[1]}
        for subject, desire in wanted.items():
            if subject not in self._in_flight and not self._is_paused(desire):
                command = replace(desire.command, id=self._new_id(), time=wall)
                self._in_flight[subject] = _InFlight(desire.key, command, now, True)
        return [self._proposed(p, now) for p in self._in_flight.values() if now >= p.again_at]

    def _drop_unwanted(self, wanted: dict[str, Desire]) -> None:
        for subject, flight in list(self._in_flight.items()):
            desire = wanted.get(subject)
            is_wanted = desire is not None and desire.key == flight.key
            if not is_wanted and not isinstance(flight.command, ReportUnreachable):
                del self._in_flight[subject]

    def _is_paused(self, desire: Desire) -> bool:
        pause = self._pauses.get(desire.subject)
        return pause is not None and pause[0] == desire.key

    def _proposed(self, flight: _InFlight, now: float) -> tuple[Command, bool]:
        is_new, flight.is_new, flight.again_at = flight.is_new, False, now + AGAIN_S
        return flight.command, is_new


def _newer(outcomes: tuple[Outcome, ...], last_seen: str) -> list[Outcome]:
    """Those after the last one seen; all of them if it is no longer there."""
    newer = []
    for outcome in reversed(outcomes):
        if outcome.command_id == last_seen:
            break
        newer.append(outcome)
    return newer[::-1]


def facts_of(command: Command) -> dict[str, object]:
    """What a log line says of a command: about whom, and the evidence."""
    facts: dict[str, object] = {}
    for name in ("ref", "node", "generation", "incarnation", "reason", "keep"):
        value = getattr(command, name, None)
        if value is not None:
            facts[name] = str(value)
    return facts | {"id": command.id, "evidence": dict(getattr(command, "evidence", ()))}
