"""The commands with the real client and admin, against nodes that only speak the protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from click.testing import CliRunner

from tests.integration.fake_cluster import FakeCluster
from tiercluster.cli.main import cli
from tiercluster.cluster.wire import Decided, Kind, Refusal, Status


@dataclass(frozen=True)
class Shell:
    cluster: FakeCluster

    def __call__(self, *args: str, at: str | None = None) -> tuple[int, str, str]:
        where = at or self.cluster.address
        result = CliRunner().invoke(cli, ["--cluster", where, *args], prog_name="tiercluster")
        return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def shell() -> Iterator[Shell]:
    cluster = FakeCluster()
    yield Shell(cluster)
    cluster.stop()


def test_a_value_goes_there_and_back_and_is_deleted(shell: Shell) -> None:
    assert shell("set", "greeting", "hello", "--ttl", "60") == (0, "", "")
    assert shell("get", "greeting") == (0, "hello\n", "")
    document = json.loads(shell("get", "greeting", "--json")[1])
    assert (document["value"], document["tier"]) == ("hello", "hot")
    assert 0 < document["ttl"] <= 60
    assert shell("delete", "greeting")[0] == 0
    assert shell("delete", "greeting")[0] == 4
    assert shell("get", "greeting")[0] == 1


def test_any_one_reachable_member_is_enough(shell: Shell) -> None:
    only = f"127.0.0.1:1,{shell.cluster['n2'].address}"
    assert shell("set", "a", "1", at=only)[0] == 0
    assert shell("status", "--json", at=only)[0] == 0


def test_status_shows_what_each_node_says(shell: Shell) -> None:
    document = json.loads(shell("status", "--json")[1])
    assert (document["cluster"], document["version"]) == ("c1", 10)
    assert [t["hits"] for t in document["nodes"][0]["tiers"]] == [3, 3, 0]


def test_locate_and_the_client_agree(shell: Shell) -> None:
    key = shell.cluster.key_of("n3")
    document = json.loads(shell("locate", key, "--json")[1])
    assert document["owner"] == "n3"
    assert document["tiers"] == {"hot": "n3/hot", "warm": "n3/warm", "cold": "n3/cold"}


def test_nobody_reachable_is_3_in_time(shell: Shell) -> None:
    began = time.monotonic()
    for command in (["status"], ["get", "k", "--timeout", "1"], ["tier", "drain", "n1/cold"]):
        code, out, err = shell(*command, at="127.0.0.1:1")
        assert (code, out, err.count("\n")) == (3, "", 1)
        assert "--cluster HOST:PORT" in err
    assert time.monotonic() - began < 6


def test_no_quorum_is_3_within_two_seconds(shell: Shell) -> None:
    for node in shell.cluster.nodes.values():
        node.script(Kind.PROPOSE, lambda _: (Status.NO_QUORUM, Refusal("1 of 3 voters"), b""))
    began = time.monotonic()
    code, _, err = shell("tier", "drain", "n1/cold")
    assert code == 3
    assert err.count("\n") == 1
    assert time.monotonic() - began < 2


def test_what_the_guard_says_arrives(shell: Shell) -> None:
    refused = Decided("refused", "refused by the guard: too many", 10)
    for node in shell.cluster.nodes.values():
        node.script(Kind.PROPOSE, lambda _: (Status.OK, refused, b""))
    code, _, err = shell("tier", "drain", "n1/cold")
    assert (code, err) == (6, "error: refused by the guard: too many\n")


def test_the_other_questions_are_asked_as_nodes_understand_them(shell: Shell) -> None:
    assert shell("tier", "probe", "n1/hot")[0] == 0
    assert shell("events")[0] == 0
    assert shell("tier", "why", "n1/hot")[0] == 0
    assert shell("node", "list")[0] == 0
    assert shell("bench", "--requests", "20", "--batch", "5")[0] == 0
