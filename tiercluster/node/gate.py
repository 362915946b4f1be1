"""May this data request be handled now? Deadline, lease, map version and ownership of its keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tiercluster.cluster.wire import Incr, Kind, Request, Status, Store

from .lease import Lease, LeaseState
from .ownership import Ownership, SlotState

WRITES = frozenset({Kind.STORE, Kind.DELETE, Kind.INCR, Kind.TOUCH, Kind.DELETE_PREFIX})
DATA = WRITES | {Kind.GET, Kind.PEEK, Kind.SCAN}
WHOLE_NODE = frozenset({Kind.SCAN, Kind.DELETE_PREFIX})


def is_repeatable(request: Request) -> bool:
    """Whether a second application of the write has the same effect."""
    fields = request.fields
    return not isinstance(fields, Incr) and not (isinstance(fields, Store) and fields.mode)


@dataclass(frozen=True, slots=True)
class Verdict:
    status: Status
    text: str


_SERVED = int(max(SlotState))

PASS = Verdict(Status.OK, "")
_LATE = Verdict(Status.DEADLINE, "the request came after its deadline")
_CLOSED = Verdict(Status.RETRY, "this node is not serving (starting, stopping, or voted out)")
_NO_LEASE = Verdict(Status.RETRY, "this node has no lease from its peers at the moment")
_BEHIND = Verdict(Status.RETRY, "this node has not applied that map yet")
_SETTLING = Verdict(Status.RETRY, "this node takes these keys over and waits for its peers")
_STALE = Verdict(Status.STALE_MAP, "these keys have another owner in the newer map")
_FENCED = Verdict(Status.RETRY, "quorum is lost and on_quorum_loss is fence")
_READ_ONLY = Verdict(Status.READ_ONLY, "quorum is lost and on_quorum_loss is read_only")


class Gate:
    """Asked once for each data request; a batch is let through whole or not at all."""

    def __init__(self, ownership: Ownership, lease: Lease, on_quorum_loss: str) -> None:
        self._ownership = ownership
        self._lease = lease
        self._on_quorum_loss = on_quorum_loss
        self.open = False  # the shell opens it when this incarnation may serve
        self.map_version = 0

    def check(self, request: Request, slots: Sequence[int], now: float) -> Verdict:
        """PASS, or the status to answer with; nothing has been applied then. ``slots``: those of
        the request's keys."""
        if request.deadline_ms and now * 1000 > request.deadline_ms:
            return _LATE
        if not self.open:
            return _CLOSED
        if now >= self._lease.held_until:
            refusal = self._without_lease(request, now)
            if refusal is not None:
                return refusal
        if request.map_version > self.map_version:
            return _BEHIND
        if request.kind in WHOLE_NODE:
            if request.map_version < self._ownership.ring_version:
                return _STALE  # whoever asks every member must know of all of them
            return PASS if self._ownership.is_settled else _SETTLING
        return self._check_slots(slots, request.map_version)

    def has_gained(self, slots: Sequence[int], version: int) -> bool:
        """Whether one of these slots became this node's after the map of that version."""
        gained = self._ownership.gained
        return any(gained[slot] > version for slot in slots)

    def _without_lease(self, request: Request, now: float) -> Verdict | None:
        if self._lease.state(now) is not LeaseState.MINORITY:
            return _NO_LEASE
        if self._on_quorum_loss == "fence":
            return _FENCED
        if self._on_quorum_loss == "read_only" and request.kind in WRITES:
            return _READ_ONLY
        return None

    def _check_slots(self, asked: Sequence[int], version: int) -> Verdict:
        slots, gained = self._ownership.slots, self._ownership.gained
        # A request sent before this stint began may be a write from before an outage.
        checks_gain = version < self._ownership.newest_gain
        if not checks_gain and min(map(slots.__getitem__, asked), default=_SERVED) == _SERVED:
            return PASS
        for slot in asked:
            state = slots[slot]
            if state == SlotState.SERVED:
                if checks_gain and version < gained[slot]:
                    return _STALE
            elif state == SlotState.SETTLING:
                return _SETTLING
            else:
                return _STALE
        return PASS
