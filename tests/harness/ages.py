"""How old near copies are: the time from the acknowledgement of a write to a read that missed it.

ages.acknowledge(key, number, at);  age = ages.age(key, started, value)
"""

from __future__ import annotations

from bisect import bisect_right


class Ages:
    """Each key has one writer, whose numbers grow. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._numbers: dict[str, list[int]] = {}
        self._times: dict[str, list[float]] = {}

    def acknowledge(self, key: str, number: int, at: float) -> None:
        """``number`` was acknowledged ``at`` this time; one writer a key, in order."""
        # The time first: a reader in another thread may look in between.
        self._times.setdefault(key, []).append(at)
        self._numbers.setdefault(key, []).append(number)

    def age(self, key: str, started: float, number: int | None) -> float:
        """Seconds for which the value had been overwritten when a read that ``started`` then
        returned it; 0.0: it was the newest, or there was none."""
        numbers = self._numbers.get(key, [])
        if number is None:
            return 0.0
        following = bisect_right(numbers, number)
        if following >= len(numbers):
            return 0.0
        return max(0.0, started - self._times[key][following])
