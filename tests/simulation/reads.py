"""Looks on while a shard reads from its tiers: each read is judged at the moment it is made.

An answer may come long after: a batch waits for its slowest key, and may answer with what it read
before the map changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tiercluster.cluster.wire import Get
from tiercluster.node.effects import Origin
from tiercluster.node.entry import HOT, Entry
from tiercluster.node.front import Front

Judge = Callable[[int], None]  # told the place (`node/entry.py`) that was read from


def watch_reads(front: Front, judge: Judge) -> None:
    """``judge`` is called with every read whose value may be used."""
    shard: Any = front
    shard = shard._shard
    _watch_memory(shard._holdings, judge)
    _watch_shortest_way(shard._read, judge)
    _watch_below(shard._reads, judge)


def _watch_memory(holdings: Any, judge: Judge) -> None:
    original = holdings.read_memory

    def read_memory(entry: Entry, now: float) -> bytes | None:
        judge(entry.place)
        value: bytes | None = original(entry, now)
        return value

    holdings.read_memory = read_memory


def _watch_shortest_way(verbs: Any, judge: Judge) -> None:
    """A GET without meta takes values out of hot by itself, and counts them."""
    original = verbs.get

    def get(asked: Get, slots: Sequence[int], origin: Origin, now: float) -> Any:
        before = verbs.hits[HOT]
        answered = original(asked, slots, origin, now)
        if verbs.hits[HOT] > before:
            judge(HOT)
        return answered

    verbs.get = get


def _watch_below(reads: Any, judge: Judge) -> None:
    """Of cold, ours or another's: the moment at which the value arrives and is used."""
    original = reads._tell

    def tell(read: Any, value: bytes | None, failed: bool, now: float) -> None:
        if value is not None:
            judge(read.entry.place)
        original(read, value, failed, now)

    reads._tell = tell
