"""All keys of a cluster are replaced under traffic: no call fails, nothing is decided."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness.cluster import PROGRAM, ClusterUnderTest, NodePorts, wait_until, with_keys
from tests.harness.figures import report
from tests.harness.ports import free_ports
from tests.harness.process import NodeProcess, environment
from tests.harness.traffic import Plan, Traffic
from tiercluster import Client
from tiercluster.cluster import members
from tiercluster.cluster.members import KEYS_S
from tiercluster.errors import TierclusterError, Unauthorized

KEYS = [f"k{i}" for i in range(100)]
RENEWED = "keys_renewed"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterUnderTest]:
    with with_keys(tmp_path) as cluster:
        yield cluster


def rotate(cluster: ClusterUnderTest, keys: Path, step: str, *more: str) -> None:
    """One step, and all nodes told of it, one after the other."""
    done = cluster.cli("keygen", "--out", str(keys), "--rotate", step, *more)
    assert done.code == 0, done.err
    for node in cluster.ids:
        tell(cluster, node)


def tell(cluster: ClusterUnderTest, node: str) -> None:
    before = cluster.log(node).count(RENEWED)
    cluster.processes[node].send(signal.SIGHUP)
    wait_until(lambda: cluster.log(node).count(RENEWED) > before, 10, f"{node} reads its keys anew")


def old_web(keys: Path, to: Path) -> Path:
    """The present keys of the application, with what the cluster may show next: a copy that nobody
    rotates."""
    shutil.copytree(keys / "clients" / "web", to)
    for secret in to.rglob("next/client.*"):
        secret.unlink()
    return to


def taken_back(tmp_path: Path) -> Path:
    """The keys of the application, which no node knows any more once it is told."""
    return Path(shutil.move(tmp_path / "keys" / "clients" / "web", tmp_path / "web"))


@pytest.fixture
def opened() -> Iterator[Callable[[Client], Client]]:
    """Closes at the end."""
    with ExitStack() as stack:
        yield stack.enter_context


def test_all_keys_are_rotated_and_no_call_fails(
    cluster: ClusterUnderTest, tmp_path: Path, opened: Callable[[Client], Client]
) -> None:
    keys = tmp_path / "keys"
    web = {"keys": str(keys / "clients" / "web"), "timeout": 2.0}
    before, pids = cluster.settled(), [p.pid for p in cluster.processes.values()]
    idle = opened(Client(cluster.addresses, **web))
    idle.set("idle", 1)
    plan = Plan(threads=2, client={"on_error": "raise", **web})
    with Traffic(cluster.addresses, KEYS, plan) as traffic:
        rotate(cluster, keys, "start")
        old = old_web(keys, tmp_path / "old-web")
        kept = opened(Client(cluster.addresses, keys=old, timeout=2.0))
        kept.set("kept", 1)
        time.sleep(1)
        rotate(cluster, keys, "switch")
        assert kept.get("kept") == 1
        time.sleep(KEYS_S + 1)  # every client has looked at its directory
        rotate(cluster, keys, "finish")
        time.sleep(2)
    after = cluster.status()
    report(
        "rotation", calls=len(traffic.samples), raised=len(traffic.errors),
        stale=len(traffic.oracle.breaches), decisions=after["version"] - before["version"],
        longest_ms=1000 * max(sample.seconds for sample in traffic.samples),
    )  # fmt: skip
    assert traffic.errors == []
    assert traffic.oracle.is_kept
    assert idle.get("idle") == 1
    assert (after["version"], after["leader"]) == (before["version"], before["leader"])
    assert pids == [p.pid for p in cluster.processes.values()]
    with pytest.raises(TierclusterError):  # by the connection that it had
        kept.get("kept")
    shutil.copyfile(keys / "cluster.key", old / "cluster.key")
    with Client(cluster.addresses, keys=old, timeout=2.0) as late, pytest.raises(Unauthorized):
        late.get("kept")


def test_a_key_that_is_taken_back_loses_its_open_connections(
    cluster: ClusterUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = taken_back(tmp_path)
    # No call waits for the subscription to be renewed, which would show it, too.
    monkeypatch.setattr(members, "RENEW_S", 3600.0)
    with Client(cluster.addresses, keys=copy, timeout=10.0) as client:
        client.set_many(dict.fromkeys(KEYS, 1))
        for node in cluster.ids:
            tell(cluster, node)
        for key in KEYS:
            with pytest.raises(Unauthorized):
                client.get(key)


def test_a_call_says_that_its_node_does_not_take_the_key_that_others_take(
    cluster: ClusterUnderTest, tmp_path: Path
) -> None:
    copy = taken_back(tmp_path)
    with Client(cluster.addresses, keys=copy, timeout=2.0) as client:
        client.set_many(dict.fromkeys(KEYS, 1))
        owners = {key: client.explain(key).owner for key in KEYS}
        tell(cluster, "n2")
        refused = next(key for key, node in owners.items() if node == "n2")
        served = next(key for key, node in owners.items() if node == "n1")
        with pytest.raises(Unauthorized, match=cluster.address("n2")):
            client.get(refused)
        with pytest.raises(Unauthorized, match=cluster.address("n2")):
            client.set(refused, 2)  # never sent, so certainly not stored
        assert client.get(served) == 1


def test_keys_that_cannot_be_read_change_nothing(cluster: ClusterUnderTest, tmp_path: Path) -> None:
    (tmp_path / "keys" / "nodes" / "n2.key").write_text("nonsense")
    cluster.processes["n1"].send(signal.SIGHUP)
    wait_until(lambda: "keys_not_renewed" in cluster.log("n1"), 10, "n1 says so")
    (line,) = [line for line in cluster.log("n1").splitlines() if "keys_not_renewed" in line]
    assert "n2.key is no key file" in line
    with Client(cluster.addresses, keys=tmp_path / "keys", timeout=2.0) as client:
        client.set("k", 1)
    assert cluster.status()["quorum"] is True


def test_a_follower_goes_on_following(cluster: ClusterUnderTest, tmp_path: Path) -> None:
    keys, (client, http) = tmp_path / "keys", free_ports(2)
    assert cluster.cli("keygen", "--out", str(keys), "--node", "n4").code == 0
    for node in cluster.ids:
        tell(cluster, node)
    env = environment(TIERCLUSTER_KEYS=str(keys))
    command = [*PROGRAM, "start", "--id", "n4", "--listen", f"127.0.0.1:{client}"]
    command += ["--http", f"127.0.0.1:{http}", "--data", str(cluster.data("n4"))]
    command += ["--join", cluster.address("n1")]
    follower = NodeProcess(command, tmp_path / "n4", env)
    cluster.processes["n4"] = follower
    cluster.ids.append("n4")
    cluster.ports["n4"] = NodePorts(client, 0, http)
    follower.wait_ready(30)
    cluster.wait_state("n4", "UP")
    before = cluster.settled()["version"]
    for step in ("start", "switch", "finish"):
        rotate(cluster, keys, step)
    assert cluster.status()["version"] == before
    assert cluster.cli("tier", "drain", "n4/cold", "--wait").code == 0
    status = cluster.status(at="n4")
    assert status["version"] > before
