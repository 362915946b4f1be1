"""Keys: made once, kept for good, readable by nodes and clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiercluster.cluster.keys_files import load_client_keys
from tiercluster.node.keyring import load_node_keys

from .conftest import Run


@pytest.fixture
def keys(run: Run, tmp_path: Path) -> Path:
    out = tmp_path / "keys"
    assert run("keygen", "--out", str(out), "--client", "web").code == 0
    return out


def test_a_node_finds_its_own_keys_and_those_of_the_others(keys: Path) -> None:
    found = load_node_keys(keys, "n2")
    assert [node for node, _ in found.nodes] == ["n1", "n2", "n3"]
    assert found.own.public == dict(found.nodes)["n2"]
    assert len(found.clients) == len(found.admins) == 1
    assert "secret" not in repr(found.server)


def test_an_application_gets_a_directory_that_is_complete(keys: Path) -> None:
    web, operator = load_client_keys(keys / "clients" / "web"), load_client_keys(keys)
    node = load_node_keys(keys, "n1")
    assert web.server == operator.server == node.server.public
    assert {web.public} == node.clients
    assert {operator.public} == node.admins
    assert not list((keys / "clients" / "web").glob("cluster.key_secret"))


def test_secrets_are_for_their_owner_only(keys: Path) -> None:
    secrets = list(keys.rglob("*.key_secret"))
    assert len(secrets) == 6
    assert {file.stat().st_mode & 0o077 for file in secrets} == {0}


def test_keys_that_are_there_are_kept_and_others_added(run: Run, keys: Path) -> None:
    before = load_node_keys(keys, "n1")
    document = run("keygen", "--out", str(keys), "--node", "n4", "--json").json
    assert document["made"] == ["nodes/n4"]
    assert document["kept"] == ["cluster", "client"]
    after = load_node_keys(keys, "n1")
    assert after.own == before.own
    assert [node for node, _ in after.nodes] == ["n1", "n2", "n3", "n4"]


@pytest.mark.parametrize("name", ["", "../n1", ".n1", "a/b"])
def test_a_name_that_is_a_path_is_refused(run: Run, tmp_path: Path, name: str) -> None:
    out = tmp_path / "keys"
    assert run("keygen", "--out", str(out), "--node", name).code == 2
    assert not out.exists()


def test_a_node_without_keys_is_told_how_to_make_them(keys: Path) -> None:
    with pytest.raises(ValueError, match="tiercluster keygen"):
        load_node_keys(keys, "n9")
