"""The checked traffic of a game day: clients that write and read, and note when and what.

    Writer      is the only one who writes its keys: 1, 2, 3, ...; deletes some; reads all
    Contender   writes keys that others write too, each value once; reads them
    Reader      only reads what writers write
    LowReader   reads what a lower tier holds, from the moment of the fault on

Each is a thread with a client of its own, as applications are processes of their own.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tiercluster.checks import INF, Op
from tiercluster.cluster.errors import TierclusterError

from .clients import open_client
from .session import ClientDoor, Session

PACE_S = 0.01  # of one client: a game day watches a cluster, it does not load it
AGAIN_S = 0.02  # after a write that failed
TIMEOUT_S = 1.0  # of one call: the client's own default
TTL_S = 900.0  # of every value, should the clean-up not come to it
WRITES, DELETES = 0.4, 0.05


@dataclass(frozen=True, slots=True)
class Trouble:
    """A call that raised, ``at`` when (monotonic seconds)."""

    at: float
    is_read: bool
    kind: str
    text: str


@dataclass(slots=True)
class Diary:
    """What one client asked and was told. ``versions``: when it first knew of a map version."""

    ops: list[Op] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    versions: list[tuple[float, int]] = field(default_factory=list)

    def knew(self, version: int) -> float | None:
        """Since when it knew of this map or a newer one; None: it did not."""
        return next((at for at, known in self.versions if known >= version), None)


class Worker(threading.Thread):
    """One client. ``problem`` is what ended it, if anything did."""

    def __init__(self, session: Session, namespace: str, seed: int) -> None:
        super().__init__(name=f"{type(self).__name__}-{seed}".lower(), daemon=True)
        self._session, self._namespace = session, namespace
        self._number = seed
        self._rng = random.Random(seed)
        self._stopping = threading.Event()
        self.diary = Diary()
        self.problem = ""

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        try:
            with open_client(self._session, self._namespace, TIMEOUT_S) as client:
                while not self._stopping.wait(self._rng.uniform(0.5, 1.5) * PACE_S):
                    self.step(client)
                    self._note_version(client)
        except Exception as error:  # noqa: BLE001 - told in the report, which fails by it
            self.problem = f"{type(error).__name__}: {error}"

    def step(self, client: ClientDoor) -> None:
        raise NotImplementedError

    def _note_version(self, client: ClientDoor) -> None:
        version, versions = client.stats().map_version, self.diary.versions
        if not versions or version > versions[-1][1]:
            versions.append((time.monotonic(), version))

    def call(self, key: str, f: str, arg: Any, make: Callable[[], Any]) -> bool:
        """Make the call and note it; False if it failed, so that nobody knows whether it took
        effect."""
        began = time.monotonic()
        try:
            out = make()
        except TierclusterError as error:
            now = time.monotonic()
            text = f"{type(error).__name__}: {error}"
            self.diary.troubles.append(Trouble(now, f == "r", type(error).__name__, text))
            self.diary.ops.append(Op(self._number, key, f, arg, None, began, INF))
            return False
        is_known = f != "w" or out is True  # what was not stored may be gone, or as it was
        ended = time.monotonic() if is_known else INF
        self.diary.ops.append(Op(self._number, key, f, arg, out, began, ended))
        return is_known


def number_in(value: Any) -> int | None:
    """The number in a value that a Writer wrote; None for a miss."""
    return None if value is None else int(value[0])


class Writer(Worker):
    """``numbers`` is what its keys are at; it goes on from there and leaves there what it did.
    ``refills``: it writes what it misses, as an application fills its cache; not with ``others``,
    which are not its own to write."""

    def __init__(
        self, session: Session, namespace: str, seed: int, *,
        numbers: dict[str, int], others: Sequence[str] = (), size: int = 100,
        writes: float = WRITES, deletes: float = DELETES, refills: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(session, namespace, seed)
        self._numbers = numbers
        self._own = list(numbers)
        self._all = [*self._own, *others]
        self._pad = self._rng.randbytes(size)  # that nobody can compress
        self._writes, self._deletes, self._refills = writes, deletes, refills

    def step(self, client: ClientDoor) -> None:
        dice = self._rng.random()
        if dice < self._deletes:
            self._until_done(client, self._rng.choice(self._own), self._delete_next)
        elif dice < self._deletes + self._writes:
            self._until_done(client, self._rng.choice(self._own), self._write_next)
        else:
            self._read(client, self._rng.choice(self._all))

    def _read(self, client: ClientDoor, key: str) -> None:
        is_known = self.call(key, "r", None, lambda: number_in(client.get(key)))
        if self._refills and is_known and self.diary.ops[-1].out is None:
            self._until_done(client, key, self._write_next)

    def _until_done(
        self, client: ClientDoor, key: str, act: Callable[[ClientDoor, str], bool]
    ) -> None:
        """Again and again, so that it is seen for how long the key's writes are refused."""
        while not act(client, key) and not self._stopping.wait(AGAIN_S):
            self._note_version(client)

    def _write_next(self, client: ClientDoor, key: str) -> bool:
        number = self._next(key)
        return self.call(key, "w", number, lambda: client.set(key, [number, self._pad], TTL_S))

    def _delete_next(self, client: ClientDoor, key: str) -> bool:
        number = self._next(key)
        return self.call(key, "d", number, lambda: client.delete(key))

    def _next(self, key: str) -> int:
        self._numbers[key] += 1
        return self._numbers[key]


class Contender(Worker):
    """One of several writers of the same keys."""

    def __init__(self, session: Session, namespace: str, seed: int, keys: Sequence[str]) -> None:
        super().__init__(session, namespace, seed)
        self._keys = keys
        self._count = 0

    def step(self, client: ClientDoor) -> None:
        key = self._rng.choice(self._keys)
        if self._rng.random() >= WRITES:
            self.call(key, "r", None, lambda: client.get(key))
            return
        self._count += 1
        value = f"{self.name}-{self._count}"
        self.call(key, "w", value, lambda: client.set(key, value, TTL_S))


class Reader(Worker):
    """Reads what writers write."""

    def __init__(self, session: Session, namespace: str, seed: int, keys: Sequence[str]) -> None:
        super().__init__(session, namespace, seed)
        self._keys = keys

    def step(self, client: ClientDoor) -> None:
        self.read(client, self._rng.choice(self._keys))

    def read(self, client: ClientDoor, key: str) -> None:
        self.call(key, "r", None, lambda: number_in(client.get(key)))


class LowReader(Reader):
    """Goes through its keys again and again, but not before ``begun``: what is read often moves up
    into a faster tier, and the one that is meant would have no work when it fails."""

    def __init__(
        self, session: Session, namespace: str, seed: int, keys: Sequence[str],
        begun: threading.Event,
    ) -> None:  # fmt: skip
        super().__init__(session, namespace, seed, keys)
        self._begun = begun
        self._next_keys = itertools.cycle(keys)

    def step(self, client: ClientDoor) -> None:
        if self._begun.is_set():
            self.read(client, next(self._next_keys))
