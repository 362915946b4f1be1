"""What the front does for clients with a near cache: their reads, their leases, news."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from xxhash import xxh3_64_intdigest

from tiercluster.cluster.wire import (
    MISS,
    NearGrant,
    NearLease,
    Request,
    Result,
    Values,
    Watched,
    WatchGet,
)

from .lease import Lease
from .watches import Watches, Watching

# The longest that a near copy may be served after its client asked this node. It is never longer
# than the node's own lease, so a copy is not served when another node may own its key.
NEAR_LEASE_S = 0.4
_STINT_BITS = 40


def first_stint(token: str) -> int:
    """Where a process begins to number its stints; ``token`` names the process."""
    return xxh3_64_intdigest(token.encode()) >> (64 - _STINT_BITS) << 20


class IsOpen(Protocol):
    """The gate: whether data requests are served."""

    open: bool


class Announcer:
    def __init__(self, watches: Watches, gate: IsOpen, lease: Lease) -> None:
        self._watches = watches
        self._gate = gate
        self._lease = lease

    def renew(self, request: Request, identity: bytes, now: float) -> NearGrant:
        """A client asks to be told for a while longer."""
        assert isinstance(request.fields, NearLease)
        watching = self._watches.renew(request.client, identity, request.fields.stint, now)
        valid_s = self._valid_s(now) if watching.stint else 0.0
        return NearGrant(watching.stint, watching.seq, int(valid_s * 1000))

    def _valid_s(self, now: float) -> float:
        """A node that serves without a lease (its quorum is lost) lets nobody keep copies."""
        if not self._gate.open:
            return 0.0
        return max(0.0, min(NEAR_LEASE_S, self._lease.held_until - now))

    def watch(self, asked: WatchGet, slots: Sequence[int]) -> Watching:
        """Before the keys are read."""
        return self._watches.watch(asked.watcher, asked.keys, slots)

    def found(self, asked: WatchGet, watching: Watching, fields: Result) -> None:
        """The answer goes out at once: what was not there need not be watched."""
        if watching.added and isinstance(fields, Values) and MISS in fields.sizes:
            missing = [k for k, size in zip(asked.keys, fields.sizes, strict=True) if size == MISS]
            self._watches.unwatch(asked.watcher, [k for k in missing if k in watching.added])


def watched(fields: Result, watching: Watching) -> Result:
    """A read's answer with what a near copy needs; an answer of another kind is as it was."""
    if not isinstance(fields, Values):
        return fields
    stint, seq = watching.stint, watching.seq
    return Watched(fields.sizes, fields.flags, fields.versions, fields.ttls, stint, seq)
