"""Judges what the clients of a run were told, when all is over.

Keys with one writer: a read that started after write k was acknowledged returns k or more, or
misses; after an acknowledged delete, more than its number. Keys that all write: one order of all
calls explains the answers (`tests.harness.lincheck`).

The documentation makes one exception (docs/operations.md, "Quorum lost"): what clients are told on
the side that has lost its quorum, with `on_quorum_loss = "serve"`. Their reads are not judged while
a `CutOff` lasts, and their writes are of unknown outcome. Nothing else is excused.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from tests.harness.promise import MAX_KEPT_BREACHES
from tiercluster.checks.lincheck import INF, Op, TooConcurrent, check

from .records import Call, ClientHistory


@dataclass(frozen=True, slots=True)
class CutOff:
    """These clients were on the smaller side from ``since`` to ``until``, when all was whole."""

    clients: frozenset[str]
    since: float
    until: float

    def covers(self, client: str, start: float, end: float) -> bool:
        return client in self.clients and end >= self.since and start <= self.until


class Cuts:
    def __init__(self, cuts: Sequence[CutOff]) -> None:
        self._cuts = cuts

    def covers(self, client: str, start: float, end: float) -> bool:
        """Whether a call of the client was open while it was cut off."""
        return any(cut.covers(client, start, end) for cut in self._cuts)


@dataclass(slots=True)
class Verdict:
    """``longest_s``: how long, at most, a client that was not cut off went without an answer about
    the keys of one node, or waited for it."""

    ops: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    stale: int = 0
    invented: int = 0
    clash: str = ""
    excused: int = 0
    longest_s: float = 0.0
    examples: list[str] = field(default_factory=list)

    @property
    def violations(self) -> int:
        return self.stale + self.invented + bool(self.clash)


def judge(
    histories: Sequence[ClientHistory], cuts: Sequence[CutOff] = (), *, is_excused: bool = False
) -> Verdict:
    """``is_excused``: what the clients were told while they were cut off is not judged."""
    verdict, excused = Verdict(), Cuts(cuts if is_excused else ())
    for history in histories:
        verdict.ops += len(history.calls) + len(history.ops)
        for error, count in history.errors.items():
            verdict.errors[error] = verdict.errors.get(error, 0) + count
        verdict.longest_s = max(verdict.longest_s, longest_window(history, cuts))
    _judge_own(histories, excused, verdict)
    _judge_shared(histories, excused, verdict)
    return verdict


# --- keys with one writer -----------------------------------------------------------------------


class Numbers:
    """What was written to one key: which numbers had begun, and which were acknowledged, when."""

    def __init__(self) -> None:
        self._begun_at: list[float] = []
        self._known_at: list[float] = []
        self._floors: list[int] = []

    def wrote(self, call: Call, is_known: bool) -> None:
        """Calls of one thread, in their order; number i + 1 is the i-th."""
        self._begun_at.append(call.start)
        if is_known and call.number is not None:
            self._known_at.append(call.end)
            self._floors.append(call.number + (call.f == "d"))

    def floor(self, at: float) -> int:
        """The least number that a read which starts at this time may return."""
        known = bisect_left(self._known_at, at)
        return self._floors[known - 1] if known else 0

    def begun(self, at: float) -> int:
        """The greatest number that may have been written by this time."""
        return bisect_right(self._begun_at, at)


def _judge_own(histories: Sequence[ClientHistory], excused: Cuts, verdict: Verdict) -> None:
    keys: dict[str, Numbers] = defaultdict(Numbers)
    for history in histories:
        for call in history.calls:
            if call.f != "r":
                is_excused = excused.covers(history.name, call.start, call.end)
                verdict.excused += is_excused
                keys[call.key].wrote(call, call.stored and not is_excused)
    for history in histories:
        for call in history.calls:
            if call.f == "r" and call.number is not None:
                _judge_read(history.name, call, keys[call.key], excused, verdict)


def _judge_read(client: str, call: Call, numbers: Numbers, excused: Cuts, verdict: Verdict) -> None:
    assert call.number is not None
    floor, begun = numbers.floor(call.start), numbers.begun(call.end)
    if call.number > begun:
        verdict.invented += 1
        _example(verdict, f"{client} read {call} when {begun} was the last to be written")
    elif excused.covers(client, call.start, call.end):
        verdict.excused += 1
    elif call.number < floor:
        verdict.stale += 1
        _example(verdict, f"{client} read {call}, at least {floor} was due")


def _example(verdict: Verdict, text: str) -> None:
    if len(verdict.examples) < MAX_KEPT_BREACHES:
        verdict.examples.append(text)


# --- keys that all write ------------------------------------------------------------------------


def _judge_shared(histories: Sequence[ClientHistory], excused: Cuts, verdict: Verdict) -> None:
    ops = list[Op]()
    for history in histories:
        for op in history.ops:
            if excused.covers(history.name, op.call, op.ret):
                verdict.excused += 1
                op = op._replace(out=None, ret=INF)
            ops.append(op)
    try:
        clash = check(ops)
    except TooConcurrent as error:
        clash = ("too many calls of unknown outcome to judge", [])
        verdict.examples.append(str(error))
    if clash is not None:
        verdict.clash = f"{clash[0]}: " + "; ".join(map(str, clash[1][:MAX_KEPT_BREACHES]))


# --- how long it took ---------------------------------------------------------------------------


def longest_window(history: ClientHistory, cuts: Sequence[CutOff] = ()) -> float:
    """The longest time without an answer about the keys that one node owned at the start: from the
    last answer before a failed call to the next one, or the length of one call. The time in which
    the client was cut off itself does not count."""
    cut_off = Cuts(cuts)
    groups: dict[str, list[Call]] = defaultdict(list)
    for call in history.calls:
        groups[history.owners.get(call.key, "")].append(call)
    return max(
        (
            _longest(calls, lambda c: cut_off.covers(history.name, c.start, c.end))
            for calls in groups.values()
        ),
        default=0.0,
    )


def _longest(calls: Iterable[Call], is_cut_off: Callable[[Call], bool]) -> float:
    longest, answered, has_failed, end = 0.0, None, False, 0.0
    for call in sorted(calls, key=lambda c: c.end):
        if is_cut_off(call):
            answered, has_failed = None, False
            continue
        longest, end = max(longest, call.end - call.start), call.end
        if call.error or (call.f == "w" and not call.stored):
            has_failed = True
            continue
        if has_failed and answered is not None:
            longest = max(longest, call.end - answered)
        answered, has_failed = call.end, False
    return max(longest, end - answered) if has_failed and answered is not None else longest
