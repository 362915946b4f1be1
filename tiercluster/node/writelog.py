"""Which writes were handled lately, so that a retry is answered and not applied again."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from tiercluster.cluster.wire import Flags, Result, Status, Stored

LIMIT = 65_536  # of each kind
KEYS_LIMIT = 1_000_000  # in the answers of each kind; some 36 MB
LONG_S = 10.0  # a write whose deadline is later than this is kept apart


class Answered(NamedTuple):
    """``era`` of this process in which it was true here, of a write of one key in ``slot``."""

    status: Status
    fields: Result
    body: bytes
    slot: int = -1
    era: int = 0


class _Writes:
    """Writes in the order in which they came, with deadline and answer."""

    def __init__(self, limit: int, keys_limit: int) -> None:
        self.by_name: OrderedDict[tuple[bytes, int], tuple[float, Answered | None]] = OrderedDict()
        self._limit, self._keys_limit = limit, keys_limit
        self._keys = 0

    def put(self, name: tuple[bytes, int], deadline: float, answer: Answered | None) -> float:
        """The latest deadline of those that had to be forgotten for it; 0: none."""
        _, before = self.by_name.get(name, (0.0, None))
        self._keys += _keys_in(answer) - _keys_in(before)
        self.by_name[name] = (deadline, answer)
        forgotten = 0.0
        while len(self.by_name) > self._limit or self._keys > self._keys_limit:
            forgotten = max(forgotten, self._drop(next(iter(self.by_name))))
        return forgotten

    def expire(self, now: float, most: int) -> None:
        for _ in range(most):
            oldest = next(iter(self.by_name), None)
            if oldest is None or self.by_name[oldest][0] >= now:
                return
            self._drop(oldest)

    def _drop(self, name: tuple[bytes, int]) -> float:
        deadline, answer = self.by_name.pop(name)
        self._keys -= _keys_in(answer)
        return deadline


def _keys_in(answer: Answered | None) -> int:
    match answer.fields if answer is not None else None:
        case Stored(versions):
            return len(versions)
        case Flags(found):
            return len(found)
        case _:
            return 0


class WriteLog:
    """Answers by (client, request id), kept until the request's deadline: later the request
    itself is refused. Past LIMIT or KEYS_LIMIT the oldest is forgotten, and a retry that it might
    have been is answered "unknown" (`may_have_forgotten`).

    The few with a deadline far away are kept apart. Among the others they would hold up what has
    expired, and once one of them was forgotten, every retry up to its deadline would be unknown."""

    def __init__(self, limit: int = LIMIT, keys_limit: int = KEYS_LIMIT) -> None:
        self._soon = _Writes(limit, keys_limit)
        self._late = _Writes(limit, keys_limit)
        self._forgotten_until = 0.0

    def __len__(self) -> int:
        return len(self._soon.by_name) + len(self._late.by_name)

    def begin(self, client: bytes, rid: int, deadline: float, now: float) -> None:
        """A write is about to be handled; ``deadline`` in monotonic seconds."""
        writes = self._soon if deadline <= now + LONG_S else self._late
        self._put(writes, (client, rid), deadline, None)

    def finish(self, client: bytes, rid: int, answer: Answered) -> None:
        name = client, rid
        writes = self._soon if name in self._soon.by_name else self._late
        known = writes.by_name.get(name)
        if known is not None:
            self._put(writes, name, known[0], answer)

    def _put(
        self, writes: _Writes, name: tuple[bytes, int], deadline: float, answer: Answered | None
    ) -> None:
        forgotten = writes.put(name, deadline, answer)
        self._forgotten_until = max(self._forgotten_until, forgotten)

    def knows(self, client: bytes, rid: int) -> bool:
        """Whether this write was begun; its answer may still be on its way."""
        return (client, rid) in self._soon.by_name or (client, rid) in self._late.by_name

    def answer(self, client: bytes, rid: int) -> Answered | None:
        """None if it is not known, or not answered yet."""
        name = client, rid
        writes = self._soon if name in self._soon.by_name else self._late
        return writes.by_name.get(name, (0.0, None))[1]

    def may_have_forgotten(self, deadline: float) -> bool:
        return deadline <= self._forgotten_until

    def expire(self, now: float, most: int = 1000) -> None:
        """Forget what is past its deadline, oldest first, at most ``most`` of each kind."""
        self._soon.expire(now, most)
        self._late.expire(now, most)
