"""A cluster in memory that fails over when it is told to fail, and clients of one dict."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from tiercluster.cli.session import Session
from tiercluster.cluster.errors import Unavailable
from tiercluster.tiermap import Command, TierMap, TierRecovered, TierRef

from .fakes import FakeAdmin, FakeCluster, failed, joined, stopped


@dataclass
class Rehearsal:
    """``fails_over``, ``recovers``: whether what is hit goes out and comes back. ``on_get`` may
    change what a read returns; ``refuses_writes`` fails them while anything is out."""

    cluster: FakeCluster = field(default_factory=FakeCluster)
    store: dict[str, Any] = field(default_factory=dict)
    fails_over: bool = True
    recovers: bool = True
    refuses_writes: bool = False
    on_get: Callable[[str, Any], Any] = lambda key, value: value
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_out(self) -> bool:
        return len(self.cluster.later) > 0

    def session(self) -> Session:
        @contextmanager
        def admin(_: Session) -> Iterator[_Admin]:
            yield _Admin(self)

        @contextmanager
        def client(_s: Session, _n: str, _t: float) -> Iterator[_Client]:
            yield _Client(self)

        return replace(Session(), make_admin=admin, make_client=client)

    def hit(self, down: Command, up: Command) -> None:
        with self.lock:
            version = self.cluster.map.version  # no command counts twice
            if self.fails_over:
                self.cluster.apply(replace(down, id=f"{down.id}@{version}"))
            if self.fails_over and self.recovers:
                self.cluster.later = [replace(up, id=f"{up.id}@{version}")]

    def over(self) -> None:
        with self.lock:
            for command in self.cluster.later:
                self.cluster.apply(command)
            self.cluster.later = []


class _Admin(FakeAdmin):
    def __init__(self, world: Rehearsal) -> None:
        super().__init__(world.cluster)
        self._world = world

    def fault(
        self, node: str, tier: str, kind: str, ms: float, rate: float, for_ms: float = 0.0
    ) -> None:
        super().fault(node, tier, kind, ms, rate, for_ms)
        if not kind:
            self._world.over()
            return
        ref = TierRef.parse(f"{node}/{tier}")
        generation = self._world.cluster.map.record(ref).generation  # type: ignore[union-attr]
        up = TierRecovered(id="up", by=node, ref=ref, generation=generation, keep=True)
        self._world.hit(failed(str(ref), generation), up)

    def node_fault(
        self, node: str, kind: str, for_ms: float = 0.0, peers: Iterable[str] = ()
    ) -> None:
        super().node_fault(node, kind, for_ms, peers)
        now = self._world.cluster.map.member(node).incarnation  # type: ignore[union-attr]
        back = replace(joined(node), id="back", expected=now, incarnation=f"{now}+")
        self._world.hit(replace(stopped(node), incarnation=now), back)
        self._world.over()

    def watch(self, version: int, timeout: float) -> TierMap:
        threading.Event().wait(0.002)
        return self._world.cluster.map


class _Client:
    def __init__(self, world: Rehearsal) -> None:
        self._world = world

    def _check(self) -> None:
        if self._world.refuses_writes and self._world.is_out:
            raise Unavailable("n2 is out")

    def get(self, key: str, default: Any = None) -> Any:
        return self._world.on_get(key, self._world.store.get(key, default))

    def gets(self, key: str) -> Any:
        value = self._world.store.get(key)
        return None if value is None else SimpleNamespace(tier="cold", value=value)

    def set(self, key: str, value: Any, ttl: float | None = None) -> bool:
        self._check()
        self._world.store[key] = value
        return True

    def set_many(self, mapping: dict[str, Any], ttl: float | None = None) -> list[str]:
        self._world.store.update(mapping)
        return []

    def delete(self, key: str) -> bool:
        self._check()
        return self._world.store.pop(key, None) is not None

    def clear(self) -> int:
        count = len(self._world.store)
        self._world.store.clear()
        return count

    def stats(self) -> Any:
        return SimpleNamespace(map_version=self._world.cluster.map.version)
