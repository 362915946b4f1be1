"""Which other members are silent: whom to report, whom to grant nothing. Pure, one per node.

    HEARD --silent for down_after_s - LEAD_S--> WITHHELD --silent for down_after_s--> REPORTED
    HEARD --it says that it leaves--> REPORTED
    WITHHELD --heard--> HEARD
    REPORTED --heard, our report's outcome known, our withdrawal applied--> HEARD

A lease is safe because of the order: first no more grants, then the report. Grants come back only
when no report of ours stands in the applied map and none is under way that could still be applied.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiercluster.tiermap import Member, NodeState, TierMap

from .settings import DetectorSettings

LEAD_S = 0.05  # how long grants are withheld before the report


@dataclass(frozen=True, slots=True)
class Silent:
    """ReportUnreachable should be proposed. ``silent_s`` is measured; 0 when it said goodbye."""

    node: str
    incarnation: str
    silent_s: float


@dataclass(frozen=True, slots=True)
class Back:
    """ReportReachable should be proposed."""

    node: str
    incarnation: str


@dataclass(frozen=True, slots=True)
class Watch:
    """The result of a tick: the reports and withdrawals that the map lacks, and who gets no grant.
    ``stalled_s`` is above 0 when this node was stopped and all timers began anew."""

    findings: tuple[Silent | Back, ...]
    withheld: frozenset[str]
    stalled_s: float


@dataclass(slots=True)
class _Peer:
    incarnation: str
    heard_at: float
    is_leaving: bool = False


class Detector:
    """``node`` is this node's id. Times are monotonic seconds."""

    def __init__(self, settings: DetectorSettings, node: str) -> None:
        self._settings = settings
        self._node = node
        self._peers: dict[str, _Peer] = {}
        self._ticked_at: float | None = None
        self._my_stint = ""
        self._shard_turned_at: float | None = None
        self._obeyed: frozenset[str] = frozenset()

    def heard(self, node: str, incarnation: str, at: float, leaving: bool) -> None:
        """A ping of ``node`` arrived at ``at``; ignored if no map shows this incarnation."""
        peer = self._peers.get(node)
        if peer is None or peer.incarnation != incarnation:
            return
        peer.heard_at = max(peer.heard_at, at)
        peer.is_leaving |= leaving

    def shard_turned(self, at: float, withheld: frozenset[str]) -> float:
        """The shard's loop came round and withholds grants from ``withheld``. Pings are heard
        through it, so if it was stopped (for so long as returned, else 0) all timers begin anew."""
        before, self._shard_turned_at = self._shard_turned_at, at
        self._obeyed = withheld
        if before is None or at - before <= self._settings.stall_s:
            return 0.0
        for peer in self._peers.values():
            peer.heard_at = max(peer.heard_at, at)
        return at - before

    def tick(self, now: float, tier_map: TierMap, unsettled: frozenset[str]) -> Watch:
        """``unsettled``: members about whom a report of ours is proposed and its outcome is not
        known yet."""
        others = [m for m in tier_map.members if m.state is NodeState.UP and m.id != self._node]
        self._follow(others, self._stint(tier_map), now)
        stalled_s = self._notice_stall(now)
        withheld = frozenset(m.id for m in others if self._is_withheld(m, now, unsettled))
        findings = [self._finding(m, now) for m in others if m.id not in unsettled]
        return Watch(tuple(f for f in findings if f is not None), withheld, stalled_s)

    def _stint(self, tier_map: TierMap) -> str:
        """Our incarnation while we are UP: nobody pings us before."""
        me = tier_map.member(self._node)
        return me.incarnation if me is not None and me.state is NodeState.UP else ""

    def _follow(self, others: list[Member], stint: str, now: float) -> None:
        """A member that is newly UP, or UP anew, begins with a fresh timer; all do if we are."""
        if stint != self._my_stint:
            self._my_stint, self._peers = stint, {}
        peers = {}
        for member in others:
            peer = self._peers.get(member.id)
            is_new = peer is None or peer.incarnation != member.incarnation
            peers[member.id] = _Peer(member.incarnation, now) if is_new or not peer else peer
        self._peers = peers

    def _notice_stall(self, now: float) -> float:
        """A tick that comes late means that we were stopped: their silence says nothing yet."""
        late_s = now - self._ticked_at if self._ticked_at is not None else 0.0
        self._ticked_at = now
        if late_s <= self._settings.stall_s:
            return 0.0
        for peer in self._peers.values():
            peer.heard_at = now
        return late_s

    def _may_be_reported(self, member: Member) -> bool:
        """Not before the shard has said that it grants nothing any more."""
        return self._peers[member.id].is_leaving or member.id in self._obeyed

    def _silent_s(self, member: Member, now: float) -> float:
        return now - self._peers[member.id].heard_at

    def _is_overdue(self, member: Member, now: float) -> bool:
        is_silent = self._silent_s(member, now) > self._settings.down_after_s
        return is_silent or self._peers[member.id].is_leaving

    def _is_withheld(self, member: Member, now: float, unsettled: frozenset[str]) -> bool:
        return (
            self._is_overdue(member, now)
            or self._silent_s(member, now) > self._settings.down_after_s - LEAD_S
            or member.id in unsettled
            or self._node in member.unreachable_by
        )

    def _finding(self, member: Member, now: float) -> Silent | Back | None:
        is_overdue, is_reported = self._is_overdue(member, now), self._node in member.unreachable_by
        if is_overdue and not is_reported and self._may_be_reported(member):
            silent_s = 0.0 if self._peers[member.id].is_leaving else self._silent_s(member, now)
            return Silent(member.id, member.incarnation, silent_s)
        if is_reported and not is_overdue:
            return Back(member.id, member.incarnation)
        return None
