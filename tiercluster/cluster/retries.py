"""How often a client asks again: a budget for retries, and one asker at a time where it must wait.

A retry is the same work once more, after silence, a lost connection or an answer that the node has
too much to do. Retries are at most RETRY_SHARE of all calls, beyond a small reserve, so a cluster
that fails is not hit with a multiple of its load. Not a retry are corrections of the route (a newer
map, a node that went down), and waiting for a node that is not ready yet: there one call a node
asks again each POLL_S, and the others wait for what it hears.

Pure; times are monotonic seconds. One session's, so of one thread.
"""

from __future__ import annotations

RETRY_SHARE = 0.1  # of all calls
RESERVE = 10.0  # retries at the start, so that a client that asks seldom may retry, too
RESERVE_PER_S = 0.5  # and so fast it is filled again, whatever is called
MAX_SAVED = 100.0  # retries that are saved up: of a thousand calls
POLL_S = 0.02


class Retries:
    """``denied`` counts retries for which there was no budget."""

    def __init__(self) -> None:
        self._saved = RESERVE
        self._calls = 0
        self._at = float("-inf")
        self._poll_at: dict[str, float] = {}
        self.denied = 0

    def spend(self, calls: int, now: float) -> bool:
        """Take one retry from the budget; ``calls`` are all that were made so far."""
        self._save(calls, now)
        if self._saved < 1.0:
            self.denied += 1
            return False
        self._saved -= 1.0
        return True

    def _save(self, calls: int, now: float) -> None:
        if self._saved < RESERVE:
            passed_s = max(0.0, now - self._at) if self._at > float("-inf") else 0.0
            self._saved = min(RESERVE, self._saved + RESERVE_PER_S * passed_s)
        self._saved = min(MAX_SAVED, self._saved + RETRY_SHARE * (calls - self._calls))
        self._calls, self._at = calls, now

    def may_poll(self, node: str, now: float) -> bool:
        """Whether a call may ask a node again that was not ready; then no other may for a while."""
        if now < self._poll_at.get(node, now):
            return False
        self._poll_at[node] = now + POLL_S
        return True

    def poll_at(self, node: str) -> float:
        """When the next may ask it."""
        return self._poll_at.get(node, 0.0)

    def is_ready(self, node: str) -> None:
        """A call that had to wait has been answered: all may go."""
        self._poll_at.pop(node, None)
