"""What a scenario plays on: a network, a cluster, its clients, and instruments put into them."""

from __future__ import annotations

import random
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.harness.process import NodeProcess, environment
from tests.harness.traffic import value_number
from tiercluster import Client

from .cluster import LabCluster
from .network import Bridge, Network
from .records import Call, ClientHistory, ClientPlan

CLIENT_READY_S, CLIENT_STOP_S, METRICS_S = 180.0, 30.0, 5.0
MUST_BE_ZERO = (
    "digest_mismatches", "raft_digest_mismatches", "raft_failed_frames", "copies_stale",
)  # fmt: skip
T = TypeVar("T")
SHARED_KEYS, COUNTERS, LOOK_AT_ONCE = 24, 16, 50


@dataclass(frozen=True, slots=True)
class Load:
    """What clients do. ``keys`` and ``threads`` are those of one client; it has as many threads for
    keys of its own as for those that all write."""

    keys: int = 100
    value_bytes: int = 200
    threads: int = 2
    pause_s: float = 0.008
    timeout_s: float = 0.5
    sizes: tuple[tuple[str, str], ...] = (("hot", "8MiB"), ("warm", "8MiB"), ("cold", "64MiB"))


LIGHT = Load()
# what a node's memory tiers hold is a tenth of it, so that most of it is on disk; and its cold
# store is larger than the page cache of SQLite, or a disk that fails reads would not be noticed
ON_DISK = Load(
    keys=700, value_bytes=16_000, sizes=(("hot", "1MiB"), ("warm", "1MiB"), ("cold", "64MiB"))
)


@dataclass(slots=True)
class Stage:
    """``victim``: the node that the seed chose, for faults of one node. Client ci is the one that
    stays on the side of node ni when the network is split."""

    cluster: LabCluster
    network: Network
    rng: random.Random
    directory: Path
    victim: str = ""
    _instruments: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.victim = self.rng.choice(self.cluster.ids)

    def put(self, name: str, instrument: object) -> None:
        """Keeps what a preparation made for the fault that uses it."""
        self._instruments[name] = instrument

    def get(self, name: str, kind: type[T]) -> T:
        instrument = self._instruments[name]
        assert isinstance(instrument, kind)
        return instrument

    @property
    def clients(self) -> list[str]:
        return [client_of(node) for node in self.cluster.ids]

    def others(self, *nodes: str) -> list[str]:
        return [node for node in self.cluster.ids if node not in nodes]

    def client(self) -> Client:
        """The operator's, that is never cut off."""
        keys = self.cluster.client_keys
        return Client(self.cluster.addresses, keys=keys, on_error="miss")


Fault = Callable[[Stage], AbstractContextManager[frozenset[str]]]  # yields the clients cut off


def nothing(_: Stage) -> None:
    """No preparation."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """``prepare`` is called before the nodes start, ``fault`` while clients work; it holds for
    ``hold_s``, and within ``back_s`` of its end all must be as before. ``is_excused``: what the
    cut-off clients are told is the exception that the documentation makes."""

    name: str
    fault: Fault
    prepare: Callable[[Stage], None] = nothing
    nodes: int = 3
    network: type[Network] = Bridge
    load: Load = LIGHT
    flags: tuple[str, ...] = ()
    hold_s: float = 5.0
    back_s: float = 30.0
    is_excused: bool = False
    env: tuple[tuple[str, str], ...] = field(default=())


def client_of(node: str) -> str:
    return f"c{node[1:]}"


def own_keys(client: str, load: Load) -> tuple[str, ...]:
    return tuple(f"{client}/{i}" for i in range(load.keys))


class Clients:
    """One process on each client host."""

    def __init__(self, stage: Stage, load: Load, seed: int) -> None:
        self._stage = stage
        self.all_own = [key for name in stage.clients for key in own_keys(name, load)]
        plans = [self._plan(name, load, seed) for name in stage.clients]
        self._plans = plans
        self._processes = [self._start(plan) for plan in plans]
        for process in self._processes:
            process.wait_ready(CLIENT_READY_S)

    def _plan(self, name: str, load: Load, seed: int) -> ClientPlan:
        return ClientPlan(
            name=name,
            nodes=self._stage.cluster.addresses,
            keys=str(self._stage.cluster.client_keys),
            out=str(self._stage.directory / f"{name}.history"),
            seed=seed,
            own=own_keys(name, load),
            all_own=tuple(self.all_own),
            shared=tuple(f"s{i}" for i in range(SHARED_KEYS)),
            counters=tuple(f"n{i}" for i in range(COUNTERS)),
            value_bytes=load.value_bytes,
            threads=load.threads,
            pause_s=load.pause_s,
            timeout_s=load.timeout_s,
        )

    def _start(self, plan: ClientPlan) -> NodeProcess:
        path = self._stage.directory / f"{plan.name}.plan"
        plan.save(path)
        command = [sys.executable, "-m", "tests.harness.lab.client_process", str(path)]
        log = self._stage.directory / plan.name
        return NodeProcess([*self._stage.network.entry(plan.name), *command], log, environment())

    def stop(self) -> list[ClientHistory]:
        """What each recorded. AssertionError if one failed by an error that no client may raise."""
        for process, plan in zip(self._processes, self._plans, strict=True):
            code = process.stop(CLIENT_STOP_S)
            assert code == 0, f"{plan.name} ended with {code}:\n{process.tail()}"
        return [ClientHistory.load(Path(plan.out)) for plan in self._plans]


def last_look(stage: Stage, keys: Sequence[str]) -> ClientHistory:
    """Every key, read once by the operator when all is over."""
    seen = ClientHistory("operator")
    with stage.client() as client:
        for first in range(0, len(keys), LOOK_AT_ONCE):
            some = keys[first : first + LOOK_AT_ONCE]
            start = time.monotonic()
            found = client.get_many(some)
            end = time.monotonic()
            numbers = {key: value_number(found.get(key)) for key in some}
            seen.calls += [Call(k, "r", n, start, end, "", True) for k, n in numbers.items()]
    return seen


def complaints(cluster: LabCluster) -> list[str]:
    """What must never happen, as the nodes count and log it."""
    found = []
    for node in cluster.ids:
        found += [f"{node} counts {line}" for line in _alarms(cluster, node)]
        found += [f"{node} logged a traceback"] * ("Traceback" in cluster.log(node))
    return found


def _alarms(cluster: LabCluster, node: str) -> list[str]:
    url = f"http://{cluster.host(node)}:{cluster.ports[node].http}/metrics"
    with urllib.request.urlopen(url, timeout=METRICS_S) as answer:
        lines = answer.read().decode().splitlines()
    alarming = [f'kind="{kind}"' for kind in MUST_BE_ZERO]
    counted = [line for line in lines if any(kind in line for kind in alarming)]
    return [line for line in counted if float(line.split()[-1]) != 0]
