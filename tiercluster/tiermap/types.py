"""The values of the tier map: what the cluster agrees on about members and their tiers.

Everything here is frozen and plain: it crosses threads, sockets and snapshots as it is.

Health of a tier (proposed by its own node, from evidence):

    UP --TierFailed--> DOWN --TierRecovering--> RECOVERING --TierRecovered--> UP
                         ^------TierFailed----------+

Admin of a tier (an operator's wish; a probe never changes it):

    IN --Drain--> DRAINING --Drained--> OUT --Restore--> IN (with health RECOVERING)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

Evidence = tuple[tuple[str, str | int | float], ...]
DEFAULT_MAX_UNAVAILABLE = 1 / 3
DEFAULT_REPLICAS = 2
LEAST_FOR_COPIES = 3  # members
FIRST_LEVEL = 1  # of a node that says nothing of levels
LEVEL = 2  # the newest that this software speaks; docs/decisions/0008-versions-on-the-wire.md


class Tier(StrEnum):
    """The three tiers of a node, from the fastest to the largest."""

    HOT = "hot"
    WARM = "warm"
    COLD = "cold"


TIERS: tuple[Tier, ...] = (Tier.HOT, Tier.WARM, Tier.COLD)


class Health(StrEnum):
    UP = "UP"
    DOWN = "DOWN"
    RECOVERING = "RECOVERING"


class Admin(StrEnum):
    IN = "IN"
    DRAINING = "DRAINING"
    OUT = "OUT"


class NodeState(StrEnum):
    UP = "UP"
    DOWN = "DOWN"
    LEFT = "LEFT"


class TierState(StrEnum):
    """What people are shown: health and admin in one word."""

    UP = "UP"
    DRAINING = "DRAINING"
    DRAINED = "DRAINED"
    DOWN = "DOWN"
    RECOVERING = "RECOVERING"


@dataclass(frozen=True, slots=True, order=True)
class TierRef:
    """One tier of one node, written ``n2/cold``."""

    node: str
    tier: Tier

    def __str__(self) -> str:
        return f"{self.node}/{self.tier}"

    @classmethod
    def parse(cls, text: str) -> TierRef:
        """``n2/cold`` to a ref; ValueError says what is wrong with anything else."""
        node, slash, tier = text.partition("/")
        if not node or not slash or tier not in {t.value for t in TIERS}:
            raise ValueError(f"{text!r} is no tier: write NODE/hot, NODE/warm or NODE/cold")
        return cls(node, Tier(tier))


@dataclass(frozen=True, slots=True)
class TierRecord:
    """One tier as the cluster sees it; ``generation`` hides what it held before an outage."""

    tier: Tier
    health: Health = Health.UP
    admin: Admin = Admin.IN
    generation: int = 1
    suspect: bool = False  # its DOWN was refused by the guard
    reason: str = ""
    by: str = ""  # proposer of the last change
    since_version: int = 0
    evidence: Evidence = ()

    @property
    def is_usable(self) -> bool:
        """Whether new work may be placed here (its node being UP)."""
        return self.health is Health.UP and self.admin is Admin.IN

    @property
    def is_readable(self) -> bool:
        """Whether what it holds may be read (its node being UP)."""
        return self.health is Health.UP and self.admin is not Admin.OUT

    @property
    def state(self) -> TierState:
        match self.admin, self.health:
            case Admin.OUT, _:
                return TierState.DRAINED
            case _, Health.DOWN:
                return TierState.DOWN
            case _, Health.RECOVERING:
                return TierState.RECOVERING
            case Admin.DRAINING, _:
                return TierState.DRAINING
            case _:
                return TierState.UP


@dataclass(frozen=True, slots=True)
class Member:
    """One node: where it is, whether it takes part, and its three tiers in the order of TIERS."""

    id: str
    address: str  # host:port that clients and members connect to
    raft: str = ""  # host:port of its consensus port; empty for a follower
    weight: float = 1.0
    state: NodeState = NodeState.UP
    incarnation: str = ""  # unique for each start and each rejoin
    unreachable_by: tuple[str, ...] = ()  # members that report it so, sorted
    reason: str = ""
    since_version: int = 0
    tiers: tuple[TierRecord, ...] = tuple(TierRecord(t) for t in TIERS)
    level: int = FIRST_LEVEL  # the newest that its software is known to speak
    filling: bool = False  # it takes copies of what it will own, and owns nothing yet
    apart: tuple[str, ...] = ()  # owners whose writes do not reach it, sorted
    apart_version: int = 0  # the last version in which one was added

    def tier(self, tier: Tier) -> TierRecord:
        return self.tiers[TIERS.index(tier)]

    @property
    def process(self) -> str:
        """The process that joined: its incarnations are ``process#1``, ``process#2``, ..."""
        return self.incarnation.partition("#")[0]

    @property
    def has_tier(self) -> bool:
        """Whether it can hold entries: UP with at least one readable tier."""
        return self.state is NodeState.UP and any(t.is_readable for t in self.tiers)

    @property
    def serves(self) -> bool:
        """Whether it may own keys: it can hold entries, and has those of its keys."""
        return not self.filling and self.has_tier

    @property
    def fills(self) -> bool:
        """Whether it takes copies of what it will own."""
        return self.filling and self.has_tier


