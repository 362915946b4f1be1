"""A node obeys signals at once, whichever of its threads the system gives them to."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.cluster import ClusterUnderTest, wait_until, with_keys

TGKILL = {"x86_64": 234, "aarch64": 131}.get(platform.machine())
pytestmark = pytest.mark.skipif(TGKILL is None, reason="tgkill's number here is not known")
SOON_S = 10.0  # the main thread looks by itself after a minute


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterUnderTest]:
    with with_keys(tmp_path, nodes=1) as cluster:
        yield cluster


def threads(process: int) -> list[int]:
    """Those that may be given a signal (libzmq's refuse all), the main one first."""
    tasks = sorted(Path(f"/proc/{process}/task").iterdir(), key=lambda task: int(task.name))
    return [int(task.name) for task in tasks if not _refuses(task, signal.SIGHUP)]


def _refuses(task: Path, number: signal.Signals) -> bool:
    blocked = re.search(r"SigBlk:\s*([0-9a-f]+)", (task / "status").read_text())
    assert blocked is not None
    return bool(int(blocked[1], 16) >> (number - 1) & 1)


def hit(process: int, thread: int, number: signal.Signals) -> None:
    """The signal goes to this thread; os.kill leaves the choice to the system."""
    assert TGKILL is not None
    done = ctypes.CDLL(None, use_errno=True).syscall(TGKILL, process, thread, int(number))
    assert done == 0, os.strerror(ctypes.get_errno())


def test_a_node_reads_its_keys_anew_and_stops_whichever_thread_is_hit(
    cluster: ClusterUnderTest,
) -> None:
    process = cluster.processes["n1"]
    hits = threads(process.pid)
    assert len(hits) >= 4  # main, shard, control, cold
    for thread in hits:
        before = cluster.log("n1").count("keys_renewed")
        hit(process.pid, thread, signal.SIGHUP)
        wait_until(
            lambda before=before: cluster.log("n1").count("keys_renewed") > before,
            SOON_S, f"keys are read when thread {hits.index(thread)} is hit",
        )  # fmt: skip
    hit(process.pid, hits[-1], signal.SIGTERM)
    assert process.wait(SOON_S) == 0
