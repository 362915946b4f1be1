"""The members that a session is connected to, and the tier map that it follows at one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import zmq

from tiercluster.tiermap import NodeState, TierMap, decode_map

from .attempt import SILENCE_S
from .codec import encode_request
from .errors import ProtocolError, TierclusterError, Unavailable
from .feed import Feed
from .keys_files import renewed
from .link import Context, CurveKeys, Link
from .routing import Router
from .wire import (
    OLDEST_VERSION,
    VERSION,
    Fields,
    Hello,
    Kind,
    MapUpdate,
    Refusal,
    Reply,
    Request,
    Subscribe,
    Welcome,
)

RENEW_S = 2.0  # of the subscription to map changes
HURRIED_RENEW_S = 0.1  # while an answer is overdue
GREETING_S = 0.3  # until it is repeated
KEYS_S = 5.0  # between looks whether the directory of keys holds others
KEYS_HURRIED_S = 0.1  # when a member has refused ours
NO_CLUSTER = TierMap().identity  # what a member says that has not caught up
MAX_SPARE_LINKS = 8  # opened at once in search of a member that is alive


class Members:
    """``feed`` holds the newest map; ``happened`` is set when a connection or the map changed;
    ``last_rid`` numbers all requests of the session."""

    def __init__(
        self,
        context: Context,
        seeds: tuple[str, ...],
        keys: CurveKeys | None,
        client: bytes,
        router: Router | None,
        opened: Callable[[Link], None] | None,
        closing: Callable[[Link], None] | None,
    ) -> None:
        self._context = context
        self._seeds = seeds
        self._keys = keys
        self._keys_at = 0.0  # when they were read last
        self._client = client
        self._opened, self._closing = opened, closing
        self.feed = Feed(router)
        self.happened = True
        self.last_rid = 0
        self.links: dict[str, Link] = {}  # by address
        self.by_node: dict[str, Link] = {}
        self.routed: Router | None = None  # that by_node was made for
        self._own: dict[int, Link] = {}  # requests of our own that wait: greetings, subscriptions
        self._strangers: set[str] = set()  # addresses where another cluster has answered last
        self._subscribed: Link | None = None
        self.renew_at = 0.0

    def __iter__(self) -> Iterator[Link]:
        return iter(tuple(self.links.values()))

    # --- what links say -------------------------------------------------------------------------

    def look_after(self, link: Link, now: float) -> None:
        """Take what its monitor says; greet it if it is new, or had no map when it was greeted: it
        may turn out to be of another cluster."""
        if link.read_monitor(now):
            self.happened = True
            if link.is_key_refused:
                self._look_at_keys(now, KEYS_HURRIED_S)
                self._greet_others(now)
            if not link.is_ready:  # what was asked there for ourselves will not be answered
                self._own = {rid: k for rid, k in self._own.items() if k is not link}
        is_known = link.offset_ms is not None and link.cluster != NO_CLUSTER
        if link.is_up and not is_known and now >= link.greeted_at + GREETING_S:
            self._greet(link, now)

    def _look_at_keys(self, now: float, period_s: float = KEYS_S) -> None:
        """Keys that were rotated are used from now on, by new connections; calls that wait are
        asked again there."""
        if self._keys is None or now < self._keys_at + period_s:
            return
        self._keys_at = now
        keys = renewed(self._keys)
        if keys is not self._keys:
            self._keys = keys
            self.happened = True
            for link in self:
                link.use_keys(keys)

    def _greet_others(self, now: float) -> None:
        """One member does not take our key. Whether the others still do shows at a question."""
        for link in self:
            if link.is_up and link not in self._own.values():
                self._greet(link, now)

    def was_ours(self, rid: int) -> bool:
        """Whether this was a request of our own; it no longer waits."""
        return self._own.pop(rid, None) is not None

    def take_map(self, link: Link, reply: Reply) -> None:
        """A reply that may carry a map; ProtocolError if it cannot be read."""
        before = self.feed.router
        if isinstance(reply.fields, Welcome):
            self._welcomed(link, reply.fields)
        elif isinstance(reply.fields, Refusal) and reply.kind is Kind.HELLO:
            link.turned_away(ProtocolError(f"{link.address} turns us away: {reply.fields.text}"))
            self.happened = True
        elif isinstance(reply.fields, MapUpdate) and not self.feed.take(
            reply.fields, reply.map_version
        ):
            self.want_map(link)
        if self.feed.router is not before:
            self.happened = True

    def _welcomed(self, link: Link, welcome: Welcome) -> None:
        """A member's own map. Another cluster's is taken only if nobody of ours is left: the
        members may have been set up anew at their old addresses, or one of them alone."""
        try:
            tier_map = decode_map(welcome.map)
        except ValueError as error:
            raise ProtocolError(f"a tier map that cannot be read: {error}") from None
        link.node, link.cluster = welcome.node, tier_map.identity
        link.protocol = min(max(welcome.protocol, OLDEST_VERSION), VERSION)
        self.happened = True
        ours = self.feed.cluster
        is_foreign = ours is not None and bool(tier_map.cluster) and tier_map.identity != ours
        if is_foreign:
            self._strangers.add(link.address)
            if not all(map(self._is_gone, self._up_addresses())):
                self._close(link)
                self.open_more()
                return
            self._strangers.clear()
        self._strangers.discard(link.address)
        self.feed.use(tier_map, another_cluster=is_foreign)

    def _is_gone(self, address: str) -> bool:
        """Whether a member of ours is no more at this address: nobody is there, or a stranger."""
        link = self.links.get(address)
        return address in self._strangers or (link is not None and link.failed_at > 0)

    # --- the map --------------------------------------------------------------------------------

    def _tell(self, link: Link, kind: Kind, asked: Fields) -> bool:
        """Ask something for the session itself."""
        self.last_rid += 1
        request = Request(kind, self.last_rid, self.feed.version, 0, self._client, False, asked,
                          protocol=link.protocol)  # fmt: skip
        if not link.send(encode_request(request)):
            return False
        self._own[self.last_rid] = link
        return True

    def _greet(self, link: Link, now: float) -> None:
        if self._tell(link, Kind.HELLO, Hello()):
            link.greeted_at = now

    def want_map(self, link: Link) -> None:
        """This member knows a newer map; at most one such question to it at a time."""
        if link not in self._own.values():
            self._tell(link, Kind.SUBSCRIBE, Subscribe(self.feed.version))

    def follow(self, now: float, is_looking: Callable[[], bool]) -> None:
        """Keep a subscription at a member that answers; hurry if a call waits for the map."""
        self._look_at_keys(now)
        self.route()
        link = self._subscribed
        if link is None or not link.is_ready or _is_silent(link, now):
            link = self._live_link(now)
        elif now < self.renew_at:
            return
        if link is None:
            self._subscribed = None
            self.renew_at = now + GREETING_S
            self.open_more()
        elif self._tell(link, Kind.SUBSCRIBE, Subscribe(self.feed.version)):
            link.silent_since = link.silent_since or now
            self._subscribed = link
            self.renew_at = now + (GREETING_S if is_looking() else RENEW_S)

    def _live_link(self, now: float) -> Link | None:
        links = [k for k in self.links.values() if k.is_ready and not _is_silent(k, now)]
        return links[0] if links else None

    def route(self) -> None:
        """Which link leads to which node, for the newest map; close those to nobody."""
        router = self.feed.router
        if router is self.routed or router is None:
            return
        self.routed = router
        members = [m for m in router.tier_map.members if m.state is not NodeState.LEFT]
        addresses = {m.address for m in members}
        if any(k.is_ready and k.address in addresses for k in self.links.values()):
            for link in tuple(self.links.values()):
                if link.address not in addresses:
                    self._close(link)
        self.by_node = {m.id: self.links[m.address] for m in members if m.address in self.links}
        for node, link in self.by_node.items():
            link.node = node

    # --- links ----------------------------------------------------------------------------------

    def _open(self, address: str) -> Link:
        try:
            link = Link(self._context, address, self._keys)
        except zmq.ZMQError as error:
            raise Unavailable(f"cannot connect to {address}: {error}") from None
        self.links[address] = link
        if self._opened is not None:
            self._opened(link)
        return link

    def _close(self, link: Link) -> None:
        if self._closing is not None:
            self._closing(link)
        link.close()
        self.links.pop(link.address, None)
        self.by_node = {node: k for node, k in self.by_node.items() if k is not link}
        self._own = {rid: k for rid, k in self._own.items() if k is not link}
        if self._subscribed is link:
            self._subscribed = None

    def open_more(self) -> None:
        """Try members and seeds that are not tried yet, in search of one that lives."""
        spare = MAX_SPARE_LINKS - sum(not link.is_ready for link in self.links.values())
        for address in self._addresses():
            if spare > 0 and address not in self.links:
                self._open(address)
                self.routed = None
                spare -= 1

    def _addresses(self) -> list[str]:
        return [*self._up_addresses(), *self._seeds]

    def _up_addresses(self) -> list[str]:
        router = self.feed.router
        members = router.tier_map.members if router else ()
        return [m.address for m in members if m.state is NodeState.UP]

    def reach(self, node: str) -> int | None:
        link = self.by_node.get(node) or self._connect(node)
        return link.epoch if link is not None and link.is_ready else None

    def _connect(self, node: str) -> Link | None:
        router = self.feed.router
        member = router.tier_map.member(node) if router else None
        if member is None or not member.address or member.state is NodeState.LEFT:
            return None
        link = self.links.get(member.address) or self._open(member.address)
        link.node = node
        self.by_node[node] = link
        return link

    def close(self) -> None:
        for link in self:
            self._close(link)

    def nobody(self, since: float) -> TierclusterError | None:
        """Why there is no member to ask, if every known address has refused since then."""
        if not all(_is_hopeless(link, since) for link in self.links.values()):
            return None
        if all(address in self.links for address in self._addresses()):
            return _nobody(list(self.links.values()))
        self.open_more()
        return None


def _is_silent(link: Link, now: float) -> bool:
    return bool(link.silent_since) and now - link.silent_since > SILENCE_S


def _is_hopeless(link: Link, since: float) -> bool:
    return not link.is_ready and (link.failed_at >= since or link.refusal is not None)


def _nobody(links: list[Link]) -> TierclusterError:
    said = next((link.refusal for link in links if link.refusal is not None), None)
    if said is not None:
        return said
    return Unavailable(f"no member reachable at {', '.join(link.address for link in links)}")
