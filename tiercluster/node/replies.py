"""What goes out to connections: answers, and every change of the map to who subscribed."""

from __future__ import annotations

from tiercluster.cluster.wire import (
    Invalidated,
    Kind,
    MapUpdate,
    Refusal,
    Reply,
    Result,
    Status,
)
from tiercluster.tiermap import TierMap, diff, encode_delta, encode_map

from .desk import Desk
from .doors import Doors
from .effects import Origin
from .subscribers import Subscribers


class Replies:
    """Each in the version of the protocol in which it was asked."""

    def __init__(self, doors: Doors, desk: Desk) -> None:
        self._doors = doors
        self._desk = desk
        self._map = TierMap()
        self.subscribers = Subscribers()

    def send(self, origin: Origin, status: Status, fields: Result, body: bytes,
             now: float) -> None:  # fmt: skip
        reply = Reply(origin.kind, origin.rid, self._map.version, int(now * 1000),
                      status, fields, body, origin.protocol)  # fmt: skip
        if not self._doors.reply(origin.identity, reply):
            self._desk.count("answers_dropped")

    def refuse(self, origin: Origin, status: Status, text: str, now: float) -> None:
        """STALE_MAP comes with the newer map, any other status with a text."""
        fields = self._snapshot(origin.protocol) if status is Status.STALE_MAP else Refusal(text)
        self.send(origin, status, fields, b"", now)

    def subscribe(self, origin: Origin, now: float) -> None:
        """The connection is told of changes from now on."""
        self.subscribers.add(origin.identity, now, origin.protocol)
        self.send(origin, Status.OK, self._snapshot(origin.protocol), b"", now)

    def recall(self, identity: bytes, news: Invalidated, now: float) -> None:
        """A near copy there is out of date."""
        reply = Reply(Kind.INVALIDATE, 0, self._map.version, int(now * 1000), Status.OK, news)
        self._doors.reply(identity, reply)

    def use_map(self, new: TierMap) -> None:
        self._map = new

    def push(self, old: TierMap, now: float) -> None:
        """What has changed since ``old``."""
        delta, version = diff(old, self._map), self._map.version
        for protocol, identities in self.subscribers.by_protocol().items():
            update = MapUpdate(old.version, encode_delta(delta, protocol))
            reply = Reply(Kind.MAP_PUSH, 0, version, int(now * 1000), Status.OK, update,
                          protocol=protocol)  # fmt: skip
            for identity in identities:
                self._doors.reply(identity, reply)

    def _snapshot(self, protocol: int) -> MapUpdate:
        return MapUpdate(0, encode_map(self._map, protocol))
