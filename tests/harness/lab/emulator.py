"""When a packet arrives over a bad link, or whether: what the kernel's netem does, seeded."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

REORDER_BY_S = 0.01


@dataclass(frozen=True, slots=True)
class Link:
    """One direction. Shares are 0 to 1, times seconds. A packet that is reordered comes
    REORDER_BY_S later than the ones around it; a duplicate has a delay of its own."""

    loss: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0

    def __post_init__(self) -> None:
        shares = (self.loss, self.reorder, self.duplicate)
        if not all(0 <= share <= 1 for share in shares):
            raise ValueError(f"shares are 0 to 1, not {shares}")
        if not 0 <= self.jitter_s <= self.delay_s:
            raise ValueError("jitter is at most the delay")


class Emulator:
    """Links by (source, target); what has none arrives at once."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._links: dict[tuple[int, int], Link] = {}

    def set(self, link: Link, pairs: Iterable[tuple[int, int]]) -> None:
        self._links.update(dict.fromkeys(pairs, link))

    def clear(self) -> None:
        self._links.clear()

    def arrivals(self, source: int, target: int, now: float) -> list[float]:
        """When each copy of a packet sent now arrives; empty if it is lost."""
        link = self._links.get((source, target))
        if link is None:
            return [now]
        if self._happens(link.loss):
            return []
        copies = 2 if self._happens(link.duplicate) else 1
        return [now + self._delay(link) for _ in range(copies)]

    def _delay(self, link: Link) -> float:
        late = REORDER_BY_S if self._happens(link.reorder) else 0.0
        return late + link.delay_s + self._rng.uniform(-link.jitter_s, link.jitter_s)

    def _happens(self, share: float) -> bool:
        return share > 0 and self._rng.random() < share
