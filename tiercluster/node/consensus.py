"""A node's part in the consensus: a voter's replica, or the feed of another member.

A follower has the feed for good, a voter while its replica is out (its journal's disk is full, its
log is damaged) or left behind (its link to the leader is cut, that of another member is not). So
what the cluster decides reaches the node all the same, and what it proposes goes through the member
that it follows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tiercluster.tiermap import MapState
from tiercluster.tiermap.raft import NO_CUT, Cut

from .keyring import NodeKeys


class Source(Protocol):
    """Where decisions come from and proposals go; all calls only enqueue."""

    def start(self) -> None: ...
    def propose(self, frame: bytes) -> bool: ...
    def barrier(self, token: str) -> None: ...
    def cut_off(self, cut: Cut) -> None: ...
    def stop(self, timeout_s: float = 2.0) -> None: ...


class Voter(Source, Protocol):
    """A replica."""

    @property
    def stalled_s(self) -> float: ...


class Feed(Source, Protocol):
    """What a node follows that does not vote."""

    def use_keys(self, keys: NodeKeys) -> None: ...


def _no_keys(keys: NodeKeys) -> None:
    pass


class Consensus:
    """To be used from one thread. ``replica`` None: this node is a follower, ``make_feed`` makes
    what it follows, from a state on, through an address first; ``use_keys`` tells both of them of
    new keys."""

    def __init__(
        self,
        replica: Voter | None,
        make_feed: Callable[[MapState, str], Feed],
        use_keys: Callable[[NodeKeys], None] = _no_keys,
    ) -> None:
        self._replica = replica
        self._use_keys = use_keys
        self._make_feed = make_feed
        self._cut = NO_CUT
        self._feed = make_feed(MapState(), "") if replica is None else None

    def start(self) -> None:
        for source in (self._replica, self._feed):
            if source is not None:
                source.start()

    @property
    def stalled_s(self) -> float:
        """How long this voter's replica has not come round; 0 for a follower."""
        return self._replica.stalled_s if self._replica is not None else 0.0

    @property
    def _source(self) -> Source:
        source = self._feed or self._replica
        assert source is not None
        return source

    def propose(self, frame: bytes) -> bool:
        """Enqueue a command; False: not taken."""
        return self._source.propose(frame)

    def barrier(self, token: str) -> None:
        """BarrierDone(token) follows."""
        self._source.barrier(token)

    def cut_off(self, cut: Cut) -> None:
        """A game day's partition: nothing passes to or from these members."""
        self._cut = cut
        for source in (self._replica, self._feed):
            if source is not None:
                source.cut_off(cut)

    def use_keys(self, keys: NodeKeys) -> None:
        """The keys were read anew."""
        self._use_keys(keys)
        if self._feed is not None:
            self._feed.use_keys(keys)

    def follow_feed(self, state: MapState, first: str = "") -> None:
        """The replica is out or left behind. Nobody can be followed before a map has named the
        others."""
        if self._feed is None and len(state.map.members) > 1:
            self._feed = self._make_feed(state, first)
            self._feed.cut_off(self._cut)
            self._feed.start()

    def follow_replica(self) -> None:
        """The replica takes part again."""
        if self._feed is not None and self._replica is not None:
            self._feed.stop(0.0)
            self._feed = None

    def stop(self) -> None:
        for source in (self._feed, self._replica):
            if source is not None:
                source.stop()
