"""The settings of one node: frozen, checked when made, read once in `cli`, passed down."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tiercluster.tiermap import DEFAULT_REPLICAS, MAX_REPLICAS

MiB = 2**20


@dataclass(frozen=True, slots=True)
class TierSettings:
    """Limits and breaker of one tier. Failures are counted in a sliding window."""

    capacity_bytes: int
    trip_failures: int
    trip_rate: float = 0.5
    window_s: float = 10.0
    cooldown_s: float = 1.0
    deadline_s: float = 0.25  # of one operation; longer is a failure

    def __post_init__(self) -> None:
        if self.capacity_bytes < MiB:
            raise ValueError("a tier's size must be at least 1MiB")
        if self.trip_failures < 1 or not 0 < self.trip_rate <= 1:
            raise ValueError("trip_failures must be at least 1, trip_rate above 0 and at most 1")
        if self.window_s <= 0 or self.deadline_s <= 0:
            raise ValueError("window_s and deadline_s must be above 0")


@dataclass(frozen=True, slots=True)
class RecoverySettings:
    """How a healed tier comes back."""

    probe_interval_s: float = 0.5
    successes: int = 3
    stable_s: float = 1.0
    hold_down_s: float = 1.0  # doubles with each relapse
    hold_down_max_s: float = 300.0
    jitter: float = 0.1
    latch_relapses: int = 10  # in an hour: then only an operator restores
    latch_window_s: float = 3600.0
    attempt_timeout_s: float = 2.0  # for a proposal to be committed

    def __post_init__(self) -> None:
        if self.successes < 1:
            raise ValueError("successes must be at least 1: nothing comes back without a probe")
        if self.hold_down_s <= 0 or self.latch_window_s <= 0:
            raise ValueError("hold_down_s and latch_window_s must be above 0")


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """Heartbeats, lease and node failure; ARCHITECTURE.md says how they fit together."""

    heartbeat_s: float = 0.1
    lease_s: float = 0.4
    down_after_s: float = 0.5
    quorum_grace_s: float = 0.4
    stall_s: float = 0.3  # nothing done for so long: we were stopped, not they

    def __post_init__(self) -> None:
        if self.heartbeat_s <= 0 or self.stall_s <= 0:
            raise ValueError("heartbeat_s and stall_s must be above 0")
        if not self.heartbeat_s * 2 <= self.lease_s < self.down_after_s:
            raise ValueError("needs 2 * heartbeat_s <= lease_s < down_after_s")


@dataclass(frozen=True, slots=True)
class SlownessSettings:
    """When a tier that works is taken out because it is much slower than those of its peers."""

    factor: float = 5.0  # times the median of the peers' 95th percentiles
    floor_s: float = 0.03  # what is faster than this is never slow
    pace_window_s: float = 4.0  # that a percentile is of
    sustain_s: float = 8.0  # without a break
    samples: int = 10  # operations in the window, of ours and of each peer
    eject: bool = True  # False: only report it

    def __post_init__(self) -> None:
        if self.factor <= 1 or self.floor_s <= 0 or self.pace_window_s <= 0:
            raise ValueError("factor must be above 1, floor_s and pace_window_s above 0")
        if self.sustain_s <= self.pace_window_s:
            raise ValueError("sustain_s must be above pace_window_s, or one hiccup would be enough")
        if self.samples < 1:
            raise ValueError("samples must be at least 1: a tier that does nothing is not slow")


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Everything that one node needs to know."""

    id: str = "n1"
    listen: str = "127.0.0.1:7701"
    raft: str = "127.0.0.1:7801"
    http: str = ""  # host:port; empty: no HTTP
    data: Path = Path("tiercluster-data")
    cluster: str = "default"  # name; nodes of another cluster are refused
    peers: tuple[tuple[str, str], ...] = ()  # every other voter: (id, raft host:port)
    join: str = ""  # client address of any member: this node follows
    weight: float = 1.0
    allow_faults: bool = False
    insecure: bool = False  # off loopback without keys
    keys: Path | None = None  # directory made by `tiercluster keygen`
    on_quorum_loss: str = "serve"
    max_unavailable: float = 1 / 3
    replicas: int = DEFAULT_REPLICAS
    write_ack: str = "all"  # a write is answered when all replicas have it; or "owner": at once
    stop_grace_s: float = 5.0
    hot: TierSettings = field(default_factory=lambda: TierSettings(64 * MiB, 5))
    warm: TierSettings = field(default_factory=lambda: TierSettings(64 * MiB, 10))
    cold: TierSettings = field(default_factory=lambda: TierSettings(256 * MiB, 15))
    recovery: RecoverySettings = field(default_factory=RecoverySettings)
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    slowness: SlownessSettings = field(default_factory=SlownessSettings)

    def __post_init__(self) -> None:
        if not self.id or len(self.id.encode()) > 64 or not _is_name(self.id):
            raise ValueError(f"node id {self.id!r}: 1 to 64 letters, digits, '-', '_' or '.'")
        if self.on_quorum_loss not in ("serve", "read_only", "fence"):
            raise ValueError("on_quorum_loss must be serve, read_only or fence")
        if not 0 < self.max_unavailable <= 1:
            raise ValueError("max_unavailable must be above 0 and at most 1")
        if self.write_ack not in ("all", "owner"):
            raise ValueError("write_ack must be all or owner")
        if not 1 <= self.replicas <= MAX_REPLICAS:
            raise ValueError(f"replicas must be from 1 to {MAX_REPLICAS}")
        if self.join and self.peers:
            raise ValueError("give --peer (a voter) or --join (a follower), not both")
        if self.weight <= 0:
            raise ValueError("weight must be above 0")


def _is_name(text: str) -> bool:
    return all(c.isalnum() or c in "-_." for c in text)
