"""Rolling upgrades of real clusters: three nodes of the recorded version 1, replaced one by one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.harness.cluster import wait_until
from tests.harness.figures import report
from tests.harness.promise import Verdict
from tests.harness.traffic import Plan, Traffic
from tiercluster import Client
from tiercluster.cluster.admin import Admin

from .mixed import MixedCluster, OldTraffic, report_of

KEYS = [f"k{i}" for i in range(100)]
# Errors are raised, so that each failed call is seen; a call may wait for a node to be replaced.
PLAN = Plan(threads=1, pause_s=0.005, client={"timeout": 3.0})
RAISED_S = 20.0


@contextmanager
def traffic_of_both(cluster: MixedCluster, old: Path, log: Path) -> Iterator[dict[str, Any]]:
    """Clients of both versions; the dictionary is filled when they have stopped, and judged."""
    counted: dict[str, Any] = {}
    old_clients = OldTraffic(old, cluster.addresses, log)
    with Traffic(cluster.addresses, KEYS, PLAN) as traffic:
        yield counted
    told = old_clients.stop()
    assert told["version"] == 1
    counted |= {"old_calls": told["calls"], "new_calls": len(traffic.samples)}
    assert (told["errors"], traffic.errors) == ([], [])
    assert (told["stale"], told["invented"]) == (0, 0)
    assert traffic.oracle.breaches == []
    assert told["fresh"] > 0
    assert traffic.oracle.counts[Verdict.FRESH] > 0


def decide(cluster: MixedCluster, *, is_old: bool) -> None:
    """An operator's round, with the command line of either version."""
    for verb in ("drain", "restore"):
        done = cluster.cli("tier", verb, "n2/cold", "--wait", is_old=is_old)
        assert done.code == 0, done.err


def wait_for_level_two(cluster: MixedCluster) -> float:
    return wait_until(lambda: cluster.level() == 2, RAISED_S, "level 2")


def one_map(cluster: MixedCluster) -> bool:
    return len(cluster.digests()) == 1


def test_a_rolling_upgrade_under_traffic_fails_no_call_and_ends_at_level_two(
    old: Path, tmp_path: Path
) -> None:
    with MixedCluster(tmp_path, old) as cluster:
        with traffic_of_both(cluster, old, tmp_path / "traffic") as counted:
            for node in cluster.ids:
                assert (report_of(cluster.address(node)) or {}).get("level", 1) == 1
                cluster.upgrade(node)
                decide(cluster, is_old=node == "n2")
            raised_s = wait_for_level_two(cluster)
            decide(cluster, is_old=True)
        wait_until(lambda: one_map(cluster), 5, "all nodes at one version and digest")
        assert cluster.mismatches() == 0
        assert (report_of(cluster.address("n1")) or {}).get("replicas") == 2
    report("rolling_upgrade", raised_s=round(raised_s, 2), **counted)


