"""The promise on stale reads, judged by the history of keys that have one writer each.

The writer of a key writes 1, 2, 3, ...; a delete takes a number too. A read must not return

- a number below that of a write or delete that was acknowledged before the read began (stale),
- a number below one that another read had returned before it began (stale, too: time went back),
- a number that nobody had begun to write when it ended (invented).

A miss is always right: a cache may forget.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .lincheck import INF, Op

_CALL, _RETURN = 0, 1


@dataclass(frozen=True, slots=True)
class Breach:
    """A read that broke the promise. ``floor`` is the least it might return, ``ceiling`` the
    highest number that had been begun."""

    read: Op
    floor: int
    ceiling: int

    @property
    def is_stale(self) -> bool:
        return bool(self.read.out < self.floor)

    def __str__(self) -> str:
        what = f"{self.read.key}: a read returned {self.read.out}"
        if self.is_stale:
            return f"{what} though {self.floor} was acknowledged or read before it began"
        return f"{what}, which nobody had begun to write"


def breaches(history: Iterable[Op]) -> list[Breach]:
    """The reads that broke it, by key and time. ``arg`` is the number of a write or delete, ``out``
    that of a read, None a miss; ``ret=INF`` stands for an outcome that is not known."""
    keys: dict[str | int, list[Op]] = defaultdict(list)
    for op in history:
        keys[op.key].append(op)
    return [breach for ops in keys.values() for breach in _of_key(ops)]


def _of_key(ops: list[Op]) -> Iterator[Breach]:
    """One sweep over the calls and returns; of two at the same instant the call counts as first, so
    that they overlap."""
    steps = [(op.call, _CALL, i) for i, op in enumerate(ops)]
    steps += [(op.ret, _RETURN, i) for i, op in enumerate(ops) if op.ret != INF]
    known = begun = 0
    floors: dict[int, int] = {}
    for _, step, i in sorted(steps):
        op = ops[i]
        if op.f == "r" and step == _CALL:
            floors[i] = known
        elif op.f == "r" and op.out is not None:
            if not floors[i] <= op.out <= begun:
                yield Breach(op, floors[i], begun)
            known = max(known, min(op.out, begun))
        elif op.f != "r" and step == _CALL:
            begun = max(begun, op.arg)
        elif op.f != "r":
            known = max(known, op.arg)
