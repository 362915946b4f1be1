"""Reads and writes from several threads, each with a client of its own, judged as they go.

with Traffic(cluster.addresses, keys) as traffic:
    cluster.kill("n2")
assert traffic.oracle.is_kept and not traffic.errors
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

from tiercluster import Client

from .crew import Crew
from .promise import Oracle

MAX_KEPT_ERRORS = 50


class Outcome(StrEnum):
    HIT = "hit"
    MISS = "miss"
    STORED = "stored"
    NOT_STORED = "not stored"
    RAISED = "raised"


@dataclass(frozen=True, slots=True)
class Sample:
    """One call: when it began (monotonic seconds), how long it took."""

    at: float
    key: str
    is_read: bool
    seconds: float
    outcome: Outcome


@dataclass(slots=True)
class Plan:
    """What the traffic is like; ``pause_s`` between two calls of one thread."""

    threads: int = 2
    writes: float = 0.3
    deletes: float = 0.02
    pause_s: float = 0.002
    size: int = 200
    seed: int = 1
    client: dict[str, Any] = field(default_factory=lambda: {"on_error": "miss", "timeout": 1.0})


class Traffic(Crew):
    """Each key is written by one thread and read by all."""

    def __init__(
        self,
        addresses: str,
        keys: Sequence[str],
        plan: Plan | None = None,
        oracle: Oracle | None = None,
    ) -> None:
        self.plan, self.keys, self._addresses = plan or Plan(), list(keys), addresses
        self.oracle = oracle or Oracle()
        self.errors: list[Exception] = []
        self._samples: list[list[Sample]] = [[] for _ in range(self.plan.threads)]
        super().__init__(*[partial(self._run, i) for i in range(self.plan.threads)])

    @property
    def samples(self) -> list[Sample]:
        """All calls, by the time they began."""
        return sorted((s for own in self._samples for s in own), key=lambda s: s.at)

    def seconds(self, keys: Iterable[str], since: float, until: float) -> list[float]:
        """Durations of the reads of these keys that began in this time."""
        wanted = set(keys)
        return [
            s.seconds
            for s in self.samples
            if s.is_read and since <= s.at < until and s.key in wanted
        ]

    def _run(self, number: int) -> None:
        rng = random.Random(f"{self.plan.seed}/{number}")
        own = self.keys[number :: self.plan.threads]
        with_client = Client(self._addresses, **self.plan.client)
        try:
            while not self.over.is_set():
                self._step(with_client, number, rng, own)
                # paced, so that latency is the cluster's and not the queue of our own thread
                time.sleep(self.plan.pause_s * rng.uniform(0.5, 1.5))
        finally:
            with_client.close()

    def _step(self, client: Client, number: int, rng: random.Random, own: list[str]) -> None:
        dice = rng.random()
        if dice < self.plan.deletes:
            self._timed(number, rng.choice(own), False, lambda key: self._delete(client, key))
        elif dice < self.plan.deletes + self.plan.writes:
            self._timed(number, rng.choice(own), False, lambda key: self._write(client, key))
        else:
            self._timed(number, rng.choice(self.keys), True, lambda key: self._read(client, key))

    def _timed(self, number: int, key: str, is_read: bool, call: Callable[[str], Outcome]) -> None:
        began = time.monotonic()
        try:
            outcome = call(key)
        except Exception as error:  # noqa: BLE001 - any kind is what the test asks about
            outcome = Outcome.RAISED
            if len(self.errors) < MAX_KEPT_ERRORS:
                self.errors.append(error)
        took = time.monotonic() - began
        self._samples[number].append(Sample(began, key, is_read, took, outcome))

    def _write(self, client: Client, key: str) -> Outcome:
        stored = write(client, self.oracle, key, self.plan.size)
        return Outcome.STORED if stored else Outcome.NOT_STORED

    def _delete(self, client: Client, key: str) -> Outcome:
        number = self.oracle.begin(key)
        if client.delete(key):
            self.oracle.acknowledge(key, number, deleted=True)
            return Outcome.STORED
        return Outcome.NOT_STORED  # with on_error="miss" also: nobody answered

    def _read(self, client: Client, key: str) -> Outcome:
        value = read(client, self.oracle, key)
        return Outcome.MISS if value is None else Outcome.HIT


def write(client: Client, oracle: Oracle, key: str, size: int = 200) -> bool:
    """The next number of the key; whether it was acknowledged."""
    number = oracle.begin(key)
    if client.set(key, [number, "x" * size]):
        oracle.acknowledge(key, number)
        return True
    return False


def read(client: Client, oracle: Oracle, key: str) -> int | None:
    """The number found, judged; None is a miss."""
    floor = oracle.floor(key)
    number = value_number(client.get(key))
    oracle.judge(key, floor, number)
    return number


def read_all(client: Client, oracle: Oracle, keys: Sequence[str]) -> int:
    """Every key by get_many, judged; how many were there."""
    floors = {key: oracle.floor(key) for key in keys}
    found = client.get_many(keys)
    for key in keys:
        oracle.judge(key, floors[key], value_number(found.get(key)))
    return len(found)


def value_number(value: Any) -> int | None:
    """The number in a stored value; None for a miss."""
    return None if value is None else int(value[0])


def owned_by(client: Client, node: str, count: int, prefix: str = "k") -> list[str]:
    """Keys whose owner is this node now."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        key = f"{prefix}{number}"
        number += 1
        if client.explain(key).owner == node:
            found.append(key)
    return found
