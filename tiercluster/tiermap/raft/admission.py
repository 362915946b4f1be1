"""Who may vote: a member that may have forgotten its promises may not, until it has caught up.

A member without an admitted marker (first start, or a wiped disk: it cannot tell which) asks every
other voter; each answers in a hello that echoes the member's session, so nothing old counts.

    COLLECTING --every other voter has answered--> CATCHING_UP --commit >= target--> VOTER
         |                                                                             ^
         +--a majority has answered, all of them empty, for ``patience_s``-------------+

While COLLECTING it takes part in nothing. When all have answered it adopts T, the highest of their
terms, as a term in which it has voted: whomever it ever gave a vote knows that vote's term, so it
votes in no term twice. ``target`` is the highest of their last log indices: whatever was committed
with the help of what it forgot stands at or below it in some other log. It then takes entries and
acknowledges them, but neither votes nor stands until its own commit index, moved by leaders of
terms >= T only, has reached the target. From there on it holds every committed entry, and votes.
(A leader forgets what an earlier session of a peer acknowledged when a new session begins.)

A first start is the same rule: when all others answer with term 0 and an empty log, the target is
reached at once. So that a cluster can also be formed while a minority has not been started yet, a
majority of empty members is enough after ``patience_s``. This is the only guess in the rule: it
goes wrong if a member was wiped, those that remember are down, and the rest was never started.
Losing a majority of the disks at once loses the cluster in any case.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

EMPTY_INDEX = 1  # every log starts with the same no-op


class Phase(Enum):
    COLLECTING = "collecting"
    CATCHING_UP = "catching up"
    VOTER = "voter"


@dataclass(frozen=True, slots=True)
class Adopt:
    """Take ``term`` as one in which this member has voted; vote only from ``target`` on."""

    term: int
    target: int


@dataclass(frozen=True, slots=True)
class Admit:
    """Write the marker: from now on this member votes."""


Step = Adopt | Admit


@dataclass(frozen=True, slots=True)
class Answer:
    term: int
    last_index: int


class Admission:
    """One member's way to its vote. Pure: answers and times come in, steps go out."""

    def __init__(
        self, peers: frozenset[str], admitted: bool, now: float, patience_s: float
    ) -> None:
        self._peers = peers
        self._patience_s = patience_s
        self._since = now
        self._answers: dict[str, Answer] = {}
        self._target = EMPTY_INDEX
        self.phase = Phase.VOTER if admitted else Phase.COLLECTING

    @property
    def may_vote(self) -> bool:
        return self.phase is Phase.VOTER

    @property
    def may_follow(self) -> bool:
        """Whether entries may be taken and acknowledged."""
        return self.phase is not Phase.COLLECTING

    def heard(self, peer: str, term: int, last_index: int) -> None:
        """A peer has answered our present session. The first answer counts: it is the earliest that
        cannot have used what we acknowledged before."""
        if self.phase is Phase.COLLECTING and peer in self._peers:
            self._answers.setdefault(peer, Answer(term, last_index))

    def forget_answers(self) -> None:
        """Our session has changed; ask again."""
        if self.phase is Phase.COLLECTING:
            self._answers.clear()

    def decide(self, commit_index: int, now: float) -> Step | None:
        """What is to be done now, None if we have to wait. The caller must carry it out."""
        if self.phase is Phase.CATCHING_UP:
            return self._admit() if commit_index >= self._target else None
        if self.phase is Phase.VOTER:
            return None
        if len(self._answers) == len(self._peers):
            return self._adopt()
        if self._majority_is_empty() and now - self._since >= self._patience_s:
            return self._admit()
        return None

    def _adopt(self) -> Adopt:
        self.phase = Phase.CATCHING_UP
        answers = self._answers.values()
        self._target = max((a.last_index for a in answers), default=EMPTY_INDEX)
        return Adopt(max((a.term for a in answers), default=0), self._target)

    def _admit(self) -> Admit:
        self.phase = Phase.VOTER
        return Admit()

    def _majority_is_empty(self) -> bool:
        answers = self._answers.values()
        return 2 * (1 + len(answers)) > len(self._peers) + 1 and all(
            answer == Answer(0, EMPTY_INDEX) for answer in answers
        )
