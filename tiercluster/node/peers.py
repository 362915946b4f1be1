"""The shard's links to the other members: one DEALER each, for pings and stand-in cold storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import zmq

from tiercluster.cluster.codec import decode_reply, encode_request
from tiercluster.cluster.wire import (
    CLIENT_ID_BYTES,
    OLDEST_VERSION,
    VERSION,
    Fields,
    Kind,
    Reply,
    Request,
    WireError,
)
from tiercluster.tiermap import TierMap
from tiercluster.tiermap.raft import Open, Outlet

from .sockets import Curve, dealer, servers_of

RECEIVE_TURN = 100  # replies read from one link before the others get their turn


class _Link(NamedTuple):
    address: str
    outlet: Outlet


class Peers:
    """Links to every other member of the map, made and dropped as the map says. ``on_bad_reply`` is
    called for each answer that is none. All members speak the level of their map."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        poller: zmq.Poller,
        node: str,
        curve: Curve | None,
        on_bad_reply: Callable[[], None],
    ) -> None:
        self._context = context
        self._poller = poller
        self._node = node
        self._curve = curve
        self._links: dict[str, _Link] = {}
        self._by_socket: dict[zmq.Socket[bytes], str] = {}
        self._on_bad_reply = on_bad_reply
        self._protocol = OLDEST_VERSION

    def use_map(self, tier_map: TierMap) -> None:
        self._protocol = min(VERSION, tier_map.level)
        wanted = {m.id: m.address for m in tier_map.members if m.id != self._node}
        for node in list(self._links):
            if wanted.get(node) != self._links[node].address:
                self._drop(node)
        for node, address in wanted.items():
            if node not in self._links:
                self._connect(node, address)

    def use_keys(self, curve: Curve | None) -> None:
        """Show these from now on; a connection is given up when its successor carries."""
        self._curve = curve
        for link in self._links.values():
            link.outlet.renew(self._opener(link.address), servers_of(curve))

    def _connect(self, node: str, address: str) -> None:
        def opened(socket: zmq.Socket[bytes]) -> None:
            self._by_socket[socket] = node
            self._poller.register(socket, zmq.POLLIN)

        outlet = Outlet(self._opener(address), servers_of(self._curve), opened, self._closing)
        self._links[node] = _Link(address, outlet)

    def _opener(self, address: str) -> Open:
        context, curve = self._context, self._curve
        return lambda server: dealer(context, address, curve, server)

    def _closing(self, socket: zmq.Socket[bytes]) -> None:
        del self._by_socket[socket]
        self._poller.unregister(socket)

    def _drop(self, node: str) -> None:
        self._links.pop(node).outlet.close()

    def send(self, node: str, kind: Kind, rid: int, version: int, fields: Fields,
             body: bytes = b"") -> bool:  # fmt: skip
        """False if there is no link that takes it now; nothing is queued then."""
        link = self._links.get(node)
        if link is None:
            return False
        request = Request(kind, rid, version, 0, bytes(CLIENT_ID_BYTES), False, fields, body,
                          self._protocol)  # fmt: skip
        return link.outlet.send(encode_request(request))

    def owns(self, socket: object) -> bool:
        return socket in self._by_socket

    def receive(self, socket: zmq.Socket[bytes]) -> Iterator[tuple[str, Reply]]:
        """The replies that wait on this link, with the member they came from."""
        node = self._by_socket[socket]
        for _ in range(RECEIVE_TURN):
            if socket.closed:  # what was read here has led to a send, that to another connection
                return
            try:
                frames = socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            try:
                yield node, decode_reply(frames)
            except WireError:
                self._on_bad_reply()

    def close(self) -> None:
        for node in list(self._links):
            self._drop(node)
