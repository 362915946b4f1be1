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


# --- rotation -------------------------------------------------------------------------------------


def test_while_keys_are_rotated_a_node_knows_both_and_shows_one(run: Run, keys: Path) -> None:
    before, web = load_node_keys(keys, "n1"), load_client_keys(keys / "clients" / "web")
    assert run("keygen", "--out", str(keys), "--rotate", "start").code == 0
    started = load_node_keys(keys, "n1")
    assert started.own == before.own
    assert started.server == before.server
    assert len(started.known) == 2 * len(before.known)
    assert len(started.servers) == 2

    assert run("keygen", "--out", str(keys), "--rotate", "switch").code == 0
    switched, new_web = load_node_keys(keys, "n1"), load_client_keys(keys / "clients" / "web")
    assert switched.known == started.known
    assert set(switched.servers) == set(started.servers)
    assert switched.own != before.own
    assert switched.server.public == switched.servers[0] == new_web.server
    assert new_web.others == (web.server,)
    assert {web.public, new_web.public} == switched.clients
    assert not list((keys / "old").glob("*_secret"))

    assert run("keygen", "--out", str(keys), "--rotate", "finish").code == 0
    finished = load_node_keys(keys, "n1")
    assert finished.known == started.known - before.known
    assert finished.servers == (switched.server.public,)
    assert load_client_keys(keys / "clients" / "web").others == ()


def test_one_key_can_be_replaced_alone(run: Run, keys: Path) -> None:
    before = load_node_keys(keys, "n1")
    for step in ("start", "switch", "finish"):
        assert run("keygen", "--out", str(keys), "--rotate", step, "--client", "web").code == 0
    after = load_node_keys(keys, "n1")
    assert after.known - before.known == after.clients
    assert before.known - after.known == before.clients
    assert after.server == before.server


def test_steps_that_do_not_follow_are_refused_in_one_line(run: Run, keys: Path) -> None:
    def rotate(step: str, *more: str) -> tuple[int, str]:
        done = run("keygen", "--out", str(keys), "--rotate", step, *more)
        return done.code, done.err

    assert rotate("switch") == (6, "error: there are no next keys: begin with `--rotate start`\n")
    assert rotate("finish") == (6, "error: there are no old keys to be removed\n")
    assert rotate("start", "--node", "n9")[0] == 6
    rotate("start")
    rotate("switch")
    assert rotate("start")[0] == rotate("switch")[0] == 6


def test_new_secrets_are_for_their_owner_only(run: Run, keys: Path) -> None:
    run("keygen", "--out", str(keys), "--rotate", "start")
    secrets = list(keys.rglob("*.key_secret"))
    assert len(secrets) == 12
    assert {file.stat().st_mode & 0o077 for file in secrets} == {0}


@pytest.mark.parametrize(
    "text",
    [
        "",
        f'public-key = "{"#" * 40}"',
        f'public-key = "{"~" * 40}"',
        "public-key",
        'curve\n public-key = "short"\n',
        "x" * 2**17,
    ],
)
def test_a_file_that_is_no_key_is_named_and_not_quoted(keys: Path, text: str) -> None:
    (keys / "nodes" / "n2.key").write_text(text)
    with pytest.raises(ValueError, match=r"n2\.key is no key file"):
        load_node_keys(keys, "n1")


def test_a_pair_that_does_not_belong_together_is_refused(keys: Path) -> None:
    file, other = keys / "nodes" / "n1.key_secret", keys / "nodes" / "n2.key_secret"
    secret = other.read_text().partition("secret-key = ")[2]
    file.write_text(file.read_text().partition("secret-key = ")[0] + "secret-key = " + secret)
    with pytest.raises(ValueError, match="not that of its secret key") as error:
        load_node_keys(keys, "n1")
    assert secret.strip().strip('"') not in str(error.value)
