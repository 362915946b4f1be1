"""What the workers of one node tell each other. Everything is frozen.

    shard -> cold     ColdCommand          cold -> shard     ColdAnswer
    shard -> control  ShardReport          control -> shard  ShardOrder

An inbox is `node/inbox.py`: bounded, many writers, one reader, with a descriptor to poll.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiercluster.cluster.wire import Request, Result, Status
from tiercluster.tiermap.raft import Cut
from tiercluster.tiermap.types import TIERS, Evidence, MapState, Tier

from .failures import Failure, FailureKind
from .keyring import NodeKeys
from .pace import IDLE, Pace

# --- shard -> cold ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ColdPut:
    """Write one entry. ``expires_wall`` in seconds of the wall clock, None: never (the only clock
    that outlives the process). Answered by ColdDone with the same token."""

    token: int
    key: bytes
    version: int
    generation: int
    flags: int
    expires_wall: float | None
    value: bytes


@dataclass(frozen=True, slots=True)
class ColdGet:
    """Answered by ColdFound (only if the stored version is ``version``) or ColdAbsent."""

    token: int
    key: bytes
    version: int


@dataclass(frozen=True, slots=True)
class ColdDelete:
    """Forget these (key, version); rows of another version stay. Not answered."""

    rows: tuple[tuple[bytes, int], ...]


@dataclass(frozen=True, slots=True)
class ColdProbe:
    """Write, read back, verify, delete a probe entry through the real path; ColdDone or failure."""

    token: int


@dataclass(frozen=True, slots=True)
class ColdOpen:
    """Open the store, empty it if ``wipe``; answered by ColdOpened."""

    token: int
    wipe: bool


@dataclass(frozen=True, slots=True)
class ColdClose:
    """Flush and close, so that the disk may be unmounted. With ``marker`` (incarnation, generation)
    the store is marked clean: a restart may trust it."""

    token: int
    marker: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class ColdFault:
    """Inject a fault into the store's own I/O path: eio, enospc, slow, corrupt, hang; "" clears.
    ``ms`` for slow and hang, ``rate`` the share of operations hit, 0 to 1, ``for_ms`` how long it
    lasts (0: until it is cleared)."""

    kind: str
    ms: float
    rate: float
    for_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class ColdStop:
    """End the worker."""


ColdCommand = (
    ColdPut | ColdGet | ColdDelete | ColdProbe | ColdOpen | ColdClose | ColdFault | ColdStop
)

# --- cold -> shard ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ColdRow:
    """One entry that the store holds, as a restart finds it."""

    key: bytes
    version: int
    flags: int
    expires_wall: float | None
    size: int


@dataclass(frozen=True, slots=True)
class ColdDone:
    token: int
    took_s: float


@dataclass(frozen=True, slots=True)
class ColdFound:
    token: int
    value: bytes
    flags: int
    took_s: float


@dataclass(frozen=True, slots=True)
class ColdAbsent:
    """The row is not there, or of another version: a miss, not a failure."""

    token: int
    took_s: float


@dataclass(frozen=True, slots=True)
class ColdOpened:
    """``marker`` as the last clean close left it (then removed), else None with no rows."""

    token: int
    marker: tuple[str, int] | None
    rows: tuple[ColdRow, ...]


UNASKED = -1


@dataclass(frozen=True, slots=True)
class ColdFailed:
    """With the token UNASKED: the store's directory is gone, seen while no command asked."""

    token: int
    failure: Failure
    took_s: float


@dataclass(frozen=True, slots=True)
class ColdDied:
    """The worker's last word."""

    reason: str


ColdAnswer = ColdDone | ColdFound | ColdAbsent | ColdOpened | ColdFailed | ColdDied

# --- shard -> control ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TierTripped:
    """The breaker opened; the shard has stopped using the tier before it says so."""

    tier: Tier
    generation: int
    kind: FailureKind
    evidence: Evidence
    first_error_at: float  # monotonic seconds


@dataclass(frozen=True, slots=True)
class TierRemedied:
    """What came of a strategy (`recovery`) that keeps the tier in use, or of an emergency; ``ok``
    only if it is done and was seen to have helped."""

    tier: Tier
    strategy: str
    kind: str  # of failure; "map": no failure of ours
    ok: bool
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Probed:
    tier: Tier
    failure: Failure | None  # None: it succeeded
    took_s: float


@dataclass(frozen=True, slots=True)
class ProbeDenied:
    """Not now: the tier's breaker is open for another ``wait_s``."""

    tier: Tier
    wait_s: float


@dataclass(frozen=True, slots=True)
class PeerHeard:
    """A ping of a member arrived, at ``at`` (monotonic seconds)."""

    node: str
    incarnation: str
    at: float
    map_version: int
    digest: str
    leaving: bool


