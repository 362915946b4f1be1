"""Gray failure: is a tier of this node much slower than the same tier of its peers? Pure.

    IN STEP --above its bar--> LAGGING --for sustain_s, without a break--> SLOW
       ^-----not above it, or not to be judged------+----------------------+

The bar is ``factor`` times the median of the peers, ``floor_s`` at least. Reads and writes are
judged apart, each against peers that do the same. Nothing is judged that has done too little, or
whose peers have: idle nodes, or all being slow together, are no news. A verdict needs one peer; two
are needed to act on it, since of two members nobody can say which one is the slow one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tiercluster.tiermap import TIERS, Evidence, NodeState, Tier, TierMap, evidence

from .messages import PeerPaced
from .pace import Pace
from .settings import SlownessSettings

FRESH_S = 3.0  # a figure is told once a second; an older one says nothing
PEERS_TO_ACT = 2
WORK = ("reads", "writes")


@dataclass(frozen=True, slots=True)
class Slow:
    """One kind of work of a tier of ours has been above its bar for long enough."""

    tier: Tier
    work: str  # reads or writes
    mine: Pace
    peers_s: float  # the median of their 95th percentiles
    peers: int
    bar_s: float

    @property
    def may_act(self) -> bool:
        return self.peers >= PEERS_TO_ACT

    @property
    def text(self) -> str:
        mine, theirs = self.mine.p95_s * 1000, self.peers_s * 1000
        return f"p95 of {self.work} {mine:.1f} ms against {theirs:.1f} ms of its peers"

    @property
    def evidence(self) -> Evidence:
        return evidence(
            work=self.work,
            p95_ms=round(self.mine.p95_s * 1000, 1),
            peers_p95_ms=round(self.peers_s * 1000, 1),
            bar_ms=round(self.bar_s * 1000, 1),
            peers=self.peers,
            operations=self.mine.operations,
        )


@dataclass(slots=True)
class _Told:
    incarnation: str
    paces: tuple[Pace, Pace]
    at: float


class Slowness:
    """``node`` is this node's id. Times are monotonic seconds."""

    def __init__(self, node: str, settings: SlownessSettings) -> None:
        self._node = node
        self._settings = settings
        self._told: dict[tuple[str, Tier], _Told] = {}
        self._above_since: dict[tuple[Tier, str], float] = {}

    def mine(self, paces: Sequence[tuple[Pace, Pace]], incarnation: str, now: float) -> None:
        """What our own tiers have done, in the order of TIERS."""
        for tier, pair in zip(TIERS, paces, strict=True):
            self._told[self._node, tier] = _Told(incarnation, pair, now)

    def peer(self, told: PeerPaced, now: float) -> None:
        """What a peer says of its tier."""
        self._told[told.node, told.tier] = _Told(told.incarnation, told.paces, now)

    def judge(self, tier_map: TierMap, now: float) -> list[Slow]:
        """The tiers of ours that are SLOW, the worst kind of work of each."""
        self._forget(tier_map)
        found: list[Slow] = []
        for tier in TIERS:
            works = (self._one(tier_map, tier, at, now) for at in range(len(WORK)))
            slow = [work for work in works if work is not None]
            found += sorted(slow, key=lambda s: s.mine.p95_s / s.bar_s)[-1:]
        return found

    def bar_s(self, tier_map: TierMap, tier: Tier, now: float) -> float:
        """What an operation of this tier may take: by the slower kind of work of its peers."""
        paces = (self._peers(tier_map, tier, at, now) for at in range(len(WORK)))
        return self._bar(max((median(theirs) for theirs in paces if theirs), default=0.0))

    def _one(self, tier_map: TierMap, tier: Tier, at: int, now: float) -> Slow | None:
        work, mine = WORK[at], self._pace(tier_map, self._node, tier, at, now)
        theirs = self._peers(tier_map, tier, at, now)
        bar_s = self._bar(median(theirs)) if theirs else float("inf")
        if mine is None or mine.p95_s <= bar_s:
            self._above_since.pop((tier, work), None)
            return None
        since = self._above_since.setdefault((tier, work), now)
        if now - since < self._settings.sustain_s:
            return None
        return Slow(tier, work, mine, median(theirs), len(theirs), bar_s)

    def _bar(self, peers_s: float) -> float:
        return max(self._settings.floor_s, self._settings.factor * peers_s)

    def _peers(self, tier_map: TierMap, tier: Tier, at: int, now: float) -> list[float]:
        others = (m.id for m in tier_map.members if m.id != self._node)
        paces = (self._pace(tier_map, node, tier, at, now) for node in others)
        return [pace.p95_s for pace in paces if pace is not None]

    def _pace(self, tier_map: TierMap, node: str, tier: Tier, at: int, now: float) -> Pace | None:
        """None if it is not to be judged: out of service, silent, of an earlier stint, idle."""
        told, member = self._told.get((node, tier)), tier_map.member(node)
        if told is None or member is None or member.state is not NodeState.UP:
            return None
        if told.incarnation != member.incarnation or now - told.at > FRESH_S:
            return None
        pace = told.paces[at]
        is_in_use = member.tier(tier).is_usable and pace.operations >= self._settings.samples
        return pace if is_in_use else None

    def _forget(self, tier_map: TierMap) -> None:
        known = {m.id for m in tier_map.members}
        if any(node not in known for node, _ in self._told):
            self._told = {key: told for key, told in self._told.items() if key[0] in known}
