"""This node among the other members: pings both ways, grants, levels, paces, messages to them."""

from __future__ import annotations

from tiercluster.cluster.wire import (
    OLDEST_VERSION,
    SINCE,
    Fields,
    Hello,
    Kind,
    Paced,
    Ping,
    Pong,
    Welcome,
)
from tiercluster.tiermap import NodeState, TierMap

from .doors import Doors
from .lease import Lease
from .levels import PeerLevels
from .messages import PeerHeard, ShardStats
from .ownership import Ownership
from .pace_talk import heard, told
from .settings import NodeSettings
from .streams import Streams


class Peering:
    """Whom this node pings and what it grants; what it hears goes to the lease, to who owns what,
    and to the control worker. ``withheld``: members that get no grant; ``grants`` False: none."""

    def __init__(self, settings: NodeSettings, doors: Doors, lease: Lease, ownership: Ownership,
                 streams: Streams) -> None:  # fmt: skip
        self._settings = settings
        self._doors = doors
        self._lease = lease
        self._ownership = ownership
        self._streams = streams
        self._levels = PeerLevels(settings.id)
        self._map = TierMap()
        self.withheld: frozenset[str] = frozenset()
        self.grants = False
        self.is_leaving = False

    def use_map(self, new: TierMap, now: float) -> None:
        self._map = new
        self._lease.use_map(new.version, self.others_up(), now, self._other_voters())

    def others_up(self) -> list[str]:
        me = self._settings.id
        return [m.id for m in self._map.members if m.state is NodeState.UP and m.id != me]

    def _other_voters(self) -> list[str]:
        if not self._settings.join:
            return [node for node, _ in self._settings.peers]
        # Those who LEFT vote on: Raft counts them.
        return [m.id for m in self._map.members if m.raft]

    # --- to them --------------------------------------------------------------------------------

    def tell(self, node: str, kind: Kind, fields: Fields, body: bytes = b"", rid: int = 0) -> bool:
        """Not while the cluster runs at a level that has no such message."""
        if self._map.level < SINCE.get(kind, OLDEST_VERSION):
            return False
        return self._doors.send_peer(node, kind, rid, self._map.version, fields, body)

    def tell_all(self, kind: Kind, fields: Fields) -> None:
        for node in self.others_up():
            self.tell(node, kind, fields)

    def ping_all(self, now: float) -> None:
        me = self._ownership.incarnation
        if not me:
            return
        self._lease.pinged(now)
        version = self._map.version
        ping = Ping(self._settings.id, me, int(now * 1000), version, self._map.digest,
                    self.is_leaving)  # fmt: skip
        for node in self.others_up():
            self._doors.send_peer(node, Kind.PEER_PING, 0, version, ping, b"")

    def tell_paces(self, stats: ShardStats) -> None:
        """How fast our tiers are, for comparison with theirs."""
        me = self._ownership.incarnation
        for paced in told(self._settings.id, me, stats, self._settings.slowness.samples):
            self.tell_all(Kind.PEER_PACE, paced)

    def ask_levels(self) -> None:
        """Ask members of a map below our own level what they speak; tell when all have said it."""
        version = self._map.version
        for node in self._levels.to_ask(self._map):
            self._doors.send_peer(node, Kind.HELLO, 0, version, Hello(), b"")
        all_heard = self._levels.all_heard(self._map)
        if all_heard is not None:
            self._doors.tell_control(all_heard)

    # --- from them ------------------------------------------------------------------------------

    def pinged(self, ping: Ping, now: float) -> Pong:
        member = self._map.member(ping.node)
        known = member is not None and member.incarnation == ping.incarnation
        is_up = member is not None and known and member.state is NodeState.UP
        if known:
            self._doors.tell_control(
                PeerHeard(ping.node, ping.incarnation, now, ping.map_version, ping.digest,
                          ping.leaving)
            )  # fmt: skip
            self._ownership.confirm(ping.node, ping.incarnation, ping.map_version, now)
        grant = is_up and self.grants and ping.node not in self.withheld
        return Pong(self._settings.id, self._ownership.incarnation, ping.sent_ms,
                    self._map.version, self._map.digest, grant)  # fmt: skip

    def ponged(self, node: str, pong: Pong, now: float) -> None:
        trusted = node not in self.withheld
        sent_at = min(pong.sent_ms / 1000, now)  # whatever the peer says: no lease without an end
        self._lease.pong(node, sent_at, pong.grant, pong.map_version, now, trusted)
        self._ownership.confirm(node, pong.incarnation, pong.map_version, now)
        self._streams.heard(node, now)

    def welcomed(self, node: str, welcome: Welcome) -> None:
        self._levels.heard(node, welcome.incarnation, welcome.protocol)

    def paced(self, paced: Paced) -> None:
        """ValueError if it makes no sense."""
        self._doors.tell_control(heard(paced))
