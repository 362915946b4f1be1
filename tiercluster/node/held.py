"""Answers that wait until what they say has been confirmed by every node that keeps copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .effects import Answered, Origin


class Held:
    """An answer that waits for ``waits`` messages."""

    __slots__ = ("answered", "origin", "waits")

    def __init__(self, origin: Origin, answered: Answered) -> None:
        self.origin, self.answered = origin, answered
        self.waits = 0


class Release(NamedTuple):
    """An answer to be sent now; ``is_good`` False: whether it holds cannot be known any more."""

    origin: Origin
    answered: Answered
    is_good: bool


class HeldAnswers:
    """Which keys have changes on their way, and who waits for that."""

    def __init__(self) -> None:
        self._dirty: dict[bytes, int] = {}  # keys to the number of changes on their way
        self._held: dict[Held, None] = {}  # in order
        self._released: list[Release] = []

    def __len__(self) -> int:
        return len(self._held)

    @property
    def has_dirty(self) -> bool:
        return bool(self._dirty)

    def is_dirty(self, keys: Sequence[bytes]) -> bool:
        """Whether one of these has changes on their way."""
        dirty = self._dirty
        return any(key in dirty for key in keys)

    def queued(self, key: bytes) -> None:
        """One more change is on its way."""
        self._dirty[key] = self._dirty.get(key, 0) + 1

    def arrived(self, keys: Sequence[bytes]) -> None:
        """A change of each is on its way no more."""
        dirty = self._dirty
        for key in keys:
            left = dirty.get(key, 1) - 1
            if left:
                dirty[key] = left
            else:
                dirty.pop(key, None)

    def hold(self, origin: Origin, answered: Answered, waited: list[list[Held]]) -> None:
        """Keep the answer until each of these lists has been settled."""
        if not waited:
            self._released.append(Release(origin, answered, True))
            return
        held = Held(origin, answered)
        for others in waited:
            others.append(held)
            held.waits += 1
        self._held[held] = None

    def settle(self, settled: list[Held]) -> None:
        """What these waited for has come."""
        for held in settled:
            held.waits -= 1
            if not held.waits and held in self._held:
                del self._held[held]
                self._released.append(Release(held.origin, held.answered, True))

    def give_up(self, is_lost: Callable[[Held], bool]) -> None:
        """Nobody can know any more whether what these say holds."""
        for held in list(self._held):
            if is_lost(held):
                del self._held[held]
                self._released.append(Release(held.origin, held.answered, False))

    def fail_all(self) -> None:
        """Nobody knows what became of what was asked before."""
        self.give_up(lambda held: True)
        self._dirty.clear()

    def take_released(self) -> list[Release]:
        """The answers that wait no more."""
        if not self._released:
            return []
        released, self._released = self._released, []
        return released
