"""What one heap for all threads does to a node's memory and to its speed.

    python benchmarks/heaps.py [--minutes 5]

Two nodes of one member each, asked alternately: one with the heaps that glibc makes by default (at
most 8 a core), one as `tiercluster start` runs it. Both are full, so that each SET of 8,000 bytes
evicts something. Prints resident memory after the first fifth and at the end, and the median of the
calls' times with the ratio between the two. docs/decisions/0005.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from servers import free_port, server

from tiercluster import Client

# what is set for each node
HEAPS = {"many": [f"MALLOC_ARENA_MAX={8 * (os.cpu_count() or 1)}"], "one": []}
SIZES = ("--hot", "4MiB", "--warm", "4MiB", "--cold", "16MiB")
KEYS, VALUE_BYTES = 4500, 8000  # 36 MB into 24 MiB
TURN = 500  # calls of one kind to one node, before the other's turn
MIB = 2**20


@contextmanager
def node(directory: Path, heaps: list[str]) -> Iterator[tuple[int, Client]]:
    """The pid, and a client of it."""
    port, raft = free_port(), free_port()
    start = [sys.executable, "-m", "tiercluster", "start", "--data", str(directory), *SIZES]
    start += ["--listen", f"127.0.0.1:{port}", "--raft", f"127.0.0.1:{raft}"]
    with (
        server(["env", "-u", "MALLOC_ARENA_MAX", *heaps, *start], port) as pid,
        Client(f"127.0.0.1:{port}", serializer="bytes") as client,
    ):
        yield pid, client


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def turn(client: Client, rng: random.Random, took: dict[str, list[float]]) -> None:
    """TURN writes and as many reads, their median times in microseconds added to ``took``."""
    for name in ("set", "get"):
        times = []
        for _ in range(TURN):
            key = f"k{rng.randrange(KEYS)}"
            value = rng.randbytes(VALUE_BYTES // 2) * 2 if name == "set" else b""
            began = time.perf_counter()
            if name == "set":
                client.set(key, value)
            else:
                client.get(key)
            times.append(time.perf_counter() - began)
        took[name].append(median(times) * 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    seconds = parser.parse_args().minutes * 60
    rng = random.Random(1)
    took: dict[str, dict[str, list[float]]] = {name: {"set": [], "get": []} for name in HEAPS}
    early: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        nodes = {
            name: stack.enter_context(node(Path(directory, name), heaps))
            for name, heaps in HEAPS.items()
        }
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            for name, (pid, client) in nodes.items():
                turn(client, rng, took[name])
                if name not in early and passed >= seconds / 5:
                    early[name] = resident_mib(pid)
        print(f"{'heaps':>6} {'MiB early':>10} {'MiB end':>8} {'set us':>7} {'get us':>7}")
        for name, (pid, _) in nodes.items():
            end = resident_mib(pid)
            sets, gets = median(took[name]["set"]), median(took[name]["get"])
            print(f"{name:>6} {early[name]:>10.1f} {end:>8.1f} {sets:>7.0f} {gets:>7.0f}")
    for call in ("set", "get"):
        pairs = zip(took["one"][call], took["many"][call], strict=True)
        print(f"{call}: one heap takes {median(a / b for a, b in pairs):.3f} of the time of many")


if __name__ == "__main__":
    main()
