"""The stale-read auditor: are copies what their owners have? A few keys at a time, for ever.

    copies of a bucket --Peek--> owner: its versions --older here, still?--> counted as stale

An owner answers for a key when all who keep it have confirmed what it says. So a copy that is
older when the answer comes, under the same map, is a broken promise and no race: the count must be
0 for ever. A key that the owner does not have proves nothing: it may have been evicted there. So a
deleted value that lives on in a copy is not found here; the simulation looks for those.
"""

from __future__ import annotations

from collections import defaultdict

from tiercluster.cluster.ring import slot_of
from tiercluster.cluster.wire import Kind, Peek, Peeked, Reply, Status
from tiercluster.tiermap import TierMap

from .directory import BUCKETS
from .entry import COLD, Entry
from .holdings import Holdings
from .keeping import Keeping
from .peerbook import PeerBook

PERIOD_S = 1.0
KEYS = 64  # asked about in a period


class Auditor:
    """``checked`` and ``stale`` count copies; ``stale`` must be 0."""

    def __init__(self, holdings: Holdings, keeping: Keeping, peers: PeerBook) -> None:
        self._holdings = holdings
        self._keeping = keeping
        self._peers = peers
        self._map = TierMap()
        self._bucket = 0
        self._due = 0.0
        self.checked = self.stale = 0

    def use_map(self, tier_map: TierMap) -> None:
        self._map = tier_map

    def tick(self, now: float) -> None:
        if now < self._due:
            return
        self._due = now + PERIOD_S
        if self._map.copies == 1:
            return
        for owner, entries in self._next(now).items():
            self._ask(owner, entries, now)

    def _next(self, now: float) -> dict[str, list[Entry]]:
        """Some copies, by owner, from the next buckets that hold any."""
        node_of, keeps = self._keeping.owner_of, self._holdings.directory
        found: defaultdict[str, list[Entry]] = defaultdict(list)
        count = 0
        for _ in range(BUCKETS):
            self._bucket = (self._bucket + 1) % BUCKETS
            for entry in keeps.buckets[self._bucket].values():
                slot = slot_of(entry.key)
                if keeps.owned[slot] or entry.place > COLD:
                    continue
                if self._holdings.is_visible(entry, now):
                    found[node_of(slot)].append(entry)
                    count += 1
                    if count >= KEYS:
                        return found
            if count:
                return found
        return found

    def _ask(self, owner: str, entries: list[Entry], now: float) -> None:
        if not owner:
            return
        asked = [(entry, entry.version) for entry in entries]
        under = self._map.version

        def finish(reply: Reply | None, now: float) -> None:
            if reply is None or reply.status is not Status.OK or self._map.version != under:
                return
            if reply.map_version == under and isinstance(reply.fields, Peeked):
                self._compare(asked, reply.fields.versions, now)

        keys = tuple(entry.key for entry in entries)
        self._peers.ask(owner, Kind.PEEK, Peek(keys), b"", finish, now)

    def _compare(
        self, asked: list[tuple[Entry, int]], versions: tuple[int, ...], now: float
    ) -> None:
        for (entry, version), owners in zip(asked, versions, strict=False):
            is_same = self._holdings.is_current(entry, version)
            if not is_same or not self._holdings.is_visible(entry, now):
                continue
            self.checked += 1
            self.stale += version < owners

    def counters(self) -> tuple[tuple[str, int], ...]:
        return ("copies_audited", self.checked), ("copies_stale", self.stale)
