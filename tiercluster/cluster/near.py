"""The near cache of one client and those made by `namespaced`: copies, lock, and the feed's thread.

The lock guards the copies against the thread that hears of changes; a hit takes none. After a fork
the child begins with nothing; what it inherited is served no longer than the leases run.
"""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple

from .forks import fork_lock
from .keys import Key
from .link import CurveKeys
from .nearcache import ABSENT, FOREVER, Decoder, NearCache, Read
from .nearfeed import NearFeed
from .plan import DeletePrefixOp, GetOp, Operation, WatchOp


class NearFigures(NamedTuple):
    """See `Stats`."""

    hits: int = 0
    misses: int = 0
    entries: int = 0
    invalidations: int = 0
    resets: int = 0
    audited: int = 0
    stale: int = 0


class Near:
    """Safe to share between threads, tasks and event loops."""

    def __init__(
        self, limit: int, seeds: tuple[str, ...], keys: CurveKeys | None, decoder: Decoder
    ) -> None:
        self._limit, self._seeds, self._keys, self._decoder = limit, seeds, keys, decoder
        self._inherited: list[object] = []  # what a child must not touch, nor collect
        self._is_closed = False
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self.copies = NearCache(self._limit, self._decoder)
        self._feed: NearFeed | None = None
        self.misses = 0
        self._pid = os.getpid()  # last: from now on all of this is taken for ours

    def close(self) -> None:
        """Nothing is served from here any more."""
        self._is_closed = True
        if self._feed is not None and os.getpid() == self._pid:
            self._feed.stop()

    # --- reads ----------------------------------------------------------------------------------

    def find(self, prefix: bytes, key: Key) -> Any:
        """The value of a key as the user wrote it, or ABSENT, for wrong keys too."""
        if isinstance(key, str):
            try:
                wire = prefix + key.encode()
            except UnicodeEncodeError:  # lone surrogates, of `decode_text`
                return ABSENT
        elif isinstance(key, bytes):
            wire = prefix + key
        else:
            return ABSENT
        return self.copies.find(wire, time.monotonic())

    def find_wire(self, wire: bytes) -> Any:
        return self.copies.find(wire, time.monotonic())

    def reading(self, keys: Sequence[bytes]) -> GetOp:
        """The operation that reads what was not found, and has it kept if that can be."""
        self.misses += len(keys)
        feed = self._own_feed()
        if feed is None or not feed.may_watch:
            return GetOp(keys)
        return WatchOp(keys, feed.client, time.monotonic(), self.copies.begin_read())

    def _own_feed(self) -> NearFeed | None:
        self._leave_parent()
        feed = self._feed
        if feed is None:
            feed = self._start_feed()
        if feed is not None:
            feed.reads += 1
        return feed

    def _leave_parent(self) -> None:
        if os.getpid() == self._pid:
            return
        with fork_lock():
            if os.getpid() != self._pid:
                self._inherited.extend((self._feed, self._lock, self.copies))
                self._begin()

    def _start_feed(self) -> NearFeed | None:
        with self._lock:
            if self._feed is None and not self._is_closed:
                try:
                    feed = NearFeed(self._seeds, self._keys, self.copies, self._lock)
                except OSError:  # descriptors have run out: it goes without until the next read
                    return None
                # The thread does not keep us alive: it ends with us, should nobody close us.
                weakref.finalize(self, _stop_in, self._pid, feed)
                feed.start()
                self._feed = feed
            return self._feed

    # --- around calls ---------------------------------------------------------------------------

    def around(self, operation: Operation) -> _Around:
        """To be entered before the operation is sent and left when it is answered or given up."""
        return _Around(self, operation)

    def begin(self, operation: Operation) -> None:
        if operation.is_write:
            self._leave_parent()
            with self._lock:
                if not isinstance(operation, DeletePrefixOp):
                    self.copies.begin_write(operation.keys)

    def end(self, operation: Operation) -> None:
        if isinstance(operation, WatchOp):
            if operation.kept:
                self._keep(operation)
        elif operation.is_write:
            with self._lock:
                if isinstance(operation, DeletePrefixOp):
                    self.copies.wrote_all()
                else:
                    self.copies.wrote(operation.keys)
        elif isinstance(operation, GetOp) and operation.meta:
            self._saw(operation)

    def _keep(self, operation: WatchOp) -> None:
        keys, datas, flags = operation.keys, operation.datas, operation.flags
        began, ticket, copies = operation.began, operation.ticket, self.copies
        with self._lock:
            for index, node, stint, seq, version, ttl in operation.kept:
                data, expires = datas[index], FOREVER if ttl is None else began + ttl
                if data is not None:
                    copies.keep(Read(node, stint, seq, keys[index], data, flags[index], version,
                                     expires, ticket))  # fmt: skip

    def _saw(self, operation: GetOp) -> None:
        with self._lock:
            for index, key in enumerate(operation.keys):
                found = operation.found(index)
                self.copies.saw(key, found.version if found else 0)

    # --- looking --------------------------------------------------------------------------------

    def figures(self) -> NearFigures:
        copies, feed = self.copies, self._feed
        audited, stale = (feed.audited, feed.stale) if feed is not None else (0, 0)
        return NearFigures(copies.hits, self.misses, len(copies), copies.told, copies.resets,
                           audited, stale)  # fmt: skip

    def sample(self, count: int) -> list[tuple[bytes, int, str]]:
        """Some of the copies that may be served now: wire keys, versions, nodes."""
        self._leave_parent()
        with self._lock:
            copies = list(self.copies.copies(time.monotonic()))
        return random.sample(copies, min(count, len(copies)))


class _Around:
    __slots__ = ("_near", "_operation")

    def __init__(self, near: Near, operation: Operation) -> None:
        self._near, self._operation = near, operation

    def __enter__(self) -> None:
        self._near.begin(self._operation)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._near.end(self._operation)


def _stop_in(pid: int, feed: NearFeed) -> None:
    if os.getpid() == pid:
        feed.stop()