@pytest.mark.slow
@pytest.mark.parametrize("order", [("n3", "n1", "n2"), ("n2", "n3", "n1")], ids="-".join)
def test_a_node_is_rolled_back_before_level_two_and_upgraded_again(
    old: Path, tmp_path: Path, order: tuple[str, str, str]
) -> None:
    first, second, third = order
    with MixedCluster(tmp_path, old) as cluster:
        with traffic_of_both(cluster, old, tmp_path / "traffic"):
            cluster.upgrade(first)
            cluster.upgrade(second)
            decide(cluster, is_old=False)
            cluster.roll_back(second)
            decide(cluster, is_old=True)
            assert cluster.level() == 1
            wait_until(lambda: one_map(cluster), 5, "one map, rolled back")
            cluster.upgrade(second)
            cluster.upgrade(third)
            wait_for_level_two(cluster)
        wait_until(lambda: one_map(cluster), 5, "one map")
        assert cluster.mismatches() == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_nodes_that_crash_and_go_back_and_forth_between_versions_hold_one_map(
    old: Path, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    with MixedCluster(tmp_path, old) as cluster:
        with Traffic(cluster.addresses, KEYS, Plan(threads=2, seed=seed)) as traffic:
            for _ in range(10):
                node, other = rng.sample(cluster.ids, 2)
                if rng.random() < 0.4:
                    cluster.kill(node)
                else:
                    cluster.stop(node)
                # One of version 1 is always left, so that the level cannot rise.
                may_be_new = bool(cluster.old_nodes - {node})
                if may_be_new and rng.random() < 0.7:
                    cluster.old_nodes.discard(node)
                else:
                    cluster.old_nodes.add(node)
                cluster.restart(node)
                cluster.cli("tier", "drain", f"{other}/warm")
                cluster.cli("tier", "restore", f"{other}/warm", is_old=True)
                wait_until(lambda: one_map(cluster), 10, "one map")
            for node in sorted(cluster.old_nodes):
                cluster.upgrade(node)
            wait_for_level_two(cluster)
        assert traffic.oracle.breaches == []
        assert traffic.oracle.counts[Verdict.FRESH] > 0
        wait_until(lambda: one_map(cluster), 10, "one map")
        assert cluster.mismatches() == 0


@pytest.mark.slow
def test_a_node_that_crashes_on_the_way_does_not_raise_the_level_and_comes_back_upgraded(
    old: Path, tmp_path: Path
) -> None:
    with MixedCluster(tmp_path, old) as cluster:
        cluster.upgrade("n1")
        cluster.upgrade("n2")
        cluster.kill("n3")
        cluster.wait_state("n3", "DOWN", at="n1")
        cluster.stop("n2")
        cluster.restart("n2")
        assert cluster.level() == 1, "n3 is a member, and nobody knows what it will speak"
        cluster.old_nodes.discard("n3")
        cluster.restart("n3")
        wait_for_level_two(cluster)
        assert cluster.mismatches() == 0


@pytest.mark.slow
def test_a_member_that_never_comes_back_is_removed_and_the_level_rises(
    old: Path, tmp_path: Path
) -> None:
    with MixedCluster(tmp_path, old) as cluster:
        cluster.kill("n3")
        cluster.upgrade("n1")
        cluster.upgrade("n2")
        cluster.wait_state("n3", "DOWN", at="n1")
        assert cluster.level() == 1
        assert cluster.cli("node", "remove", "n3").code == 0
        wait_for_level_two(cluster)


@pytest.mark.slow
def test_after_level_two_an_old_node_is_kept_out_and_named(old: Path, tmp_path: Path) -> None:
    with MixedCluster(tmp_path, old) as cluster:
        for node in cluster.ids:
            cluster.upgrade(node)
        wait_for_level_two(cluster)
        with Client(cluster.addresses, timeout=3.0) as client:
            cluster.stop("n3")
            cluster.old_nodes.add("n3")
            cluster.launch("n3")
            wait_until(
                lambda: "upgrade n3" in cluster.log("n1") and "upgrade n3" in cluster.log("n2"),
                15,
                "the others say whom to upgrade",
            )
            assert client.set("key", "value")
            assert not cluster.processes["n3"].said()
            cluster.kill("n3")
            cluster.old_nodes.discard("n3")
            cluster.restart("n3")
            cluster.wait_state("n3", "UP")
            assert client.get("key") in ("value", None)
        assert cluster.mismatches() == 0


@pytest.mark.slow
def test_after_level_two_an_old_follower_is_told_why_it_may_not_join(
    old: Path, tmp_path: Path
) -> None:
    with MixedCluster(tmp_path, old) as cluster:
        for node in cluster.ids:
            cluster.upgrade(node)
        wait_for_level_two(cluster)
        flags = ("--join", cluster.address("n1"), "--id", "n9")
        follower = MixedCluster(tmp_path / "follower", old, nodes=1, flags=flags)
        try:
            follower.launch("n1")
            told = "this cluster runs at level 2; this node speaks 1: upgrade it"
            wait_until(lambda: told in follower.log("n1"), 15, told)
        finally:
            follower.close()


@pytest.mark.slow
def test_a_cluster_with_keys_is_upgraded(old: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    cluster = MixedCluster(tmp_path, old, flags=("--keys", str(keys)))
    named = [part for node in cluster.ids for part in ("--node", node)]
    assert cluster.cli("keygen", "--out", str(keys), *named, "--client", "web").code == 0
    web = keys / "clients" / "web"

    def level() -> int:
        with Admin(cluster.addresses, keys=web) as admin:
            return admin.hello().level

    with cluster, Client(cluster.addresses, keys=web, timeout=3.0) as client:
        for node in cluster.ids:
            cluster.upgrade(node)
            assert client.set("key", node)
            assert client.get("key") == node
        wait_until(lambda: level() == 2, RAISED_S, "level 2")
        assert client.get("key") == "n3"
