"""A disk that works, but slowly: taken out by comparison with its peers, and brought back."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.harness.cluster import ClusterUnderTest
from tests.harness.figures import report
from tests.harness.promise import Oracle
from tests.harness.traffic import read
from tiercluster import Client

SLOW_MS = 70  # far below the deadline of an operation, 250
SMALL = {"hot": "1MiB", "warm": "1MiB", "cold": "64MiB"}
KEYS = [f"k{i}" for i in range(3000)]


class Reads:
    """One key at a time, most of them on disk: several at once would wait for each other past the
    deadline of an operation, which is a failure and no slowness."""

    def __init__(self, client: Client, oracle: Oracle) -> None:
        self._client, self._oracle, self._at = client, oracle, 0

    def some(self) -> None:
        read(self._client, self._oracle, KEYS[self._at % len(KEYS)])
        self._at += 37

    def for_a_while(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.some()
            time.sleep(0.01)

    def until(self, cluster: ClusterUnderTest, ref: str, state: str, timeout_s: float) -> float:
        began = time.monotonic()
        while (took := time.monotonic() - began) < timeout_s:
            self.for_a_while(0.5)
            if cluster.states()[ref] == state:
                return took
        raise AssertionError(f"{ref} was not {state} within {timeout_s} s")


def fill(client: Client, oracle: Oracle) -> None:
    """Values that warm cannot press small."""
    for key in KEYS:
        number = oracle.begin(key)
        assert client.set(key, [number, os.urandom(6000)])
        oracle.acknowledge(key, number)


def make_slow(cluster: ClusterUnderTest, *nodes: str) -> None:
    for node in nodes:
        arguments = ("fault", "inject", f"{node}/cold", "--kind", "slow", "--ms", str(SLOW_MS))
        assert cluster.cli(*arguments).code == 0


def make_fast(cluster: ClusterUnderTest, *nodes: str) -> None:
    for node in nodes:
        assert cluster.cli("fault", "clear", f"{node}/cold").code == 0


def test_one_slow_disk_is_taken_out_and_three_are_not(tmp_path: Path) -> None:
    oracle = Oracle()
    with (
        ClusterUnderTest(tmp_path, sizes=SMALL) as cluster,
        Client(cluster.addresses, on_error="miss", timeout=0.6) as client,
    ):
        fill(client, oracle)
        reads = Reads(client, oracle)
        reads.for_a_while(2.0)
        make_slow(cluster, *cluster.ids)
        reads.for_a_while(10.0)
        assert set(cluster.states().values()) == {"UP"}, "all are slow alike"
        make_fast(cluster, "n1", "n3")
        out_s = reads.until(cluster, "n2/cold", "DOWN", 40)
        reads.for_a_while(3.0)
        states = cluster.states()
        make_fast(cluster, "n2")
        back_s = reads.until(cluster, "n2/cold", "UP", 60)
        kept = len(client.get_many(KEYS))
        events = cluster.cli("events", "--json").lines
    down = [e for e in events if e["to"] == "DOWN"]
    why = down[0]
    report("slow_disk", slow_ms=SLOW_MS, out_s=out_s, back_s=back_s, reason=why["reason"],
           evidence=why["evidence"], kept=kept, of=len(KEYS))  # fmt: skip
    assert why["reason"].startswith("slow: p95 of ")
    assert states.pop("n2/cold") in ("DOWN", "RECOVERING")
    assert set(states.values()) == {"UP"}
    assert {e["ref"] for e in down} == {"n2/cold"}
    assert oracle.is_kept, oracle.breaches
    assert kept > 0.9 * len(KEYS)
