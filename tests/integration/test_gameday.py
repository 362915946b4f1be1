"""A game day on a real cluster: what it finds there, and what a node does not allow."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.harness.cluster import ClusterUnderTest, wait_until
from tests.harness.process import environment
from tiercluster import Client
from tiercluster.cli.gameday_plan import SCENARIOS
from tiercluster.cluster.admin import Admin
from tiercluster.cluster.errors import Refused

SIZES = {"hot": "1MiB", "warm": "1MiB", "cold": "64MiB"}  # a lower tier soon has work
PATIENCE_S = 240.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterUnderTest]:
    with ClusterUnderTest(tmp_path, sizes=SIZES) as cluster:
        yield cluster


def gameday(cluster: ClusterUnderTest, *flags: str) -> dict[str, Any]:
    ran = cluster.cli("gameday", "--json", "--yes", *flags, timeout_s=PATIENCE_S)
    document: dict[str, Any] = ran.json
    assert document["ok"] is True, [p["problems"] for p in document["scenarios"]]
    assert ran.code == 0
    return document


def check(played: dict[str, Any]) -> None:
    assert played["stale_reads"] == 0
    assert played["linearizable"]
    assert played["operations"] > 200
    assert played["hits"] > 50
    if SCENARIOS[played["scenario"]].must_fail_over:
        assert played["failed_over"]
        assert played["seconds"]["to_failover"] <= played["seconds"]["to_last_client"]
    assert played["seconds"]["to_recovery"] is not None


def test_a_tier_and_a_node_fail_over_and_come_back_and_no_promise_is_broken(
    cluster: ClusterUnderTest,
) -> None:
    names = ("eio", "corrupt", "freeze")
    flags = [flag for name in names for flag in ("--scenario", name)]
    document = gameday(cluster, *flags, "--duration", "1.5", "--target", "n2")
    for played in document["scenarios"]:
        check(played)
    eio, corrupt, freeze = document["scenarios"]
    assert eio["decisions"][0]["ref"] == corrupt["decisions"][0]["ref"] == "n2/cold"
    assert freeze["decisions"][0]["ref"] == "n2"
    assert set(cluster.states().values()) == {"UP"}
    with Client(cluster.addresses, namespace=document["plan"]["namespace"]) as client:
        assert list(client.scan()) == []


def test_a_node_that_does_not_allow_faults_does_nothing(tmp_path: Path) -> None:
    with ClusterUnderTest(tmp_path, nodes=1, faults=False) as cluster:
        ran = cluster.cli("gameday", "--yes", "--target", "n1/cold")
        assert (ran.code, ran.out) == (6, "")
        assert "n1 was started without --allow-faults" in ran.err
        with Admin(cluster.addresses) as admin:
            for kind in ("kill", "freeze", "partition"):
                with pytest.raises(Refused, match="without --allow-faults"):
                    admin.node_fault("n1", kind, 500.0, ("n2",))
        assert cluster.is_alive("n1")


@contextmanager
def supervised(cluster: ClusterUnderTest, node: str) -> Iterator[None]:
    """What a service manager does: a process that ended is started again."""
    stopping = threading.Event()

    def watch() -> None:
        while not stopping.wait(0.3):
            if not cluster.is_alive(node):
                cluster.launch(node)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
        cluster.processes[node].kill()  # its starter's thread is over


@pytest.mark.slow
def test_every_scenario_holds(cluster: ClusterUnderTest) -> None:
    with supervised(cluster, "n3"):
        document = gameday(cluster, "--scenario", "all", "--target", "n3", "--duration", "3")
    assert [played["scenario"] for played in document["scenarios"]] == list(SCENARIOS)
    for played in document["scenarios"]:
        check(played)


@pytest.mark.slow
def test_a_killed_node_that_nobody_restarts_is_told_as_such(cluster: ClusterUnderTest) -> None:
    ran = cluster.cli("gameday", "--json", "--yes", "--scenario", "kill", "--target", "n2",
                      "--duration", "1", "--timeout", "2")  # fmt: skip
    (kill,) = ran.json["scenarios"]
    assert ran.code == 1
    assert "nothing has restarted the process that was killed" in kill["problems"][0]
    assert (kill["stale_reads"], kill["linearizable"]) == (0, True)
    assert not cluster.is_alive("n2")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_day_that_is_interrupted_leaves_nothing_behind(
    cluster: ClusterUnderTest, number: signal.Signals
) -> None:
    flags = ["--scenario", "eio", "--target", "n2/cold", "--duration", "60", "--yes"]
    with subprocess.Popen(
        [sys.executable, "-m", "tiercluster", "gameday", *flags],
        env=environment(TIERCLUSTER_CLUSTER=cluster.addresses),
        stdout=subprocess.DEVNULL,
    ) as process:
        cluster.wait_state("n2/cold", "DOWN")
        process.send_signal(number)
        assert process.wait(10) == 130
    cluster.wait_state("n2/cold", "UP")
    with Client(cluster.addresses) as client:
        spaces = [key for key in client.scan() if key.startswith("gameday")]
    assert spaces == []


@pytest.mark.slow
def test_a_fault_is_over_though_whoever_asked_for_it_is_gone(cluster: ClusterUnderTest) -> None:
    with Admin(cluster.addresses) as admin, Client(cluster.addresses, on_error="miss") as client:
        admin.fault("n2", "hot", "eio", 0.0, 1.0, 1500.0)
        began = time.monotonic()
        wait_until(lambda: _is_down(cluster, client), 10, "n2/hot DOWN")
        cluster.wait_state("n2/hot", "UP")
        assert time.monotonic() - began > 1.5


def _is_down(cluster: ClusterUnderTest, client: Client) -> bool:
    for number in range(60):
        client.set(f"k{number}", number)
    return cluster.states()["n2/hot"] != "UP"
