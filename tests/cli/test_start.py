"""One node: its settings reach it, its ready line is one line."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tiercluster.cli import start
from tiercluster.node.settings import NodeSettings
from tiercluster.tiermap.raft import lock_directory

from .conftest import Run


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[NodeSettings]:
    """The settings of the nodes that were started; none of them is."""
    seen: list[NodeSettings] = []

    def run_node(settings: NodeSettings, announce: Callable[[str], None]) -> int:
        seen.append(settings)
        announce("ready")
        return 0

    monkeypatch.setattr(start, "run_node", run_node)
    monkeypatch.setattr(start, "port_problem", lambda _: "")
    return seen


def test_ready_is_one_line_with_id_and_addresses(run: Run, started: list[NodeSettings]) -> None:
    ran = run("start", "--id", "n2", "--listen", "127.0.0.1:7702", "--http", "127.0.0.1:7902")
    line = "ready id=n2 listen=127.0.0.1:7702 raft=127.0.0.1:7802 http=127.0.0.1:7902\n"
    assert (ran.code, ran.out, ran.err) == (0, line, "")


def test_a_follower_has_no_raft_address(run: Run, started: list[NodeSettings]) -> None:
    out = run("start", "--id", "n9", "--join", "127.0.0.1:7701").out
    assert out == "ready id=n9 listen=127.0.0.1:7701 raft=- http=-\n"


def test_every_flag_reaches_the_node(run: Run, started: list[NodeSettings], tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    ran = run(
        "start", "--id", "n1", "--listen", "10.0.0.1:7701", "--raft", "10.0.0.1:7801",
        "--peer", "n2=10.0.0.2:7801", "--peer", "n3=10.0.0.3:7801", "--data", str(tmp_path),
        "--hot", "1GiB", "--warm", "2GiB", "--cold", "3GiB", "--http", "127.0.0.1:7901",
        "--weight", "2", "--cluster-name", "prod", "--on-quorum-loss", "fence",
        "--keys", str(keys), "--allow-faults",
    )  # fmt: skip
    assert ran.code == 0
    [settings] = started
    assert settings.peers == (("n2", "10.0.0.2:7801"), ("n3", "10.0.0.3:7801"))
    tiers = (settings.hot, settings.warm, settings.cold)
    assert [tier.capacity_bytes >> 30 for tier in tiers] == [1, 2, 3]
    assert (settings.data, settings.keys) == (tmp_path, keys)
    assert (settings.weight, settings.cluster, settings.on_quorum_loss) == (2.0, "prod", "fence")
    assert settings.allow_faults
    assert not settings.insecure


def test_insecure_is_a_word_that_must_be_said(run: Run, started: list[NodeSettings]) -> None:
    assert run("start", "--listen", "10.0.0.1:7701").code == 6
    assert run("start", "--listen", "10.0.0.1:7701", "--insecure").code == 0
    assert len(started) == 1


def test_listening_on_all_interfaces_is_warned_of(run: Run, started: list[NodeSettings]) -> None:
    assert "own address" in run("start", "--listen", "0.0.0.0:7701", "--insecure").err


def test_a_port_in_use_is_said_before_anything_is_started(run: Run, tmp_path: Path) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        where = f"127.0.0.1:{squatter.getsockname()[1]}"
        ran = run("start", "--listen", where, "--raft", "127.0.0.1:1", "--data", str(tmp_path))
    assert ran.code == 1
    assert ran.err == f"error: --listen {where}: address already in use; is another node running?\n"


def test_a_second_node_on_the_same_data_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "port_problem", lambda _: "")
    held = lock_directory(tmp_path)
    try:
        ran = run("start", "--data", str(tmp_path))
    finally:
        os.close(held)
    assert (ran.code, ran.out) == (1, "")
    assert "another node runs on" in ran.err


def test_data_that_cannot_be_is_no_other_node(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(start, "port_problem", lambda _: "")
    monkeypatch.setattr("fcntl.flock", flock)
    ran = run("start", "--data", str(tmp_path))
    assert ran.code == 1
    assert "cannot use --data" in ran.err
    assert "No locks available" in ran.err
