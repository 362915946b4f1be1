"""glibc makes no heap for each thread, and what is free goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys
from dataclasses import dataclass
from typing import cast

import pytest

from tests.harness.process import environment
from tiercluster.node import run
from tiercluster.node.inbox import Inbox
from tiercluster.node.run import Word

# Threads that hold blocks at the same time, while malloc_info(3) tells of the heaps, as XML.
HEAPS = """
import ctypes, sys, threading
from tiercluster.node.heap import share_one_heap

if sys.argv[1] == "shared":
    share_one_heap()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fclose.argtypes = [ctypes.c_void_p]
barrier = threading.Barrier(5)

def work():
    held = [bytes(8000) for _ in range(100)]
    barrier.wait()
    barrier.wait()

for _ in range(4):
    threading.Thread(target=work).start()
barrier.wait()
out = libc.fdopen(1, b"w")
libc.malloc_info(0, out)
libc.fclose(out)
barrier.wait()
"""

# 40 MB in blocks of 8 kB, all freed but the last, which lies on top of them.
BURST = """
import os
from tiercluster.node.heap import return_free_pages, share_one_heap

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

share_one_heap()
before = resident()
held = [bytes(8000) for _ in range(5000)]
del held[:-1]
kept = resident()
took_s = return_free_pages()
print(kept - before, resident() - before, took_s)
"""


def printed(program: str, *arguments: str, **more: str) -> str:
    """By a Python of its own, without the operator's MALLOC_ARENA_MAX."""
    plain = {k: v for k, v in environment().items() if k != "MALLOC_ARENA_MAX"}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**plain, **more}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


def heaps(which: str, **more: str) -> int:
    return printed(HEAPS, which, **more).count("<heap nr=")


glibc_only = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="heaps for threads are glibc's"
)


@glibc_only
def test_threads_share_one_heap() -> None:
    assert heaps("own") > 1
    assert heaps("shared") == 1


@glibc_only
def test_what_the_operator_has_set_stands() -> None:
    assert heaps("shared", MALLOC_ARENA_MAX="3") == 3


@glibc_only
def test_the_pages_of_a_burst_go_back() -> None:
    kept, left, took_s = map(float, printed(BURST).split())
    assert kept > 30e6
    assert left < 5e6
    assert took_s > 0


class Words(Inbox[Word]):
    """An inbox that is always empty for as long as one waits, until ``rounds`` are over."""

    def __init__(self, rounds: int) -> None:
        super().__init__(1)
        self.waited: list[float | None] = []
        self._rounds = rounds

    def take(self, timeout_s: float | None = None) -> Word | None:
        self.waited.append(timeout_s)
        return None if len(self.waited) < self._rounds else Word.ENDED


@dataclass
class Waited:
    words: Words


@pytest.mark.parametrize(("took_s", "pause_s"), [(0.002, 60.0), (0.013, 65.0), (0.2, 1000.0)])
def test_the_longer_it_takes_the_more_seldom(
    took_s: float, pause_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "return_free_pages", lambda: took_s)
    node = Waited(Words(3))
    run.wait_for_end(cast(run.Node, node))
    assert node.words.waited == [60.0, pytest.approx(pause_s), pytest.approx(pause_s)]
