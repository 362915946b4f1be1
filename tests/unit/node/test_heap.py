"""share_one_heap: glibc makes no heap for each thread."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Mapping

import pytest

from tests.harness.process import environment

# Threads that hold blocks at the same time; then malloc_info(3) tells the heaps, as XML.
PROGRAM = """
import ctypes, os, sys, tempfile, threading
from tiercluster.node.heap import share_one_heap

if sys.argv[1] == "shared":
    share_one_heap()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
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
path = tempfile.mktemp()
out = libc.fopen(path.encode(), b"w")
libc.malloc_info(0, out)
libc.fclose(out)
barrier.wait()
print(open(path).read().count("<heap nr="))
os.unlink(path)
"""


def heaps(which: str, **more: str) -> int:
    plain: Mapping[str, str] = {k: v for k, v in environment().items() if k != "MALLOC_ARENA_MAX"}
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, which],
        env={**plain, **more}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(answer.stdout)


glibc_only = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc",
    reason="heaps for threads are glibc's",
)


@glibc_only
def test_threads_share_one_heap() -> None:
    assert heaps("own") > 1
    assert heaps("shared") == 1


@glibc_only
def test_what_the_operator_has_set_stands() -> None:
    assert heaps("shared", MALLOC_ARENA_MAX="3") == 3
