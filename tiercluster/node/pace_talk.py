"""What members tell each other of the pace of their tiers: figures to messages and back."""

from __future__ import annotations

from tiercluster.cluster.wire import Paced
from tiercluster.tiermap import TIERS, Tier

from .messages import PeerPaced, ShardStats
from .pace import Pace


def told(node: str, incarnation: str, stats: ShardStats, samples: int) -> list[Paced]:
    """For each tier that has done at least ``samples`` operations: an idle cluster is quiet."""
    return [
        Paced(
            node,
            incarnation,
            str(tier),
            int(read.p95_s * 1e6),
            read.operations,
            int(write.p95_s * 1e6),
            write.operations,
        )
        for tier, (read, write) in zip(TIERS, stats.paces, strict=True)
        if max(read.operations, write.operations) >= samples
    ]


def heard(said: Paced) -> PeerPaced:
    """ValueError if it is about no tier."""
    read, write = Pace(said.read_us / 1e6, said.reads), Pace(said.write_us / 1e6, said.writes)
    return PeerPaced(said.node, said.incarnation, Tier(said.tier), (read, write))
