"""What was away and comes back must not serve the past: a frozen node, a failed or drained tier.

Each round writes new values for all keys while something is away; from the moment it is back, no
read may return an old one.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.harness.cluster import ClusterUnderTest, wait_until
from tests.harness.crew import Crew
from tests.harness.figures import report
from tests.harness.process import NodeProcess, environment
from tests.harness.promise import Oracle, Verdict
from tests.harness.traffic import owned_by, read_all, write
from tiercluster import Client

VICTIM = "n2"
REREAD_S = 2.0
BUSY_READERS, BUSY_S = 2, 0.2


# --- a frozen node ------------------------------------------------------------------------------


class FrozenReader:
    """A client process that is frozen and thawed with the node, so that it still believes in the
    map of before."""

    def __init__(self, directory: Path, addresses: str, keys: list[str]) -> None:
        command = [sys.executable, "-m", "tests.harness.reader_process", addresses, *keys]
        self.process = NodeProcess(command, directory / "reader", environment())
        self.process.wait_ready(20)

    def stale(self, fresh_since: dict[str, tuple[float, int]]) -> list[object]:
        """Reads below a number that was acknowledged before they started."""
        lines = [json.loads(line) for line in self.process.said().splitlines()[1:-1]]
        return [
            line
            for line in lines
            if line[2] is not None
            and line[0] > fresh_since[line[1]][0]
            and line[2] < fresh_since[line[1]][1]
        ]


def write_until_stored(client: Client, oracle: Oracle, keys: list[str]) -> dict[str, float]:
    """New values for all keys; when each was acknowledged."""
    at: dict[str, float] = {}
    for key in keys:
        wait_until(partial(write, client, oracle, key), 20, f"{key} stored")
        at[key] = time.monotonic()
    return at


def freeze_round(
    cluster: ClusterUnderTest, client: Client, oracle: Oracle, keys: list[str], frozen_s: float
) -> int:
    reader = FrozenReader(cluster.directory, cluster.addresses, keys)
    try:
        with busy(cluster.address(VICTIM), keys):
            cluster.freeze(VICTIM)
            reader.process.send(signal.SIGSTOP)
        began = time.monotonic()
        at = write_until_stored(client, oracle, keys)
        time.sleep(max(0.0, began + frozen_s - time.monotonic()))
        fresh = {key: (at[key], oracle.floor(key)) for key in keys}
        cluster.thaw(VICTIM)
        reader.process.send(signal.SIGCONT)
        reread(client, cluster, oracle, keys)
        cluster.wait_state(VICTIM, "UP")
        return len(reader.stale(fresh))
    finally:
        reader.process.kill()


@contextmanager
def busy(address: str, keys: list[str]) -> Iterator[None]:
    """Readers enough that a signal finds the node in the middle of its work, not waiting."""

    def read_on() -> None:
        with Client(address, on_error="miss") as client:
            while not crew.over.is_set():
                client.get_many(keys)

    crew = Crew(*[read_on] * BUSY_READERS)
    with crew:
        time.sleep(BUSY_S)
        yield


def reread(client: Client, cluster: ClusterUnderTest, oracle: Oracle, keys: list[str]) -> None:
    """All keys, over and over, by the client that wrote and by one that starts at the old owner."""
    with Client(cluster.address(VICTIM), on_error="miss") as other:
        until = time.monotonic() + REREAD_S
        while time.monotonic() < until:
            read_all(client, oracle, keys)
            read_all(other, oracle, keys)


def freeze(tmp_path: Path, rounds: int, frozen_s: float, count: int, scenario: str) -> None:
    oracle, old = Oracle(), 0
    with (
        ClusterUnderTest(tmp_path) as cluster,
        Client(cluster.addresses, on_error="miss") as client,
    ):
        keys = owned_by(client, VICTIM, count)
        for _ in range(rounds):
            write_until_stored(client, oracle, keys)
            old += freeze_round(cluster, client, oracle, keys, frozen_s)
    report(
        scenario, rounds=rounds, frozen_s=frozen_s, keys=count, reads=sum(oracle.counts.values()),
        misses=oracle.counts[Verdict.MISS], stale=len(oracle.breaches), stale_old_client=old,
    )  # fmt: skip
    assert oracle.is_kept, oracle.breaches
    assert old == 0


def test_a_thawed_node_serves_nothing_old(tmp_path: Path) -> None:
    freeze(tmp_path, 2, 1.5, 100, "freeze_fast")


@pytest.mark.slow
def test_a_node_frozen_ten_seconds_serves_nothing_old_in_twenty_rounds(tmp_path: Path) -> None:
    freeze(tmp_path, 20, 10.0, 300, "freeze")


# --- a tier that fails, or is drained -----------------------------------------------------------


@contextmanager
def failing_tier(cluster: ClusterUnderTest, stir: Callable[[], object]) -> Iterator[None]:
    """I/O errors in the cold tier's own path until the cluster has taken it out; healed after.
    ``stir`` uses it: a disk that nobody uses is not seen to be sick."""
    assert cluster.cli("fault", "inject", f"{VICTIM}/cold", "--kind", "eio").code == 0

    def is_down() -> bool:
        stir()
        return cluster.states()[f"{VICTIM}/cold"] == "DOWN"

    wait_until(is_down, 30, f"{VICTIM}/cold DOWN")
    yield
    assert cluster.cli("fault", "clear", f"{VICTIM}/cold").code == 0
    cluster.wait_state(f"{VICTIM}/cold", "UP", timeout_s=60)


@contextmanager
def drained_tier(cluster: ClusterUnderTest, stir: Callable[[], object]) -> Iterator[None]:
    drained = cluster.cli("tier", "drain", f"{VICTIM}/cold", "--wait", "--timeout", "20")
    assert drained.code == 0, f"{drained.err}{cluster.cli('events').out}"
    yield
    restored = cluster.cli("tier", "restore", f"{VICTIM}/cold", "--wait", "--timeout", "20")
    assert restored.code == 0, restored.err


KEYS, VALUE_BYTES = 3000, 2000  # 6 MB on a node whose memory tiers hold two


def tier_rounds(tmp_path: Path, away: str, rounds: int) -> None:
    oracle = Oracle()
    small = {"hot": "1MiB", "warm": "1MiB"}
    # else the hold-down doubles with each round, and latches the tier after ten: as it should
    patient = {
        "TIERCLUSTER_RECOVERY_HOLD_DOWN_MAX_S": "2",
        "TIERCLUSTER_RECOVERY_LATCH_RELAPSES": "1000",
    }
    with (
        ClusterUnderTest(tmp_path, sizes=small, env=patient) as cluster,
        Client(cluster.addresses, on_error="miss") as client,
    ):
        keys = owned_by(client, VICTIM, KEYS)
        for _ in range(rounds):
            tier_round(cluster, client, oracle, keys, away)
    report(
        f"come_back_{away}", rounds=rounds, keys=KEYS, reads=sum(oracle.counts.values()),
        misses=oracle.counts[Verdict.MISS], stale=len(oracle.breaches),
    )  # fmt: skip
    assert oracle.is_kept, oracle.breaches
    assert oracle.counts[Verdict.FRESH] > 0


def tier_round(
    cluster: ClusterUnderTest, client: Client, oracle: Oracle, keys: list[str], away: str
) -> None:
    write_all(client, oracle, keys)

    def stir() -> None:
        write_all(client, oracle, keys)
        read_all(client, oracle, keys)

    with AWAY[away](cluster, stir):
        write_all(client, oracle, keys[: KEYS // 2])
        read_all(client, oracle, keys)
    for key in keys[:: KEYS // 50]:
        if client.delete(key):
            oracle.acknowledge(key, oracle.begin(key), deleted=True)
    until = time.monotonic() + REREAD_S
    while time.monotonic() < until:
        read_all(client, oracle, keys)


AWAY = {"failed": failing_tier, "drained": drained_tier}


def write_all(client: Client, oracle: Oracle, keys: list[str]) -> None:
    """set_many in pieces; what was not stored is not acknowledged. Each value is random enough
    that compression does not keep it in memory."""
    for start in range(0, len(keys), 100):
        numbers = {key: oracle.begin(key) for key in keys[start : start + 100]}
        lost = client.set_many({k: [n, filling(k, n)] for k, n in numbers.items()})
        for key in numbers.keys() - set(lost):
            oracle.acknowledge(key, numbers[key])


def filling(key: str, number: int) -> str:

    return random.Random(f"{key}/{number}").randbytes(VALUE_BYTES // 2).hex()


@pytest.mark.parametrize("away", AWAY)
def test_a_tier_that_was_away_serves_nothing_old(tmp_path: Path, away: str) -> None:
    tier_rounds(tmp_path, away, 1)


@pytest.mark.slow
@pytest.mark.parametrize("away", AWAY)
def test_twenty_rounds_of_a_tier_away_serve_nothing_old(tmp_path: Path, away: str) -> None:
    tier_rounds(tmp_path, away, 20)
