"""How fast a tier's operations are: the slowest of twenty over the last seconds, cheap to count.

Durations fall into steps of a quarter of an octave (up to a quarter of their length), counted in
two half windows, so that the figure forgets what is older. Pure; times are monotonic seconds.
"""

from __future__ import annotations

from typing import NamedTuple

PERCENTILE = 0.95
_STEPS = 4  # an octave
_LONGEST_US = 2**26 - 1  # a minute; longer counts as that
_SLOTS = 26 * _STEPS + _STEPS


class Pace(NamedTuple):
    """Of 20 operations 19 took at most ``p95_s`` (a quarter more at worst); how many there were."""

    p95_s: float = 0.0
    operations: int = 0


IDLE = (Pace(), Pace())


class PaceMeter:
    """The operations of one kind on one tier. A figure looks back on half of ``window_s`` at
    least, on all of it at most."""

    def __init__(self, window_s: float) -> None:
        self._step_s = window_s / 2
        self.forget()

    def forget(self) -> None:
        """Begin anew: what was before says nothing about what comes."""
        self._last = [0] * _SLOTS
        self._here = [0] * _SLOTS
        self._edge = float("-inf")

    def record(self, took_s: float, now: float) -> None:
        """One more operation, which has ended at ``now``."""
        if now >= self._edge:
            self._turn(now)
        self._here[_slot(min(int(took_s * 1e6), _LONGEST_US))] += 1

    def pace(self, now: float) -> Pace:
        """Of the window; no operations if there was nothing in it."""
        self._turn(now)
        counts = [a + b for a, b in zip(self._last, self._here, strict=True)]
        total = sum(counts)
        wanted, seen = total * PERCENTILE, 0
        for slot, count in enumerate(counts):
            seen += count
            if count and seen >= wanted:
                return Pace(_upper_us(slot) / 1e6, total)
        return Pace()

    def _turn(self, now: float) -> None:
        if now < self._edge:
            return
        is_next = now < self._edge + self._step_s
        self._last = self._here if is_next else [0] * _SLOTS
        self._here = [0] * _SLOTS
        self._edge = now + self._step_s


def _slot(us: int) -> int:
    """The number's octave and its next two bits."""
    octave = us.bit_length()
    if octave < 3:
        return us
    return octave * _STEPS + (us >> (octave - 3) & 3)


def _upper_us(slot: int) -> int:
    """The first duration that is too long for a slot."""
    octave, step = divmod(slot, _STEPS)
    return slot + 1 if octave == 0 else (5 + step) << (octave - 3)
