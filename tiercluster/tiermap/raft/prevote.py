"""The gate before an election: a member asks whether it would be voted for before it raises a term.

A member that is cut off alone, or that only its leader cannot reach, therefore burns no terms and
deposes nobody (Ongaro's thesis, 9.6).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class PreVote:
    """One member's rounds of asking. Pure: times and answers in, decisions out."""

    voters: int  # all of them, this member included
    retry_s: float
    valid_s: float
    round: int = 0
    _asked_at: float = float("-inf")
    _granted: set[str] = field(default_factory=set)

    def has_won(self, now: float) -> bool:
        """Whether a majority would vote for this member as things stand; spends the answers."""
        won = 2 * (1 + len(self._granted)) > self.voters
        if won and (self.voters == 1 or now - self._asked_at <= self.valid_s):
            self._granted.clear()
            return True
        return False

    def begins_round(self, now: float) -> bool:
        """Whether it is time to ask again; a new round has then begun."""
        if now - self._asked_at < self.retry_s:
            return False
        self.round += 1
        self._asked_at = now
        self._granted.clear()
        return True

    def granted(self, peer: str, asked_round: int) -> None:
        """An answer; one to an earlier round does not count."""
        if asked_round == self.round:
            self._granted.add(peer)
