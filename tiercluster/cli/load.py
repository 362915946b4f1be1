"""One worker of the load generator: it reads through a cache, as an application does.

A read that misses is followed by a write of the value, which would have come from a database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tiercluster.cluster.errors import TierclusterError

from .latencies import Latencies
from .session import ClientDoor
from .workload import value_of


@dataclass(slots=True)
class Tally:
    """What one worker saw. ``wrong``: values that are not those of their key; must be 0."""

    hits: int = 0
    misses: int = 0
    writes: int = 0
    not_stored: int = 0
    errors: int = 0
    wrong: int = 0
    last_error: str = ""
    reads_took: Latencies = field(default_factory=Latencies)
    writes_took: Latencies = field(default_factory=Latencies)

    def add(self, other: Tally) -> None:
        for name in ("hits", "misses", "writes", "not_stored", "errors", "wrong"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.last_error = other.last_error or self.last_error
        self.reads_took.merge(other.reads_took)
        self.writes_took.merge(other.writes_took)

    @property
    def operations(self) -> int:
        """Keys read and keys written."""
        return self.hits + self.misses + self.writes


@dataclass(frozen=True, slots=True)
class Work:
    """How a worker works. ``is_over`` is asked before each batch; ``write`` says whether it is
    written at once instead of read first."""

    value_size: int
    ttl_s: float | None
    clock: Callable[[], float]
    is_over: Callable[[], bool]
    write: Callable[[], bool]


def play(client: ClientDoor, batches: Iterable[list[str]], work: Work) -> Tally:
    """Play batches of keys until they end or it is over."""
    tally = Tally()
    for keys in batches:
        if work.is_over():
            break
        try:
            _write(client, keys, work, tally) if work.write() else _read(client, keys, work, tally)
        except TierclusterError as error:
            tally.errors += 1
            tally.last_error = f"{type(error).__name__}: {error}"
    return tally


def _read(client: ClientDoor, keys: list[str], work: Work, tally: Tally) -> None:
    began = work.clock()
    found: dict[str, Any] = (
        client.get_many(keys) if len(keys) > 1 else _single(client.get(keys[0], None), keys[0])
    )
    tally.reads_took.record(work.clock() - began)
    missing = [key for key in keys if key not in found]
    tally.misses += len(missing)
    tally.hits += len(keys) - len(missing)
    tally.wrong += sum(not _is_right(key, value) for key, value in found.items())
    if missing:
        _write(client, list(dict.fromkeys(missing)), work, tally)


def _is_right(key: str, value: Any) -> bool:
    return isinstance(value, bytes) and value == value_of(key, len(value))


def _single(value: Any, key: str) -> dict[str, Any]:
    return {} if value is None else {key: value}


def _write(client: ClientDoor, keys: list[str], work: Work, tally: Tally) -> None:
    values = {key: value_of(key, work.value_size) for key in keys}
    began = work.clock()
    if len(values) > 1:
        refused = len(client.set_many(values, ttl=work.ttl_s))
    else:
        refused = sum(not client.set(key, value, ttl=work.ttl_s) for key, value in values.items())
    tally.writes_took.record(work.clock() - began)
    tally.writes += len(values)
    tally.not_stored += refused
