"""A node that is started by something careless: without a stdout, or with one that nobody reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.ports import free_ports
from tests.harness.process import environment

START_S = 20.0


def start(tmp_path: Path, *arguments: str) -> list[str]:
    port, raft = free_ports(2)
    command = [sys.executable, "-m", "tiercluster", "start", "--data", str(tmp_path / "data")]
    command += ["--listen", f"127.0.0.1:{port}", "--raft", f"127.0.0.1:{raft}"]
    return [*command, *arguments]


def events(log: Path) -> list[str]:
    lines = log.read_text().splitlines()
    return [str(json.loads(line)["event"]) for line in lines if line.startswith("{")]


def without_stdout() -> None:
    os.close(1)


def with_a_pipe_that_nobody_reads() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)


@pytest.mark.parametrize("careless", [without_stdout, with_a_pipe_that_nobody_reads])
def test_a_node_whose_ready_line_nobody_reads_serves_all_the_same(
    tmp_path: Path, careless: Callable[[], None]
) -> None:
    log = tmp_path / "log"
    with log.open("wb") as err:
        node = subprocess.Popen(start(tmp_path), stderr=err, env=environment(), preexec_fn=careless)
    try:
        until = time.monotonic() + START_S
        while "ready" not in events(log) and node.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        assert "ready" in events(log), log.read_text()
        node.send_signal(signal.SIGTERM)
        assert node.wait(START_S) == 0, log.read_text()
    finally:
        node.kill()
        node.wait()


def test_a_command_without_standard_streams_does_its_work() -> None:
    command = f"{sys.executable} -m tiercluster keygen --help"
    shell = subprocess.run(
        ["sh", "-c", f"exec {command} <&- >&-"], env=environment(), capture_output=True, check=False
    )
    assert (shell.returncode, shell.stderr) == (0, b"")


def test_a_port_that_is_lost_at_the_last_moment_is_said_in_one_line(tmp_path: Path) -> None:
    """Each port is free when it is looked at; two spellings of one address are not seen before."""
    (port,) = free_ports(1)
    twice = ("--listen", f"localhost:{port}", "--http", f"127.0.0.1:{port}")
    ended = subprocess.run(
        start(tmp_path, *twice), env=environment(), capture_output=True, timeout=START_S,
        check=False, text=True,
    )  # fmt: skip
    assert ended.returncode == 1
    said = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert len(said) == 1, said
    assert said[0].startswith(f"error: cannot listen on localhost:{port}: Address already in use")


def test_a_full_disk_below_the_output_is_said_once() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tiercluster", "--version"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment(),
        )  # fmt: skip
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
