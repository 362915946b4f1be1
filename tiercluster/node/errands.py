"""Admin requests that the control worker decides, and who waits for each."""

from __future__ import annotations

from .effects import Origin

LONGEST_S = 10.0  # by then nobody waits for the answer
MOST = 256  # that wait at one time


class Errands:
    def __init__(self) -> None:
        self._waiting: dict[int, tuple[float, Origin]] = {}  # oldest first
        self._last = 0

    def begin(self, origin: Origin, now: float) -> int:
        """The token of one more; 0 if too many wait."""
        if len(self._waiting) >= MOST:
            return 0
        self._last += 1
        self._waiting[self._last] = now, origin
        return self._last

    def end(self, token: int) -> Origin | None:
        """Who waits for this answer; None if nobody does any more."""
        return self._waiting.pop(token, (0.0, None))[1]

    def expire(self, now: float) -> None:
        """A request or its answer may be lost, in an inbox that was full."""
        while self._waiting:
            token = next(iter(self._waiting))
            if now < self._waiting[token][0] + LONGEST_S:
                return
            del self._waiting[token]
