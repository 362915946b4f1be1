"""Which clients keep a near copy of which key, and what they are to be told. A pure core.

    watch --the key is written--> told once, forgotten
      ^--------asked again-----------+

What one client is told is numbered, under a stint; a new stint begins with nothing. An entry that
is evicted keeps its watch: the copy is still the newest value, until the key is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tiercluster.cluster.ring import slot_of
from tiercluster.cluster.wire import Invalidated

from .directory import BUCKET_SHIFT, BUCKETS

MAX_WATCHERS = 1000
MAX_A_WATCHER = 100_000  # keys; past it the client is told to drop everything
MAX_WATCHES = 200_000  # of all clients; past it the one with the most is told so
MAX_TOLD_KEYS = 1000  # a message
WATCHER_S = 15.0  # after its last question a client is forgotten


class Watcher:
    """One client: where it is told, and of what."""

    __slots__ = ("everything", "fired", "identity", "keys", "seq", "stint", "until")

    def __init__(self, identity: bytes, stint: int) -> None:
        self.identity = identity
        self.stint = stint
        self.until = 0.0
        self.seq = 0  # of the last message
        self.keys: set[bytes] = set()
        self.fired: list[bytes] = []  # for the next message
        self.everything = False


@dataclass(frozen=True, slots=True)
class Watching:
    """What a read was registered under; ``added``: those of its keys that were not watched."""

    stint: int
    seq: int
    added: frozenset[bytes] = frozenset()


NOT_WATCHING = Watching(0, 0)


class Watches:
    """``count``: watches now; ``told``: keys that clients were told of; ``has_news``: whether
    `take` has something."""

    def __init__(self, stint: int = 0) -> None:
        """``stint``: where the numbers of stints begin; no two processes should begin alike."""
        self.count = 0
        self.told = 0
        self.has_news = False
        self._stint = stint
        self._watchers: dict[bytes, Watcher] = {}
        # A key has one watcher, as most do, or several. In buckets, as the directory is.
        self._buckets: tuple[dict[bytes, Watcher | dict[Watcher, None]], ...] = tuple(
            {} for _ in range(BUCKETS)
        )
        self._open: dict[Watcher, None] = {}  # those with something to be told
        self._sealed: list[tuple[bytes, Invalidated]] = []

    # --- clients --------------------------------------------------------------------------------

    def renew(self, client: bytes, identity: bytes, stint: int, now: float) -> Watching:
        """The client is there and was told under ``stint`` so far; under which it is from now on,
        and the number of the last message. NOT_WATCHING when there are too many clients."""
        watcher = self._watchers.get(client)
        if watcher is None or watcher.stint != stint or watcher.identity != identity:
            self._leave(client)
            if len(self._watchers) >= MAX_WATCHERS:
                return NOT_WATCHING
            self._stint += 1
            watcher = self._watchers[client] = Watcher(identity, self._stint)
        watcher.until = now + WATCHER_S
        self._seal(watcher)
        return Watching(watcher.stint, watcher.seq)

    def expire(self, now: float) -> None:
        """Forget clients that were silent for WATCHER_S."""
        for client in [c for c, w in self._watchers.items() if w.until < now]:
            self._leave(client)

    def _leave(self, client: bytes) -> None:
        watcher = self._watchers.pop(client, None)
        if watcher is not None:
            self._unwatch_all(watcher)
            self._open.pop(watcher, None)

    # --- keys -----------------------------------------------------------------------------------

    def watch(self, client: bytes, keys: Sequence[bytes], slots: Sequence[int]) -> Watching:
        """The client reads these keys and keeps what it finds. To be called before they are
        read, so that no change is missed while a value is on its way."""
        watcher = self._watchers.get(client)
        if watcher is None or len(keys) > MAX_A_WATCHER:
            return NOT_WATCHING
        self._make_room(watcher, len(keys))
        self._seal(watcher)  # what is told already concerns earlier reads
        added = [k for k, s in zip(keys, slots, strict=True) if self._add(watcher, k, s)]
        return Watching(watcher.stint, watcher.seq, frozenset(added))

    def _make_room(self, watcher: Watcher, more: int) -> None:
        if len(watcher.keys) + more > MAX_A_WATCHER:
            self._drop(watcher)
        while self.count + more > MAX_WATCHES and self.count:
            self._drop(max(self._watchers.values(), key=lambda w: len(w.keys)))

    def _add(self, watcher: Watcher, key: bytes, slot: int) -> bool:
        if key in watcher.keys:
            return False
        bucket = self._buckets[slot >> BUCKET_SHIFT]
        held = bucket.get(key)
        if held is None:
            bucket[key] = watcher
        elif isinstance(held, dict):
            held[watcher] = None
        else:
            bucket[key] = {held: None, watcher: None}
        watcher.keys.add(key)
        self.count += 1
        return True

    def unwatch(self, client: bytes, keys: Sequence[bytes]) -> None:
        """Nothing was found there, so nothing is kept."""
        watcher = self._watchers.get(client)
        if watcher is not None:
            for key in keys:
                if key in watcher.keys:
                    self._remove(watcher, key)

    def _remove(self, watcher: Watcher, key: bytes) -> None:
        bucket = self._buckets[slot_of(key) >> BUCKET_SHIFT]
        held = bucket[key]
        if isinstance(held, dict):
            del held[watcher]
        if not isinstance(held, dict) or not held:
            del bucket[key]
        watcher.keys.discard(key)
        self.count -= 1

    def _unwatch_all(self, watcher: Watcher) -> None:
        for key in tuple(watcher.keys):
            self._remove(watcher, key)

    # --- changes --------------------------------------------------------------------------------

    def fire(self, key: bytes, slot: int) -> None:
        """The key is written or deleted now: whoever keeps it is told, once."""
        held = self._buckets[slot >> BUCKET_SHIFT].pop(key, None)
        if held is None:
            return
        for watcher in held if isinstance(held, dict) else (held,):
            watcher.keys.discard(key)
            self.count -= 1
            watcher.fired.append(key)
            self._open[watcher] = None
            if len(watcher.fired) >= MAX_TOLD_KEYS:
                self._seal(watcher)
            self.has_news = True

    def fire_bucket(self, index: int, prefix: bytes) -> None:
        """All keys of a bucket with this prefix, whether they have an entry still or not."""
        bucket = self._buckets[index]
        for key in [key for key in bucket if key.startswith(prefix)]:
            self.fire(key, index << BUCKET_SHIFT)

    def drop_all(self) -> None:
        """The owners of keys have changed: nothing that was read before is told of any more."""
        for watcher in self._watchers.values():
            self._drop(watcher)

    def _drop(self, watcher: Watcher) -> None:
        self._unwatch_all(watcher)
        watcher.everything = self.has_news = True
        self._open[watcher] = None

    # --- what is told ---------------------------------------------------------------------------

    def take(self) -> list[tuple[bytes, Invalidated]]:
        """The messages since the last call, in order, with the connections they go to."""
        for watcher in tuple(self._open):
            self._seal(watcher)
        messages, self._sealed = self._sealed, []
        self.has_news = False
        return messages

    def _seal(self, watcher: Watcher) -> None:
        """What has fired so far is a message of its own."""
        if watcher not in self._open:
            return
        del self._open[watcher]
        watcher.seq += 1
        keys = () if watcher.everything else tuple(watcher.fired)
        self.told += len(watcher.fired)
        message = Invalidated(watcher.stint, watcher.seq, keys, watcher.everything)
        self._sealed.append((watcher.identity, message))
        watcher.fired, watcher.everything = [], False
        self.has_news = True
