"""What the shard thread's decisions need of the world."""

from __future__ import annotations

from typing import Protocol

from tiercluster.cluster.wire import Fields, Kind, Reply
from tiercluster.tiermap import TierMap

from .messages import ColdCommand, ShardReport


class Doors(Protocol):
    """All return at once; False: not taken."""

    def reply(self, identity: bytes, reply: Reply) -> bool: ...

    def send_peer(self, node: str, kind: Kind, rid: int, version: int, fields: Fields,
                  body: bytes) -> bool: ...  # fmt: skip

    def link_peers(self, tier_map: TierMap) -> None: ...

    def tell_cold(self, command: ColdCommand) -> bool: ...

    def tell_control(self, report: ShardReport) -> object: ...
