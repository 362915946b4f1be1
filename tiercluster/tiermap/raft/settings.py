"""What a replica is told: who it is, who the voters are, where its files live, its pace.

Times in seconds. The tuning values were measured together: commits of a few ms, failover of about
half a second, no spurious election on two busy cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MAX_FRAME_BYTES = 256 * 1024  # one proposed command
MAX_SNAPSHOT_BYTES = 64 * 2**20
SNAPSHOT_CHUNK_BYTES = 512 * 1024
MAX_MESSAGE_BYTES = 4 * 2**20  # a batch of entries, or one chunk of a snapshot, with room to spare


@dataclass(frozen=True, slots=True)
class RaftKeys:
    """CURVE keys in Z85. A sender is who its key says, never who it claims to be. While keys are
    rotated a peer has more than one, the present one first."""

    public: bytes
    secret: bytes
    peers: tuple[tuple[str, bytes], ...]  # (node id, public key) of every other voter

    def __repr__(self) -> str:
        return f"RaftKeys(public={self.public.decode()}, {len(self.peers)} peers)"


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """ValueError says which value cannot be."""

    node_id: str
    raft_address: str  # host:port
    peers: tuple[tuple[str, str], ...]  # (node id, host:port) of every other voter
    directory: Path
    cluster: str = ""  # members with another one are ignored
    keys: RaftKeys | None = None
    fsync: bool = True  # False only for benchmarks and tests that cut no power

    election_min_s: float = 0.4
    election_max_s: float = 0.8
    heartbeat_s: float = 0.08
    leader_fallback_s: float = 0.8
    link_timeout_s: float = 2.0
    keep_warm_s: float = 0.25
    tick_s: float = 0.02
    barrier_timeout_s: float = 2.0
    barrier_retry_s: float = 0.25
    proposal_ttl_s: float = 5.0  # how long a proposal waits for a leader
    heal_first_s: float = 0.5  # then twice as long each time, up to heal_max_s
    heal_max_s: float = 5.0
    bootstrap_patience_s: float = 3.0
    inbox_limit: int = 1000
    compact_entries: int = 20_000
    batch_bytes: int = 2**20

    def __post_init__(self) -> None:
        ids = [self.node_id, *(node for node, _ in self.peers)]
        if not all(ids) or len(set(ids)) != len(ids):
            raise ValueError(f"voters need distinct, non-empty ids: {ids}")
        for address in (self.raft_address, *(address for _, address in self.peers)):
            _, _, port = address.rpartition(":")
            if not port.isdigit() or not 0 < int(port) < 2**16:
                raise ValueError(f"{address!r} is no HOST:PORT")
        if self.election_min_s <= 3 * self.heartbeat_s:
            raise ValueError("election_min_s must be more than three heartbeats")
        if not self.election_min_s < self.election_max_s <= self.link_timeout_s:
            raise ValueError("election_min_s < election_max_s <= link_timeout_s must hold")
        if self.compact_entries < 2 or self.inbox_limit < 1:
            raise ValueError("compact_entries is at least 2, inbox_limit at least 1")
        if not MAX_FRAME_BYTES < self.batch_bytes <= MAX_MESSAGE_BYTES // 2:
            raise ValueError("batch_bytes must hold a frame and fit a message twice")
        if self.keys is not None and {n for n, _ in self.keys.peers} != set(ids[1:]):
            raise ValueError("every peer needs a public key, and only peers have one")
