"""A real cluster of three processes, driven by the commands that people type."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.cluster import ClusterUnderTest
from tests.harness.decisions import wait_agreed
from tests.harness.traffic import owned_by
from tiercluster import Client

STATUS = {"cluster", "version", "leader", "quorum", "nodes"}
NODE = {"id", "state", "address", "tiers"}
TIER = {
    "ref",
    "tier",
    "state",
    "generation",
    "entries",
    "bytes",
    "capacity_bytes",
    "hits",
    "misses",
}
EVENT = {"version", "time", "ref", "from", "to", "by", "reason", "evidence"}
LOCATE = {"key", "owner", "preference", "tiers", "version"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterUnderTest]:
    with ClusterUnderTest(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(params=["n1", "n2", "n3"])
def at(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_status_has_the_shape_of_the_contract_from_every_member(
    cluster: ClusterUnderTest, at: str
) -> None:
    status = cluster.status(at)
    assert set(status) >= STATUS
    assert status["quorum"] is True
    assert status["leader"] in cluster.ids
    assert [n["id"] for n in status["nodes"]] == cluster.ids
    for node in status["nodes"]:
        assert set(node) >= NODE
        assert node["state"] == "UP"
        assert node["address"] == cluster.address(node["id"])
        assert [set(t) >= TIER for t in node["tiers"]] == [True] * 3
        assert [t["tier"] for t in node["tiers"]] == ["hot", "warm", "cold"]


def test_a_value_set_through_one_member_is_read_through_any(
    cluster: ClusterUnderTest, at: str
) -> None:
    assert cluster.cli("set", f"from-{at}", "hello", at=at).code == 0
    for other in cluster.ids:
        found = cluster.cli("get", f"from-{at}", at=other)
        assert (found.code, found.out.strip()) == (0, "hello")


def test_a_deleted_key_is_a_miss_with_exit_code_one(cluster: ClusterUnderTest) -> None:
    assert cluster.cli("set", "gone", "1").code == 0
    assert cluster.cli("delete", "gone").code == 0
    missed = cluster.cli("get", "gone")
    assert missed.code == 1
    assert cluster.cli("delete", "gone").code == 4


def test_locate_names_the_owner_that_the_client_computes(
    cluster: ClusterUnderTest, at: str
) -> None:
    with Client(cluster.addresses) as client:
        key = owned_by(client, "n2", 1)[0]
    document = cluster.cli("locate", key, "--json", at=at).json
    assert set(document) >= LOCATE
    assert document["owner"] == "n2"
    assert document["preference"][0] == "n2"
    assert sorted(document["preference"]) == cluster.ids
    assert document["tiers"] == {"hot": "n2/hot", "warm": "n2/warm", "cold": "n2/cold"}


def test_a_tier_is_drained_explained_and_restored_through_any_member(
    cluster: ClusterUnderTest, at: str
) -> None:
    before = cluster.status()["version"]
    drained = cluster.cli("tier", "drain", "n2/cold", "--wait", "--timeout", "20", at=at)
    assert drained.code == 0, drained.err
    assert cluster.states()["n2/cold"] == "DRAINED"
    again = cluster.cli("tier", "drain", "n2/cold", "--wait", "--timeout", "20", at=at)
    assert again.code == 0, again.err
    restored = cluster.cli("tier", "restore", "n2/cold", "--wait", "--timeout", "20", at=at)
    assert restored.code == 0, restored.err
    assert cluster.states()["n2/cold"] == "UP"

    events = cluster.cli("events", "--json", "--since", str(before), at=at).lines
    assert all(set(e) >= EVENT for e in events)
    steps = [e["to"] for e in events if e["ref"] == "n2/cold" and e["version"] > before]
    assert steps == ["DRAINING", "DRAINED", "RECOVERING", "UP"]
    versions = [e["version"] for e in events]
    assert versions == sorted(versions)
    why = cluster.cli("tier", "why", "n2/cold", at=at)
    assert why.code == 0
    assert "DRAINED" in why.out


def test_a_faulty_tier_fails_over_and_comes_back_by_itself(cluster: ClusterUnderTest) -> None:
    assert cluster.cli("fault", "inject", "n1/cold", "--kind", "eio").code == 0
    with Client(cluster.addresses) as client:
        keys = owned_by(client, "n1", 1500)
        for start in range(0, len(keys), 100):
            client.set_many({key: os.urandom(16_000) for key in keys[start : start + 100]})
        cluster.wait_state("n1/cold", "DOWN", 20)
        client.set("still", "here")
        assert client.get("still") == "here"
    assert cluster.cli("fault", "clear", "n1/cold").code == 0
    cluster.wait_state("n1/cold", "UP", 30)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("tier", "drain", "n9/cold"), 4),
        (("tier", "drain", "n1/tepid"), 2),
        (("tier", "why", "n9/cold"), 4),
        (("node", "drain", "n9"), 4),
        (("get", "never-set"), 1),
        (("get",), 2),
        (("--cluster", "127.0.0.1:1", "status"), 3),
    ],
)
def test_exit_codes(cluster: ClusterUnderTest, command: tuple[str, ...], code: int) -> None:
    ended = cluster.cli(*command)
    assert ended.code == code, (ended.out, ended.err)
    if code != 1:
        assert len(ended.err.strip().splitlines()) == 1


def test_all_members_hold_the_same_map(cluster: ClusterUnderTest) -> None:
    assert wait_agreed(cluster).version > 0


def test_a_stopped_cluster_leaves_with_exit_code_zero(tmp_path: Path) -> None:
    with ClusterUnderTest(tmp_path, nodes=1) as single:
        assert single.stop("n1") == 0
