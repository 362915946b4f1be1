"""When a tier returns, what stands behind the cache must not be hit by a storm."""

from __future__ import annotations

import bisect
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import pytest

from tests.harness.cluster import ClusterUnderTest
from tests.harness.crew import Crew
from tests.harness.figures import report
from tiercluster import Client

KEYS = 20_000
VALUE = os.urandom(2000)
SMALL = {"hot": "1MiB", "warm": "1MiB", "cold": "6MiB"}  # 24 MiB in all, for 40 MB of values
THREADS = 3
PAUSE_S = 0.001
MAX_RISE = 1.2


@dataclass(frozen=True, slots=True)
class Call:
    at: float
    loaded: bool


class Readers(Crew):
    """`get_or_set` of keys of which few are asked for often (Zipf, 1.0), through a loader."""

    def __init__(self, addresses: str) -> None:
        self._addresses = addresses
        self._sums = list(itertools.accumulate(1 / (rank + 1) for rank in range(KEYS)))
        self._calls: list[list[Call]] = [[] for _ in range(THREADS)]
        super().__init__(*[partial(self._run, number) for number in range(THREADS)])

    def _run(self, number: int) -> None:
        random, calls = Random(number), self._calls[number]
        with Client(self._addresses, serializer="bytes", on_error="miss") as client:
            while not self.over.is_set():
                loads = list[int]()
                rank = bisect.bisect(self._sums, random.random() * self._sums[-1])

                def load(loads: list[int] = loads) -> bytes:
                    loads.append(1)
                    return VALUE

                began = time.monotonic()
                client.get_or_set(f"k{rank}", load, 3600)
                calls.append(Call(began, bool(loads)))
                time.sleep(PAUSE_S)

    def loads(self, since: float, until: float) -> tuple[float, float]:
        """Of the calls in this time: loads a second, and the share of calls that loaded."""
        calls = [c for own in self._calls for c in list(own) if since <= c.at < until]
        loaded = sum(c.loaded for c in calls)
        return loaded / (until - since), loaded / max(len(calls), 1)


Break = Callable[[ClusterUnderTest], float]


def fail_tier(cluster: ClusterUnderTest) -> float:
    """Seconds until everybody knows."""
    assert cluster.cli("fault", "inject", "n2/cold", "--kind", "eio").code == 0
    return cluster.wait_state("n2/cold", "DOWN")


def heal_tier(cluster: ClusterUnderTest) -> float:
    assert cluster.cli("fault", "clear", "n2/cold").code == 0
    return cluster.wait_state("n2/cold", "UP")


def kill_node(cluster: ClusterUnderTest) -> float:
    cluster.kill("n2")
    return cluster.wait_state("n2", "DOWN")


def restart_node(cluster: ClusterUnderTest) -> float:
    """It takes copies of what it will own before it owns anything."""
    cluster.restart("n2")
    return cluster.wait_state("n2", "UP")


def storm(tmp_path: Path, warm_up_s: float, window_s: float, scenario: str,
          fail: Break = fail_tier, heal: Break = heal_tier) -> None:  # fmt: skip
    with ClusterUnderTest(tmp_path, sizes=SMALL) as cluster, Readers(cluster.addresses) as readers:
        time.sleep(warm_up_s)
        steady_at = time.monotonic()
        time.sleep(window_s)
        failed_at = time.monotonic()
        down_s = fail(cluster)
        time.sleep(window_s)
        heal(cluster)
        back_at = time.monotonic()
        time.sleep(window_s)
        until = time.monotonic()
    steady, out = (
        readers.loads(steady_at, failed_at),
        readers.loads(failed_at, failed_at + window_s),
    )
    back = readers.loads(back_at, until)
    at_once = readers.loads(back_at, back_at + 2.0)
    report(
        scenario, window_s=window_s, down_s=down_s, steady_loads_per_s=steady[0],
        out_loads_per_s=out[0], back_loads_per_s=back[0], first_2s_loads_per_s=at_once[0],
        steady_share=steady[1], out_share=out[1], back_share=back[1], first_2s_share=at_once[1],
        rise=back[1] / steady[1] - 1, rise_of_rate=back[0] / steady[0] - 1,
    )  # fmt: skip
    assert steady[0] > 1, "nothing was loaded: there is nothing to compare"
    assert back[1] < MAX_RISE * steady[1]


def test_a_tier_that_returns_brings_no_storm(tmp_path: Path) -> None:
    storm(tmp_path, 15.0, 8.0, "recovery_storm_fast")


@pytest.mark.slow
def test_a_tier_that_returns_brings_no_storm_in_a_longer_look(tmp_path: Path) -> None:
    storm(tmp_path, 60.0, 30.0, "recovery_storm")


@pytest.mark.slow
def test_a_node_that_returns_brings_no_storm(tmp_path: Path) -> None:
    storm(tmp_path, 30.0, 15.0, "recovery_storm_node", kill_node, restart_node)
