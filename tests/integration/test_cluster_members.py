"""Members that stop, come back with their disk or without it, and join."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.harness.cluster import ClusterUnderTest
from tests.harness.decisions import wait_agreed
from tests.harness.ports import free_ports
from tests.harness.process import NodeProcess, environment
from tests.harness.traffic import owned_by
from tiercluster import Client


def test_cold_data_survives_a_clean_restart_and_not_a_crash(tmp_path: Path) -> None:
    with ClusterUnderTest(tmp_path, nodes=1, sizes={"hot": "1MiB", "warm": "1MiB"}) as cluster:
        keys = [f"k{i}" for i in range(2000)]
        values = {key: [key, os.urandom(1500)] for key in keys}
        with Client(cluster.addresses) as client:
            for start in range(0, len(keys), 100):
                client.set_many({key: values[key] for key in keys[start : start + 100]})
        (node,) = cluster.status()["nodes"]
        in_cold = next(t["entries"] for t in node["tiers"] if t["tier"] == "cold")
        assert cluster.stop("n1") == 0
        cluster.restart("n1")
        with Client(cluster.addresses) as client:
            found = client.get_many(keys)
        assert all(found[key] == values[key] for key in found)
        kept = len(found)
        cluster.kill("n1")
        cluster.restart("n1")
        with Client(cluster.addresses) as client:
            after_crash = client.get_many(keys)
    assert 0 < in_cold <= kept
    assert after_crash == {}


def test_a_node_with_a_wiped_disk_rejoins_and_serves(tmp_path: Path) -> None:
    with ClusterUnderTest(tmp_path) as cluster:
        assert cluster.cli("tier", "drain", "n1/cold", "--wait", "--timeout", "20").code == 0
        cluster.kill("n3")
        cluster.wipe("n3")
        cluster.restart("n3")
        cluster.wait_state("n3", "UP")
        assert cluster.states("n3")["n1/cold"] == "DRAINED"
        wait_agreed(cluster)
        with Client(cluster.addresses) as client:
            key = owned_by(client, "n3", 1)[0]
            assert client.set(key, 1)
            assert client.get(key) == 1


def test_a_follower_joins_owns_keys_and_leaves(tmp_path: Path) -> None:
    with ClusterUnderTest(tmp_path) as cluster:
        (port,) = free_ports(1)
        command = [sys.executable, "-m", "tiercluster", "start", "--id", "n4"]
        command += ["--listen", f"127.0.0.1:{port}", "--join", cluster.address("n1")]
        command += ["--data", str(tmp_path / "data" / "n4")]
        (tmp_path / "data" / "n4").mkdir()
        follower = NodeProcess(command, tmp_path / "n4", environment())
        cluster.processes["n4"] = follower
        follower.wait_ready(20)
        assert cluster.states()["n4"] == "UP"
        with Client(cluster.addresses) as client:
            key = owned_by(client, "n4", 1)[0]
            assert client.set(key, "on the follower")
            assert client.get(key) == "on the follower"
        assert follower.stop() == 0
        cluster.wait_state("n4", "DOWN", 10)
        assert cluster.cli("node", "remove", "n4").code == 0
        states = cluster.states()
        assert states.get("n4") in (None, "LEFT")


def test_five_voters_serve_with_two_of_them_gone(tmp_path: Path) -> None:
    with ClusterUnderTest(tmp_path, nodes=5) as cluster:
        cluster.kill("n4", "n5")
        cluster.wait_state("n4", "DOWN", 10)
        cluster.wait_state("n5", "DOWN", 10)
        assert cluster.status("n1")["quorum"] is True
        with Client(cluster.address("n1"), timeout=3.0) as client:
            assert client.set_many({f"k{i}": i for i in range(100)}) == []
            assert len(client.get_many([f"k{i}" for i in range(100)])) == 100
