"""Which writes were handled lately, so that a retry is answered and not applied again."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from tiercluster.cluster.wire import Result, Status

LIMIT = 65_536


class Answered(NamedTuple):
    status: Status
    fields: Result
    body: bytes


class WriteLog:
    """Answers by (client, request id), kept until the request's deadline: later the request
    itself is refused. Past LIMIT the oldest is forgotten, and a retry that it might have been is
    answered "unknown" (`may_have_forgotten`)."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._writes: OrderedDict[tuple[bytes, int], tuple[float, Answered | None]] = OrderedDict()
        self._forgotten_until = 0.0

    def __len__(self) -> int:
        return len(self._writes)

    def begin(self, client: bytes, rid: int, deadline: float) -> None:
        """A write is about to be handled; ``deadline`` in monotonic seconds."""
        self._writes[client, rid] = (deadline, None)
        if len(self._writes) > self._limit:
            _, (forgotten, _) = self._writes.popitem(last=False)
            self._forgotten_until = max(self._forgotten_until, forgotten)

    def finish(self, client: bytes, rid: int, answer: Answered) -> None:
        known = self._writes.get((client, rid))
        if known is not None:
            self._writes[client, rid] = (known[0], answer)

    def knows(self, client: bytes, rid: int) -> bool:
        """Whether this write was begun; its answer may still be on its way."""
        return (client, rid) in self._writes

    def answer(self, client: bytes, rid: int) -> Answered | None:
        return self._writes[client, rid][1]

    def may_have_forgotten(self, deadline: float) -> bool:
        return deadline <= self._forgotten_until

    def expire(self, now: float, most: int = 1000) -> None:
        """Forget what is past its deadline, oldest first, at most ``most``."""
        for _ in range(most):
            if not self._writes:
                return
            key = next(iter(self._writes))
            if self._writes[key][0] >= now:
                return
            del self._writes[key]
