"""Near copies while nodes are killed, frozen, cut off and drained: how old is what they serve?

Whatever happens, no copy may be served longer than a lease after its key was written anew, and
after a failover not even that: a copy ends with the lease of the node that it was read from.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.ages import Ages
from tests.harness.cluster import ClusterUnderTest, wait_until
from tests.harness.crew import Crew
from tests.harness.figures import percentile, report
from tests.harness.process import NodeProcess, environment
from tests.harness.traffic import value_number
from tiercluster import Client
from tiercluster.cluster.views import Stats
from tiercluster.node.announcer import NEAR_LEASE_S

KEYS = [f"near{i}" for i in range(30)]
PAUSE_S = 0.002


class NearTraffic(Crew):
    """One thread writes all keys in turn, two read them through a near cache each."""

    def __init__(self, addresses: str) -> None:
        self.ages = Ages()
        self.read: list[tuple[str, float, int]] = []
        self.stats: list[Stats] = []
        self.errors: list[Exception] = []
        self._addresses = addresses
        super().__init__(self._write, self._read, self._read)

    def _write(self) -> None:
        with Client(self._addresses, on_error="miss") as client:
            number = 0
            while not self.over.is_set():
                for key in KEYS:
                    number += 1
                    if client.set(key, [number]):
                        self.ages.acknowledge(key, number, time.monotonic())
                    time.sleep(PAUSE_S)

    def _read(self) -> None:
        rng = random.Random(threading.get_ident())
        with Client(self._addresses, on_error="miss", near_cache=100) as client:
            while not self.over.is_set():
                for key in rng.choices(KEYS, k=20):
                    started = time.monotonic()
                    number = value_number(client.get(key))
                    if number is not None:
                        self.read.append((key, started, number))
                time.sleep(PAUSE_S)
            self.stats.append(client.stats())

    def judged(self) -> list[float]:
        """How old each value was that was read."""
        return [self.ages.age(*one) for one in self.read]


@contextmanager
def judged(tmp_path: Path, scenario: str, *, bound_s: float) -> Iterator[ClusterUnderTest]:
    with ClusterUnderTest(tmp_path) as cluster:
        with NearTraffic(cluster.addresses) as traffic:
            yield cluster
        ages = traffic.judged()
    hits = sum(stats.near_hits for stats in traffic.stats)
    report(
        scenario,
        reads=len(ages),
        near_hits=hits,
        invalidations=sum(stats.near_invalidations for stats in traffic.stats),
        resets=sum(stats.near_resets for stats in traffic.stats),
        audited=sum(stats.near_audited for stats in traffic.stats),
        behind=sum(age > 0 for age in ages),
        oldest_s=max(ages),
        p999_s=percentile(ages, 0.999),
    )
    assert hits > 1000
    assert len(traffic.stats) == 2
    assert max(ages) <= bound_s
    assert [stats.near_stale for stats in traffic.stats] == [0, 0]


def test_copies_are_recalled_while_nothing_fails(tmp_path: Path) -> None:
    with judged(tmp_path, "near_quiet", bound_s=NEAR_LEASE_S):
        time.sleep(5)


def test_copies_end_with_the_node_that_is_killed(tmp_path: Path) -> None:
    with judged(tmp_path, "near_killed", bound_s=NEAR_LEASE_S) as cluster:
        for _ in range(2):
            time.sleep(1.5)
            cluster.kill("n2")
            time.sleep(2.0)
            cluster.restart("n2")
        time.sleep(1.5)


def test_copies_end_with_the_lease_of_a_node_that_is_frozen(tmp_path: Path) -> None:
    with judged(tmp_path, "near_frozen", bound_s=NEAR_LEASE_S) as cluster:
        for _ in range(2):
            time.sleep(1.5)
            cluster.freeze("n2")
            time.sleep(2.5)
            cluster.thaw("n2")
        time.sleep(2.0)


def test_copies_end_when_keys_move(tmp_path: Path) -> None:
    with judged(tmp_path, "near_moved", bound_s=NEAR_LEASE_S) as cluster:
        for _ in range(2):
            assert cluster.cli("node", "drain", "n2", "--wait", "--timeout", "20").code == 0
            time.sleep(1.0)
            assert cluster.cli("node", "restore", "n2", "--wait", "--timeout", "20").code == 0
            time.sleep(1.0)


def test_a_client_that_was_frozen_serves_nothing_of_before(tmp_path: Path) -> None:
    with ClusterUnderTest(tmp_path) as cluster, Client(cluster.addresses) as writer:
        for key in KEYS:
            writer.set(key, [1])
        command = [sys.executable, "-m", "tests.harness.reader_process", cluster.addresses, *KEYS]
        env = environment(TIERCLUSTER_NEAR_CACHE="100")
        reader = NodeProcess(command, tmp_path / "reader", env)
        reader.wait_ready(20)
        time.sleep(2.0)
        reader.send(signal.SIGSTOP)
        for key in KEYS:
            writer.set(key, [2])
        fresh_since = time.monotonic()
        time.sleep(NEAR_LEASE_S)  # what the stopped process believes has to be past
        reader.send(signal.SIGCONT)
        thawed = time.monotonic()
        wait_until(lambda: _last(reader)[0] > thawed + 1.0, 20, "it reads again")
        reader.kill()
        lines = [json.loads(line) for line in reader.said().splitlines()[1:-1]]
    # A read may have been under way in the moment of the stop.
    after = [line for line in lines if line[0] > fresh_since]
    assert len(after) > 100
    assert [line for line in after if line[2] != 2] == []


def _last(reader: NodeProcess) -> list[float]:
    lines = reader.said().splitlines()[1:-1]
    return json.loads(lines[-1]) if lines else [0.0]


@pytest.mark.slow
def test_copies_through_a_minute_of_kills_and_stops(tmp_path: Path) -> None:
    rng = random.Random(1)
    with judged(tmp_path, "near_minute", bound_s=NEAR_LEASE_S) as cluster:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            node = rng.choice(cluster.ids)
            if rng.random() < 0.5:
                cluster.kill(node)
                time.sleep(rng.uniform(0.1, 2.0))
                cluster.restart(node)
            else:
                cluster.freeze(node)
                time.sleep(rng.uniform(0.1, 2.0))
                cluster.thaw(node)
            time.sleep(rng.uniform(0.5, 2.0))
