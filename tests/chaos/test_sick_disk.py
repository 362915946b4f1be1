"""A disk that hangs is not a slow cache, and a cache that is written to hard is not a sick disk."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.harness.cluster import ClusterUnderTest
from tests.harness.figures import median, percentile, report
from tests.harness.growth import memory_bytes
from tests.harness.promise import Oracle
from tests.harness.traffic import owned_by, write
from tiercluster import Client

HANG_MS = 1000
SMALL = {"hot": "2MiB", "warm": "1MiB", "cold": "64MiB"}


def hot_reads(client: Client, keys: list[str], seconds: float) -> list[float]:
    """Durations of paced reads, each a hit."""
    took: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for key in keys:
            began = time.perf_counter()
            found = client.get(key)
            took.append(time.perf_counter() - began)
            assert found is not None
            time.sleep(0.0005)
    return took


class ColdWork:
    """Fills the node far past its memory tiers and asks for what is on its disk."""

    def __init__(self, client: Client, node: str) -> None:
        self.client = client
        self.keys = owned_by(client, node, 1500, prefix="cold")
        self.next = 0

    def fill(self) -> None:
        for start in range(0, len(self.keys), 50):
            chosen = self.keys[start : start + 50]
            self.client.set_many({key: os.urandom(4000) for key in chosen})

    def some(self, count: int = 40) -> None:
        self.client.get_many([self.keys[(self.next + i) % len(self.keys)] for i in range(count)])
        self.next += count


def hung_disk(tmp_path: Path, seconds: float, scenario: str) -> tuple[float, float]:
    oracle = Oracle()
    with (
        ClusterUnderTest(tmp_path, sizes=SMALL) as cluster,
        Client(cluster.addresses, on_error="miss") as client,
        Client(cluster.addresses, on_error="miss", timeout=0.5) as asker,
    ):
        work = ColdWork(asker, "n1")
        work.fill()
        hot = owned_by(client, "n1", 20, prefix="hot")
        for _ in range(3):
            assert all(write(client, oracle, key) for key in hot)
        hot_reads(client, hot, 0.5)
        before = hot_reads(client, hot, seconds)
        memory = memory_bytes(cluster.processes["n1"].pid)
        assert (
            cluster.cli("fault", "inject", "n1/cold", "--kind", "hang", "--ms", str(HANG_MS)).code
            == 0
        )
        injected = time.monotonic()
        during = list[float]()
        failed_over_s = 0.0
        while time.monotonic() - injected < 15 and not failed_over_s:
            work.some()
            during += hot_reads(client, hot, 0.1)
            tiers = {t.ref: t.state for t in client.tiers()}
            if tiers["n1/cold"] != "UP":
                failed_over_s = time.monotonic() - injected
        during += hot_reads(client, hot, seconds)
        grown = memory_bytes(cluster.processes["n1"].pid) - memory
        state = cluster.states()["n1/cold"]
    report(
        scenario, hang_ms=HANG_MS, before_p50_us=median(before) * 1e6,
        during_p50_us=median(during) * 1e6, before_p99_us=percentile(before, 0.99) * 1e6,
        during_p99_us=percentile(during, 0.99) * 1e6, failed_over_s=failed_over_s,
        grown_mib=grown / 2**20,
    )  # fmt: skip
    assert failed_over_s, "the tier never failed over"
    assert state in ("DOWN", "RECOVERING")
    assert grown < 64 * 2**20
    return median(before), median(during)


def test_a_hung_disk_fails_over_and_hot_hits_do_not_wait_for_it(tmp_path: Path) -> None:
    before, during = hung_disk(tmp_path, 1.0, "hung_disk_fast")
    assert during <= 2 * before


@pytest.mark.slow
def test_a_hung_disk_costs_hot_hits_at_most_a_tenth(tmp_path: Path) -> None:
    before, during = hung_disk(tmp_path, 10.0, "hung_disk")
    assert during <= 1.1 * before


def burst(tmp_path: Path, mebibytes: int, scenario: str) -> None:
    """Values of 16 KiB through set_many, as fast as they go, into 8 MiB a node."""
    small = {"hot": "1MiB", "warm": "1MiB", "cold": "8MiB"}
    with ClusterUnderTest(tmp_path, sizes=small) as cluster:
        settled = cluster.settled()["version"]
        stored = lost = 0
        began = time.monotonic()
        with Client(cluster.addresses, serializer="bytes", on_error="miss") as client:
            for batch in range(mebibytes * 64 // 100):
                values = {f"b{batch}/{i}": os.urandom(16384) for i in range(100)}
                missing = len(client.set_many(values))
                stored, lost = stored + 100 - missing, lost + missing
        took = time.monotonic() - began
        events = cluster.cli("events", "--json", "--since", str(settled)).lines
        states = cluster.states()
    report(
        scenario, mebibytes=mebibytes, seconds=took, stored=stored, not_stored=lost,
        decisions=len([e for e in events if e["version"] > settled]),
    )  # fmt: skip
    assert [e for e in events if e["version"] > settled] == []
    assert set(states.values()) == {"UP"}
    assert stored > 0


def test_a_burst_far_above_capacity_trips_no_breaker(tmp_path: Path) -> None:
    burst(tmp_path, 128, "burst_fast")


@pytest.mark.slow
def test_a_long_burst_far_above_capacity_trips_no_breaker(tmp_path: Path) -> None:
    burst(tmp_path, 2048, "burst")
