"""The demo's clients: players that replay a key trace through the cache, and one auditor.

A player asks for a key; on a miss it loads the row from the database and stores it. One request in
UPDATE_EACH changes its row first. The auditor only reads what others wrote, by a client of its own.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tiercluster.cluster.client import Client
from tiercluster.cluster.errors import TierclusterError

from .demo_ledger import PHASES, Database, Tally

UPDATE_EACH = 40  # requests
REQUEST_S = 0.001  # each player's pace: the demo shows a cluster, not a saturated laptop
STORE_TRIES = 20
TRY_AGAIN_S = 0.05
TIMEOUT_S = 2.0  # of one call, its retries included


@dataclass(slots=True)
class Stage:
    """What the thread of the demo tells its clients. Only that thread writes it; ``watched`` is a
    key whose work in the tier ``ref`` its owner does."""

    phase: str = PHASES[0]
    watched: str = ""
    ref: str = ""
    stopped: threading.Event = field(default_factory=threading.Event)


class Worker(threading.Thread):
    """One client in a thread of its own. ``routed_at`` is when it first saw work routed around the
    broken tier, monotonic seconds."""

    def __init__(self, name: str, addresses: str, database: Database, stage: Stage) -> None:
        super().__init__(name=name, daemon=True)
        self._database, self._stage = database, stage
        self._client = Client(addresses, timeout=TIMEOUT_S)
        self.tallies = {phase: Tally() for phase in PHASES}
        self.routed_at: float | None = None
        self.errors: list[str] = []
        self.is_through = True  # with its share of the trace, at least once

    def run(self) -> None:
        due = time.monotonic()
        try:
            for key in self.keys():
                if self._stage.stopped.is_set():
                    return
                self.request(key, self.tallies[self._stage.phase])
                self._notice_route()
                due = max(due + REQUEST_S, time.monotonic() - REQUEST_S)
                time.sleep(max(0.0, due - time.monotonic()))
        finally:
            self._client.close()

    def keys(self) -> Any:
        raise NotImplementedError

    def request(self, key: str, tally: Tally) -> None:
        raise NotImplementedError

    def read(self, key: str, tally: Tally) -> Any:
        """The value or None, judged and counted."""
        floor = self._database.floor(key)
        began = time.perf_counter()
        value = self._tried(lambda: self._client.get(key))
        tally.seconds.append(time.perf_counter() - began)
        tally.reads += 1
        if isinstance(value, TierclusterError):
            tally.failed_reads += 1
            return None
        if value is not None:
            tally.hits += 1
            tally.stale_reads += self._database.is_stale(key, floor, value)
        return value

    def _tried(self, call: Callable[[], Any]) -> Any:
        """What the call returned, or the error it raised."""
        try:
            return call()
        except TierclusterError as error:
            if not self.errors:
                self.errors.append(f"{type(error).__name__}: {error}")
            return error

    def _notice_route(self) -> None:
        stage = self._stage
        if self.routed_at is not None or not stage.watched:
            return
        if self._client.explain(stage.watched).tiers.get("cold") != stage.ref:
            self.routed_at = time.monotonic()


class Player(Worker):
    """Replays its share of the trace, over and over."""

    def __init__(
        self, name: str, addresses: str, database: Database, stage: Stage, share: Sequence[str]
    ) -> None:
        super().__init__(name, addresses, database, stage)
        self._share = share
        self._count = 0
        self.is_through = not share

    def keys(self) -> Any:
        return itertools.cycle(self._share)

    def request(self, key: str, tally: Tally) -> None:
        self._count += 1
        self.is_through |= self._count > len(self._share)
        if self._count % UPDATE_EACH == 0:
            self._store(key, self._database.update(key), tally)
        if self.read(key, tally) is None:
            self._store(key, self._database.load(key), tally)

    def _store(self, key: str, value: Any, tally: Tally) -> None:
        """As an application that minds: what could not be stored is tried again, since the cache
        may still hold the row as it was."""
        for _ in range(STORE_TRIES):
            tally.writes += 1
            stored = self._tried(lambda: self._client.set(key, value) or self._dropped(key))
            if stored is True:
                self._database.acknowledge(key, value[0])
                return
            tally.failed_writes += 1
            time.sleep(TRY_AGAIN_S)

    def _dropped(self, key: str) -> bool:
        """A cache may refuse to store; then the old value must go."""
        self._client.delete(key)
        return True


class Auditor(Worker):
    """Reads keys of all players at random."""

    def __init__(
        self, name: str, addresses: str, database: Database, stage: Stage, keys: Sequence[str]
    ) -> None:
        super().__init__(name, addresses, database, stage)
        self._keys = keys
        self._rng = random.Random(7)

    def keys(self) -> Any:
        while True:
            yield self._rng.choice(self._keys)

    def request(self, key: str, tally: Tally) -> None:
        self.read(key, tally)
