"""All members lost at one moment under admin commands: what was acknowledged is still there."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.cluster import ClusterUnderTest
from tests.harness.decisions import Operator, Operators, wait_agreed
from tests.harness.figures import report
from tests.harness.mounts import Ext4Disk, fill, mount_tmpfs
from tests.harness.traffic import owned_by
from tiercluster import Client
from tiercluster.cluster.admin import Admin

# one tier a node, of different classes, so that the guard has no reason to refuse
REFS = ("n1/warm", "n2/cold", "n3/warm")
Loss = Callable[[ClusterUnderTest], None]


def under_admin(
    cluster: ClusterUnderTest, operators: list[Operator], loss: Loss, number: int
) -> list[str]:
    """One round; the tiers whose state nobody asked for."""
    with Operators(cluster, operators, number):
        time.sleep(random.Random(number).uniform(2.0, 4.0))
        loss(cluster)
    cluster.start_all()
    wait_agreed(cluster)
    states = cluster.states()
    with Admin(cluster.addresses) as admin:
        events = admin.events(0)
    missing = [f"{o.ref} version {v}" for o in operators for v in o.missing(events)]
    return missing + [
        f"{o.ref} is {states[o.ref]}, acknowledged {o.acknowledged}, unsure {o.unsure}"
        for o in operators
        if not o.allows(states[o.ref])
    ]


def rounds(cluster: ClusterUnderTest, loss: Loss, count: int, scenario: str) -> None:
    operators = [Operator(ref) for ref in REFS]
    lost: list[str] = []
    for number in range(count):
        lost += under_admin(cluster, operators, loss, number)
    agreed = wait_agreed(cluster)
    decisions = sum(o.decisions for o in operators)
    report(scenario, rounds=count, acknowledged=decisions, lost=len(lost), version=agreed.version)
    assert lost == []
    assert decisions > count


def kill_all(cluster: ClusterUnderTest) -> None:
    cluster.kill(*cluster.ids)


def test_killing_all_at_once_loses_no_decision(tmp_path: Path) -> None:
    with ClusterUnderTest(tmp_path) as cluster:
        rounds(cluster, kill_all, 1, "kill_all_fast")


@pytest.mark.slow
def test_killing_all_at_once_twenty_times_loses_no_decision(tmp_path: Path) -> None:
    with ClusterUnderTest(tmp_path) as cluster:
        rounds(cluster, kill_all, 20, "kill_all")


@pytest.mark.root
@pytest.mark.slow
def test_a_power_cut_of_all_members_loses_no_decision(tmp_path: Path) -> None:
    cluster = ClusterUnderTest(tmp_path)
    disk = Ext4Disk(tmp_path / "disk.img", tmp_path / "data")

    def cut(_: ClusterUnderTest) -> None:
        disk.cut_power()
        kill_all(cluster)
        disk.unplug()
        disk.plug_in()

    with cluster:
        rounds(cluster, cut, 3, "power_cut")


@pytest.mark.root
def test_a_full_disk_below_the_journal_leaves_the_node_alive_and_says_so(tmp_path: Path) -> None:
    cluster = ClusterUnderTest(tmp_path)
    journal = cluster.data("n1") / "raft"
    mount_tmpfs(journal, "512k")
    with cluster:
        filler = fill(journal)
        operator = Operator("n2/cold")
        with Admin(cluster.address("n3")) as admin:
            for _ in range(6):
                operator.step(admin)
                time.sleep(0.3)
        with Client(cluster.addresses) as client:
            keys = owned_by(client, "n1", 50)
            unstored = client.set_many(dict.fromkeys(keys, "v"))
            lost = [key for key in keys if client.get(key) != "v"]
        drained = cluster.cli("tier", "drain", "n1/warm", "--wait", at="n1")
        alive = cluster.is_alive("n1")
        reads = cluster.cli("status", "--json", at="n1")
        said = [line for line in cluster.log("n1").splitlines() if "journal" in line.lower()]
        filler.unlink()
        cluster.kill("n1")
        cluster.restart("n1")
        agreed = wait_agreed(cluster)
    report(
        "journal_full", alive=alive, decisions=operator.decisions, lines=len(said),
        status_exit=reads.code, version_after=agreed.version,
    )  # fmt: skip
    assert alive
    assert operator.decisions == 6, "the other two are a quorum"
    assert reads.code == 0
    assert (unstored, lost) == ([], []), "it follows the others, so it serves its keys"
    assert drained.code == 0, "and its operators are heard"
    assert said, cluster.log("n1")[-2000:]
