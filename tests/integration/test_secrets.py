"""No secret key stands anywhere but in its own file: no log, error, output, `ps` or repr has it."""

from __future__ import annotations

import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from zmq.utils import z85

from tests.harness.cluster import ClusterUnderTest, wait_until, with_keys
from tiercluster import Client
from tiercluster.cluster.admin import Admin
from tiercluster.cluster.keys_files import load_client_keys, read_pair
from tiercluster.cluster.options import arguments_of_url, parse_nodes
from tiercluster.errors import Unauthorized
from tiercluster.node import run as node_run
from tiercluster.node.keyring import load_node_keys
from tiercluster.node.messages import UseKeys
from tiercluster.node.run import _raft_keys
from tiercluster.node.settings import NodeSettings
from tiercluster.node.sockets import own_curve, server_curve
from tiercluster.tiermap import Drain, Tier

SECRET = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"  # of the documentation of Z85's own library


class Seen:
    """Everything that was shown to anybody, by where it was."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def add(self, where: str, text: str | bytes) -> None:
        more = text if isinstance(text, str) else text.decode("latin-1")
        self.texts[where] = self.texts.get(where, "") + more

    def holding(self, secrets: list[bytes]) -> list[str]:
        forms = [form for secret in secrets for form in _forms(secret)]
        return [where for where, text in self.texts.items() if any(f in text for f in forms)]


def _forms(secret: bytes) -> list[str]:
    raw = z85.decode(secret)
    return [secret.decode(), repr(secret)[2:-1], raw.hex(), raw.decode("latin-1")]


def secrets_of(keys: Path) -> list[bytes]:
    return [read_pair(file)[1] for file in keys.rglob("*.key_secret")]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterUnderTest]:
    with with_keys(tmp_path, nodes=1) as cluster:
        yield cluster


def commands(cluster: ClusterUnderTest, tmp_path: Path) -> list[tuple[str, ...]]:
    keys, file = str(tmp_path / "keys"), tmp_path / "node.toml"
    file.write_text(f'keys = "{keys}"\nhot = "12 parsecs"\nsecret_key = "{SECRET}"\n')
    fine = tmp_path / "fine.toml"
    fine.write_text(f'keys = "{keys}"\n')
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "client.key_secret").write_text(f'secret-key = "{SECRET}"\n')
    (broken / "cluster.key").write_text(SECRET)
    return [
        ("status",), ("status", "--json"), ("tier", "list", "--json"), ("events",),
        ("doctor",), ("doctor", "--json"), ("locate", "k", "--json"),
        ("config", "check", str(file)), ("config", "check", str(file), "--json"),
        ("config", "check", str(fine)), ("config", "check", str(fine), "--json"),
        ("keygen", "--out", keys, "--json"), ("keygen", "--out", keys, "--node", "n7"),
        ("keygen", "--out", keys, "--rotate", "start"),
        ("keygen", "--out", keys, "--rotate", "start", "--json"),
        ("status", "--keys", str(broken)), ("start", "--keys", str(broken), "--id", "n1"),
        ("status", "--keys", SECRET), ("start", "--keys", SECRET), ("get", "k", "--keys", SECRET),
        ("start", "--config", str(file)), ("status", "--cluster", f"user:{SECRET}@h:1"),
    ]  # fmt: skip


def test_no_secret_is_shown_by_a_running_cluster_or_its_commands(
    cluster: ClusterUnderTest, tmp_path: Path
) -> None:
    keys, seen, process = tmp_path / "keys", Seen(), cluster.processes["n1"]
    asked = commands(cluster, tmp_path)
    for command in asked:
        done = cluster.cli(*command)
        seen.add(" ".join(command).replace(SECRET, "SECRET"), done.out + done.err)
    process.send(signal.SIGHUP)
    wait_until(lambda: "keys_renewed" in cluster.log("n1"), 10, "the keys are read anew")
    (keys / "nodes" / "n2.key").write_text(f'secret-key = "{SECRET}"')
    process.send(signal.SIGHUP)
    wait_until(lambda: "keys_not_renewed" in cluster.log("n1"), 10, "a bad key is named")
    with Client(cluster.addresses, keys=keys / "clients" / "web", timeout=2.0) as client:
        seen.add("repr", repr(client))
    for name in ("cmdline", "environ"):
        seen.add(name, Path(f"/proc/{process.pid}/{name}").read_bytes())
    page = f"http://127.0.0.1:{cluster.ports['n1'].http}/metrics"
    with urllib.request.urlopen(page, timeout=5) as metrics:
        seen.add("metrics", metrics.read())
    seen.add("log", cluster.log("n1"))
    seen.add("stdout", process.said())
    for file in cluster.data("n1").rglob("*"):
        if file.is_file():
            seen.add(str(file), file.read_bytes())
    secrets = secrets_of(keys)
    assert len(secrets) >= 12
    assert seen.holding([*secrets, SECRET.encode()]) == []
    assert len(seen.texts) > len(asked)


def test_what_is_looked_for_would_be_found(cluster: ClusterUnderTest, tmp_path: Path) -> None:
    seen = Seen()
    secret = secrets_of(tmp_path / "keys")[0]
    for form in _forms(secret):
        seen.add(form, f"...{form}...")
    assert len(seen.holding([secret])) == len(seen.texts)


def test_no_secret_is_in_the_repr_of_anything_that_holds_keys(
    cluster: ClusterUnderTest, tmp_path: Path
) -> None:
    keys, seen = tmp_path / "keys", Seen()
    node = load_node_keys(keys, "n1")
    settings = NodeSettings(id="n1", peers=(("n2", "127.0.0.1:1"), ("n3", "127.0.0.1:2")))
    holders: tuple[Any, ...] = (
        node, node.own, UseKeys(node), own_curve(node), server_curve(node),
        _raft_keys(settings, node), load_client_keys(keys),
    )  # fmt: skip
    for holder in holders:
        seen.add(type(holder).__name__, repr(holder) + str(holder))
    assert seen.holding(secrets_of(keys)) == []


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_crash_in_a_worker_prints_no_local_variables(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def crash(secret: str) -> None:
        raise RuntimeError("the worker")

    before = structlog.get_config()
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    try:
        node_run._log_to_stderr()
        try:
            crash(SECRET)
        except RuntimeError as error:
            structlog.get_logger("t").critical("worker ended", exc_info=error)
    finally:
        structlog.configure(**before)
    shown = capsys.readouterr().err
    assert "the worker" in shown
    assert "in crash" in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    "url", [f"redis://:{SECRET}@h:1", f"tier://h:1/ns?password={SECRET}", f"tier://u:{SECRET}@h:1"]
)
def test_a_password_in_a_url_is_not_quoted(url: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_nodes(arguments_of_url(url)["nodes"])
    assert SECRET not in str(error.value)


def test_the_key_of_an_application_reads_and_writes_and_administers_nothing(
    cluster: ClusterUnderTest, tmp_path: Path
) -> None:
    web = tmp_path / "keys" / "clients" / "web"
    with Client(cluster.addresses, keys=web, timeout=2.0) as client:
        assert client.set("k", 1)
        assert client.get("k") == 1
        with Admin(cluster.addresses.split(","), keys=web) as admin:
            drain = Drain(id="d", by="web", time=0.0, node="n1", tiers=(Tier.HOT,))
            for asked in (
                lambda: admin.propose(drain),
                lambda: admin.probe("n1", "cold"),
                lambda: admin.fault("n1", "cold", "eio", 0, 1.0),
                lambda: admin.node_fault("n1", "freeze", 1.0),
            ):
                with pytest.raises(Unauthorized):
                    asked()
        assert client.get("k") == 1
    for command in (("tier", "drain", "n1/hot"), ("tier", "probe", "n1/cold")):
        refused = cluster.cli(*command, "--keys", str(web))
        assert refused.code != 0
        assert "Traceback" not in refused.err
        assert "give the operator's keys" in refused.err, refused.err
