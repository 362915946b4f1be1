"""Which writes were handled lately, so that a retry is answered and not applied again."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from tiercluster.cluster.wire import Result, Status

LIMIT = 65_536  # of each kind
LONG_S = 10.0  # a write whose deadline is later than this is kept apart


class Answered(NamedTuple):
    status: Status
    fields: Result
    body: bytes


_Writes = OrderedDict[tuple[bytes, int], tuple[float, Answered | None]]


class WriteLog:
    """Answers by (client, request id), kept until the request's deadline: later the request
    itself is refused. Past LIMIT the oldest is forgotten, and a retry that it might have been is
    answered "unknown" (`may_have_forgotten`).

    The few with a deadline far away are kept apart. Among the others they would hold up what has
    expired, and once one of them was forgotten, every retry up to its deadline would be unknown."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._soon: _Writes = OrderedDict()
        self._late: _Writes = OrderedDict()
        self._forgotten_until = 0.0

    def __len__(self) -> int:
        return len(self._soon) + len(self._late)

    def begin(self, client: bytes, rid: int, deadline: float, now: float) -> None:
        """A write is about to be handled; ``deadline`` in monotonic seconds."""
        writes = self._soon if deadline <= now + LONG_S else self._late
        writes[client, rid] = (deadline, None)
        if len(writes) > self._limit:
            _, (forgotten, _) = writes.popitem(last=False)
            self._forgotten_until = max(self._forgotten_until, forgotten)

    def finish(self, client: bytes, rid: int, answer: Answered) -> None:
        writes = self._soon if (client, rid) in self._soon else self._late
        known = writes.get((client, rid))
        if known is not None:
            writes[client, rid] = (known[0], answer)

    def knows(self, client: bytes, rid: int) -> bool:
        """Whether this write was begun; its answer may still be on its way."""
        return (client, rid) in self._soon or (client, rid) in self._late

    def answer(self, client: bytes, rid: int) -> Answered | None:
        writes = self._soon if (client, rid) in self._soon else self._late
        return writes[client, rid][1]

    def may_have_forgotten(self, deadline: float) -> bool:
        return deadline <= self._forgotten_until

    def expire(self, now: float, most: int = 1000) -> None:
        """Forget what is past its deadline, oldest first, at most ``most`` of each kind."""
        for writes in (self._soon, self._late):
            _expire(writes, now, most)


def _expire(writes: _Writes, now: float, most: int) -> None:
    for _ in range(most):
        if not writes:
            return
        key = next(iter(writes))
        if writes[key][0] >= now:
            return
        del writes[key]