@dataclass(frozen=True, slots=True)
class TierMap:
    """The whole agreement at one version. ``cluster`` is the name that people gave, ``founded`` the
    incarnation of the first node that ever joined, which is unlike that of any other cluster: nodes
    that were wiped and set up anew under the same name are another one. ``ring_version`` is the
    last version that changed who may own keys (the serving members, their weights or incarnations).
    ``max_unavailable`` is the guard's, from the first node that joined: in here it cannot differ
    between members. ``replicas`` likewise: how many nodes hold each entry, from the first node that
    could say so; 0 until then."""

    cluster: str = ""
    version: int = 0
    ring_version: int = 0
    members: tuple[Member, ...] = ()  # sorted by id
    digest: str = ""  # chain over all effective commands, hex
    max_unavailable: float = DEFAULT_MAX_UNAVAILABLE  # share of the tiers of a class, 0 to 1
    founded: str = ""
    replicas: int = 0
    copies_since: int = 0  # the last version that changed `copies`

    @property
    def level(self) -> int:
        """The newest that every member speaks. It never falls: whoever speaks less is refused."""
        levels = [m.level for m in self.members if m.state is not NodeState.LEFT]
        return min(levels) if levels else max((m.level for m in self.members), default=FIRST_LEVEL)

    @property
    def copies(self) -> int:
        """How many nodes hold each entry, its owner counted: one in a cluster of less than three,
        where a second one could not be told from the only one that is left."""
        takes_part = sum(m.state is not NodeState.LEFT for m in self.members)
        return self.replicas if self.replicas and takes_part >= LEAST_FOR_COPIES else 1

    @property
    def identity(self) -> tuple[str, str]:
        """Which cluster this is; its versions say nothing about those of another."""
        return self.cluster, self.founded

    def member(self, node: str) -> Member | None:
        return next((m for m in self.members if m.id == node), None)

    def record(self, ref: TierRef) -> TierRecord | None:
        member = self.member(ref.node)
        return member.tier(ref.tier) if member else None

    def refs(self) -> Iterator[tuple[TierRef, TierRecord]]:
        for member in self.members:
            for record in member.tiers:
                yield TierRef(member.id, record.tier), record


@dataclass(frozen=True, slots=True)
class Event:
    """One committed change, as `tiercluster events` prints it. ``ref`` is a tier or a node."""

    version: int
    time: float  # the proposer's wall clock, seconds; evidence only
    ref: str
    from_state: str
    to_state: str
    by: str
    reason: str
    evidence: Evidence = ()


class OutcomeCode(StrEnum):
    DONE = "done"  # applied, the map changed
    NOOP = "noop"  # already so
    STALE = "stale"  # its condition no longer holds; nothing changed
    REFUSED = "refused"  # by the guard
    UNKNOWN = "unknown"  # no such node or tier


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one command, read from the applied state."""

    command_id: str
    code: OutcomeCode
    reason: str
    version: int


@dataclass(frozen=True, slots=True)
class MapState:
    """What the state machine holds and what a snapshot carries: the map, the last events and the
    outcomes of the last commands (both bounded, oldest first)."""

    map: TierMap = TierMap()
    events: tuple[Event, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
