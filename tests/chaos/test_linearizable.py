"""Clients that set, get, compare-and-set and delete a few keys while nodes are killed and frozen:
what they were told must be explained by one order of all calls, forgetting allowed."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.harness.cluster import ClusterUnderTest
from tests.harness.figures import report
from tests.harness.history import History, Recorder
from tiercluster import Client

CLIENTS, KEYS = 4, 8
PAUSE_S = 0.003


class Worker(threading.Thread):
    """One client; its values are unique."""

    def __init__(
        self, addresses: str, recorder: Recorder, stop: threading.Event, seed: int
    ) -> None:
        super().__init__(daemon=True)
        self._client = Client(addresses, timeout=1.0)
        self._recorder, self._stop_asked = recorder, stop
        self._rng = random.Random(f"{seed}/{recorder.client}")
        self._count = 0

    def run(self) -> None:
        with self._client as client:
            while not self._stop_asked.is_set():
                self._step(client, f"key{self._rng.randrange(KEYS)}")
                time.sleep(PAUSE_S)

    def _step(self, client: Client, key: str) -> None:
        self._count += 1
        new = f"{self._recorder.client}.{self._count}"
        record = self._recorder.record
        match self._rng.choices("rwcd", (5, 4, 2, 1))[0]:
            case "r":
                record(key, "r", None, lambda: client.get(key))
            case "w":
                record(key, "w", new, lambda: _stored(client.set(key, new)))
            case "d":
                record(key, "d", None, lambda: client.delete(key))
            case _:
                self._compare_and_set(client, key, new)

    def _compare_and_set(self, client: Client, key: str, new: str) -> None:
        item: Any = self._recorder.record(key, "r", None, lambda: _item(client, key))
        if item is not None:
            old = (item.value, new)
            self._recorder.record(key, "c", old, lambda: client.cas(key, new, item.version))


class Read(str):
    """A value read by gets, which compares as the value and knows its version."""

    version: int
    value: str


def _item(client: Client, key: str) -> Read | None:
    item = client.gets(key)
    if item is None:
        return None
    read = Read(item.value)
    read.value, read.version = item.value, item.version
    return read


def _stored(done: bool) -> bool:
    """A write that was refused may or may not have left the old value: unknown."""
    if not done:
        raise RuntimeError("not stored")
    return True


def nemesis(cluster: ClusterUnderTest, rng: random.Random) -> str:
    victim = rng.choice(cluster.ids)
    if rng.random() < 0.5:
        cluster.kill(victim)
        time.sleep(rng.uniform(0.5, 2.0))
        cluster.restart(victim)
        return "kill"
    cluster.freeze(victim)
    time.sleep(rng.uniform(0.2, 2.5))
    cluster.thaw(victim)
    time.sleep(0.5)
    return "freeze"


def run(tmp_path: Path, seed: int, seconds: float, scenario: str) -> None:
    history, stop, rng = History(), threading.Event(), random.Random(seed)
    with ClusterUnderTest(tmp_path) as cluster:
        workers = [
            Worker(cluster.addresses, history.recorder(), stop, seed) for _ in range(CLIENTS)
        ]
        for worker in workers:
            worker.start()
        until, done = time.monotonic() + seconds, list[str]()
        time.sleep(1.0)
        while time.monotonic() < until:
            done.append(nemesis(cluster, rng))
            cluster.wait_state(rng.choice(cluster.ids), "UP")
        stop.set()
        for worker in workers:
            worker.join()
    ops = history.ops()
    clash = history.clash()
    report(
        scenario, seed=seed, operations=len(ops), kills=done.count("kill"),
        freezes=done.count("freeze"), unknown=sum(o.ret == float("inf") for o in ops),
        linearizable=clash is None,
    )  # fmt: skip
    assert clash is None, clash
    assert sum(o.f == "r" and o.out is not None for o in ops) > len(ops) / 10


def test_one_fault_at_a_time_leaves_a_history_that_one_order_explains(tmp_path: Path) -> None:
    run(tmp_path, 1, 5.0, "linearizable_fast")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
def test_a_minute_of_faults_leaves_a_history_that_one_order_explains(
    tmp_path: Path, seed: int
) -> None:
    run(tmp_path, seed, 60.0, "linearizable")