@dataclass(frozen=True, slots=True)
class LevelHeard:
    """Every member of the map of this digest speaks at least ``level``."""

    map_digest: str
    level: int


@dataclass(frozen=True, slots=True)
class PeerPaced:
    """How fast a peer's tier has read and written, as the peer has measured it."""

    node: str
    incarnation: str
    tier: Tier
    paces: tuple[Pace, Pace]


@dataclass(frozen=True, slots=True)
class ShardTurn:
    """The shard's loop comes round, ``at`` (monotonic seconds): told with every heartbeat and after
    each Withhold. ``withheld``: who gets no grant from now on. By the map of ``version``:
    ``whole``, all entries are here that are to be kept; ``unreachable``: who has confirmed nothing
    of our writes for long."""

    at: float
    withheld: frozenset[str]
    version: int = 0
    whole: bool = False
    unreachable: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AdminAsked:
    """A PROPOSE or PROBE request of a client, to be answered through AdminAnswer."""

    token: int
    request: Request


@dataclass(frozen=True, slots=True)
class DrainDone:
    """These tiers are no longer read or written; the cold store is closed."""

    tiers: tuple[Tier, ...]
    moved: int
    left_behind: int


@dataclass(frozen=True, slots=True)
class ColdReady:
    """The cold store opened at start; ``keepable``: it holds a clean stop's data of ``generation``
    written by ``incarnation``."""

    keepable: bool
    incarnation: str
    generation: int
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class ServingChanged:
    """Whether the shard answers for its slots now, and why not."""

    serving: bool
    reason: str
    map_version: int


@dataclass(frozen=True, slots=True)
class TierStats:
    entries: int
    bytes: int
    capacity_bytes: int  # in force now
    hits: int
    misses: int
    note: str = ""  # read-only, shrunk


@dataclass(frozen=True, slots=True)
class ShardStats:
    """Counters since the start, told about once a second."""

    tiers: tuple[TierStats, ...]  # in the order of TIERS
    counters: tuple[tuple[str, int], ...]
    breakers: tuple[str, ...]  # closed, open, half_open in the order of TIERS
    paces: tuple[tuple[Pace, Pace], ...] = (IDLE,) * len(TIERS)  # reads, writes


@dataclass(frozen=True, slots=True)
class ShardStopped:
    """The shard's last word."""

    reason: str


ShardReport = (
    TierTripped
    | TierRemedied
    | Probed
    | ProbeDenied
    | PeerHeard
    | LevelHeard
    | PeerPaced
    | ShardTurn
    | AdminAsked
    | DrainDone
    | ColdReady
    | ServingChanged
    | ShardStats
    | ShardStopped
)

# --- shell of the shard -> shell of the control worker ------------------------------------------


@dataclass(frozen=True, slots=True)
class CutOff:
    """A game day's partition, for the consensus."""

    cut: Cut


# --- control -> shard ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UseMap:
    """The newest applied state; the shard routes by its map from now on."""

    state: MapState


@dataclass(frozen=True, slots=True)
class Withhold:
    """Members whose pings get no grant: those this node has reported (until its withdrawal is
    applied); all while it is not caught up (``ready`` False)."""

    nodes: frozenset[str]
    ready: bool


@dataclass(frozen=True, slots=True)
class RunProbe:
    """Probe the tier through its real path; answered by Probed (perhaps that of a probe which is
    under way) or ProbeDenied."""

    tier: Tier


@dataclass(frozen=True, slots=True)
class AdminAnswer:
    token: int
    status: Status
    fields: Result


@dataclass(frozen=True, slots=True)
class StandingKnown:
    """What `status` shows of the consensus as this node sees it. ``digest_mismatches``: how often
    what another member made of the same commands was something else."""

    leader: str | None
    quorum: bool
    voting: bool
    note: str
    digest_mismatches: int = 0


@dataclass(frozen=True, slots=True)
class StopServing:
    """Answer no more data requests; tell peers goodbye; move what fits to cold within ``grace_s``;
    close the cold store with a clean marker; end with ShardStopped."""

    grace_s: float


@dataclass(frozen=True, slots=True)
class UseKeys:
    """The keys were read anew; for shard and control."""

    keys: NodeKeys


@dataclass(frozen=True, slots=True)
class WatchConnections:
    """Whole messages by these connections (descriptors) are to be told to the watch, and when each
    of ``connections`` has had its turn since this look. ``hung_up``: how many were ended so far."""

    descriptors: frozenset[int]
    hung_up: int
    connections: int
    look: int


@dataclass(frozen=True, slots=True)
class Checked:
    """Shard to watch: every connection has had its turn since this look."""

    look: int


ShardOrder = (
    UseKeys
    | WatchConnections
    | UseMap
    | Withhold
    | RunProbe
    | AdminAnswer
    | StandingKnown
    | StopServing
)
