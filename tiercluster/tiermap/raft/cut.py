"""A partition that a game day asks for: whose messages are dropped, and until when."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cut:
    """What comes from the members ``peers``, and what goes to them, is dropped until ``until``
    (monotonic seconds). It is over by itself."""

    peers: frozenset[str] = frozenset()
    until: float = 0.0

    def drops(self, peer: str, now: float) -> bool:
        return now < self.until and peer in self.peers


NO_CUT = Cut()
