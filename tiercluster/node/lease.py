"""Whether this node may answer at all: the lease that its peers grant it, ping by ping.

    HELD --no grants for lease_s--> WAITING --silence for quorum_grace_s--> MINORITY
      ^-------------grants--------------+  ^-------------an answer-------------+

A pure core, the first of the three rules in ARCHITECTURE.md. Times are monotonic seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum

from .settings import DetectorSettings

RELINK_S = 1.0  # for new connections; takes 0.05 to 0.3 s on a quiet machine


class LeaseState(StrEnum):
    HELD = "held"
    WAITING = "waiting"  # answer RETRY
    MINORITY = "minority"  # quorum lost: as on_quorum_loss says


def grants_needed(others: int) -> int:
    """How many of the ``others`` must have granted. A member is voted out by more than half of
    the others, so with at most two others one grant excludes that; beyond, a majority is asked,
    which leaves room for a map that is behind by a vote."""
    return min(others, 1) if others <= 2 else others // 2 + 1


def voters_needed(others: int, is_voter: bool) -> int:
    """How many of the ``others`` that vote make a majority of all voters, together with this node
    if it votes. Nothing is committed without one. So a node whose map is old, and that does not
    know who has joined since and may vote it out, still holds no lease without somebody who would
    have to take part in that."""
    return (others + 1) // 2 if is_voter else others // 2 + 1


class Lease:
    """The lease of one node; fed with what peers answer, asked before every batch of requests."""

    def __init__(self, settings: DetectorSettings, is_voter: bool = True) -> None:
        self._settings = settings
        self._is_voter = is_voter
        self._others: frozenset[str] = frozenset()
        self._voters: frozenset[str] = frozenset()
        self._version = 0
        self._granted: dict[str, float] = {}  # send time of the newest granted ping
        self._early: dict[str, tuple[int, float]] = {}  # grants under maps we have not applied
        self._answered: dict[str, float] = {}
        self._newest_seen = 0
        self._waiting_since = -math.inf
        self._pinged_at = math.inf  # nobody was ever asked
        self.held_until = math.inf

    def use_map(
        self, version: int, others: Iterable[str], now: float, voters: Iterable[str] = ()
    ) -> None:
        """``others``: the other members that are UP in the map now applied; ``voters``: all other
        voters, UP or not, joined or not."""
        self._voters = frozenset(voters)
        # A member that just came UP counts only once it has granted: this node may apply the map
        # late, after a pause in which the newcomer has already helped to vote it out.
        others = frozenset(others)
        if others != self._others or self._version == 0:
            self._waiting_since = max(now, self._waiting_since)
        self._version = version
        self._others = others
        for node, (needed, sent_at) in list(self._early.items()):
            if needed <= version:
                del self._early[node]
                self._grant(node, sent_at)
        self._recompute()

    def pong(
        self, node: str, sent_at: float, grant: bool, version: int, now: float, trusted: bool
    ) -> None:
        """An answer to the ping sent at ``sent_at``. ``trusted`` False: this node has itself
        reported the peer, so its grant does not count."""
        self._answered[node] = now
        self._newest_seen = max(self._newest_seen, version)
        if not grant or not trusted:
            return
        if version > self._version:
            self._early[node] = (version, sent_at)
            return
        self._grant(node, sent_at)
        self._recompute()

    def _grant(self, node: str, sent_at: float) -> None:
        self._granted[node] = max(sent_at, self._granted.get(node, -math.inf))

    def _recompute(self) -> None:
        self.held_until = self._settings.lease_s + self._enough_since(self._granted)

    def _enough_since(self, times: dict[str, float]) -> float:
        """Since when enough of the other members, and of the voters among them, have this time or a
        later one."""
        voters = self._others & self._voters
        needed = voters_needed(len(self._voters), self._is_voter)
        return min(_newest(times, self._others, grants_needed(len(self._others))),
                   _newest(times, voters, needed))  # fmt: skip

    def pinged(self, now: float) -> None:
        """All others are asked. If that comes late, none of them was listened to meanwhile."""
        if now - self._pinged_at > self._settings.stall_s:
            self._waiting_since = max(now, self._waiting_since)
        self._pinged_at = now

    def stalled(self, now: float) -> None:
        """This process was stopped for a while: the silence of the others says nothing yet, nor
        before the connections that they have given up meanwhile are made anew."""
        self._waiting_since = now + RELINK_S

    def state(self, now: float) -> LeaseState:
        """HELD, WAITING or MINORITY at ``now``."""
        if now < self.held_until:
            return LeaseState.HELD
        waiting_since = max(self.held_until, self._waiting_since)
        is_late = now - self._pinged_at > self._settings.stall_s
        if is_late or now < waiting_since + self._settings.quorum_grace_s:
            return LeaseState.WAITING
        if self._newest_seen > self._version:
            return LeaseState.WAITING  # somebody knows better: catch up first
        since = now - self._settings.lease_s - self._settings.quorum_grace_s
        is_answered = self._enough_since(self._answered) > since
        return LeaseState.WAITING if is_answered else LeaseState.MINORITY


def _newest(times: dict[str, float], nodes: frozenset[str], count: int) -> float:
    """The ``count``-th newest time of these nodes; without end if none is needed."""
    if count == 0:
        return math.inf
    if len(nodes) < count:
        return -math.inf
    return sorted((times.get(n, -math.inf) for n in nodes), reverse=True)[count - 1]
