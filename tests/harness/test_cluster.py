"""The plumbing, with a stand-in for the node."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from .cluster import ClusterUnderTest
from .ports import free_ports, is_free
from .process import NotReady

FAKE = (sys.executable, str(Path(__file__).with_name("fake_start.py")))


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_process_is_gone_when_the_block_is_left(tmp_path: Path) -> None:
    with ClusterUnderTest(tmp_path, program=FAKE) as cluster:
        pids = [p.pid for p in cluster.processes.values()]
        assert all(map(exists, pids))
        cluster.freeze("n2")
    assert not any(map(exists, pids))


def test_a_killed_node_starts_again_with_the_same_flags(tmp_path: Path) -> None:
    with ClusterUnderTest(tmp_path, program=FAKE) as cluster:
        before = cluster.processes["n1"].said()
        cluster.kill("n1")
        assert not cluster.is_alive("n1")
        cluster.restart("n1")
        assert cluster.processes["n1"].said() == before
        assert "--peer=n2=" in before


def test_a_node_that_stops_cleanly_tells_its_exit_code(tmp_path: Path) -> None:
    with ClusterUnderTest(tmp_path, nodes=1, program=FAKE) as cluster:
        assert cluster.stop("n1") == 0


def test_a_node_that_ends_early_is_reported_with_its_output(tmp_path: Path) -> None:
    broken = (sys.executable, "-c", "import sys; sys.exit('port taken')")
    with pytest.raises(NotReady, match="port taken"), ClusterUnderTest(tmp_path, program=broken):
        pass


def test_a_command_is_run_against_the_member_named(tmp_path: Path) -> None:
    with ClusterUnderTest(tmp_path, nodes=1, program=FAKE) as cluster:
        assert cluster.cli("status", at="n1").out == "ready status\n"


def test_ports_are_free_different_and_below_the_ephemeral_range() -> None:
    ports = free_ports(9)
    assert len(set(ports)) == 9
    assert all(is_free(p) and p < 32768 for p in ports)
