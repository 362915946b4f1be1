"""The commands that change the tier map: absolute, conditional, idempotent.

Each carries a unique ``id``, its proposer ``by`` and the proposer's wall clock ``time`` (evidence,
never input). Applied again, or too late for its condition, a command changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from .types import (
    DEFAULT_MAX_UNAVAILABLE,
    DEFAULT_REPLICAS,
    FIRST_LEVEL,
    Evidence,
    Tier,
    TierRef,
)

SLOW = "slow: "  # how the reason of a TierFailed begins that no failure is behind


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What every command carries."""

    id: str
    by: str
    time: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeJoined(Envelope):
    """A node (re)starts or comes back after it was voted out. Conditional: the map's incarnation
    of the node is ``expected`` ("" when unknown). Bumps the generation of hot and warm, and of
    cold unless ``keep_cold`` and the node was never DOWN since that incarnation, or nobody served
    while it was (a cluster of one that stopped cleanly keeps its cold tier)."""

    node: str
    cluster: str  # becomes the cluster's id if it has none yet; otherwise must match
    address: str
    raft: str = ""
    weight: float = 1.0
    expected: str = ""
    incarnation: str
    keep_cold: bool = False
    max_unavailable: float = DEFAULT_MAX_UNAVAILABLE  # becomes the cluster's if it is the first
    level: int = FIRST_LEVEL  # the newest that its software speaks
    replicas: int = DEFAULT_REPLICAS  # becomes the cluster's if it has none and ``level`` >= 2


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStopped(Envelope):
    """A clean stop, proposed by the node itself once it no longer serves."""

    node: str
    incarnation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportUnreachable(Envelope):
    """``by`` has not heard from ``node`` for the detector's timeout. A majority of the other
    members that are UP makes it DOWN. ``by_incarnation`` is the reporter's own: a report that was
    still under way when the reporter came back with a new one does not count. "" skips the check.
    """

    node: str
    incarnation: str
    by_incarnation: str = ""
    evidence: Evidence = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportReachable(Envelope):
    """``by`` withdraws its report."""

    node: str
    incarnation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveNode(Envelope):
    """An operator takes a node out for good (LEFT). Refused while it is UP unless ``force``."""

    node: str
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TierFailed(Envelope):
    """The tier's own node has stopped using it. Conditional on ``generation``; guarded. One whose
    reason begins with SLOW works, but much slower than those of its peers: its node goes on using
    it unless and until this is applied, and nothing is marked when the guard refuses."""

    ref: TierRef
    generation: int
    reason: str
    evidence: Evidence = ()

    @property
    def is_slow(self) -> bool:
        return self.reason.startswith(SLOW)


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRecovering(Envelope):
    """The first probe after the hold-down succeeded."""

    ref: TierRef
    generation: int
    evidence: Evidence = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRecovered(Envelope):
    """Enough probes over a stable time. The generation goes up in the same step, unless the node
    can prove that it forgot nothing (``keep``)."""

    ref: TierRef
    generation: int
    keep: bool = False
    evidence: Evidence = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain(Envelope):
    """An operator takes tiers of one node out of service. Guarded unless ``force``."""

    node: str
    tiers: tuple[Tier, ...]
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained(Envelope):
    """The node has moved what it could and has stopped reading from these tiers."""

    node: str
    tiers: tuple[Tier, ...]
    incarnation: str
    evidence: Evidence = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore(Envelope):
    """An operator puts tiers back: a drain is cleared (the generation goes up: the medium may be
    another one), a latched or DOWN tier is probed anew. Health becomes RECOVERING."""

    node: str
    tiers: tuple[Tier, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRaised(Envelope):
    """Every member was heard to speak ``level``, in the map of this digest. Conditional on that map
    being the current one, and on everybody in it being UP."""

    level: int
    map_digest: str
    replicas: int = DEFAULT_REPLICAS  # becomes the cluster's if it has none


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFilled(Envelope):
    """The node has all entries of the keys that it will own, or has waited long enough for them.
    Conditional on its stint, and on no owner having called it apart since version ``known``."""

    node: str
    incarnation: str
    known: int
    evidence: Evidence = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiesApart(Envelope):
    """``by`` cannot get its writes confirmed by ``node``, which from now on keeps no copies of its
    keys. Conditional on both stints."""

    node: str
    incarnation: str
    by_incarnation: str
    evidence: Evidence = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiesTogether(Envelope):
    """``by`` reaches ``node`` again."""

    node: str
    incarnation: str
    by_incarnation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Barrier(Envelope):
    """Changes nothing; that it was applied proves that this member is up to date."""


Command = (
    NodeJoined
    | NodeStopped
    | ReportUnreachable
    | ReportReachable
    | RemoveNode
    | TierFailed
    | TierRecovering
    | TierRecovered
    | Drain
    | Drained
    | Restore
    | LevelRaised
    | NodeFilled
    | CopiesApart
    | CopiesTogether
    | Barrier
)
