"""What a call costs in CPU time, client and node apart: `python benchmarks/cpu_cost.py`.

Starts one node and asks it from this process, alone on its connection. CPU time of a busy machine
is steadier than time by the clock, and what counts is still the comparison of two versions in one
sitting. Both figures hold ZeroMQ's threads and the kernel's work; what the node spends when nobody
asks is taken off. Microseconds a call, the lowest of the rounds; values of 1 KiB.

`--profile` shows where this process spends its time instead.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from servers import READY_S, free_port, server

from tiercluster import Client

KEYS = 2000
BULK = 100
VALUE_BYTES = 1024
IDLE_S = 0.5

Call = Callable[[int], object]


@contextmanager
def node(directory: Path) -> Iterator[tuple[str, int]]:
    """The address and the pid of a node of its own."""
    port, raft = free_port(), free_port()
    address = f"127.0.0.1:{port}"
    command = [sys.executable, "-m", "tiercluster", "start", "--data", str(directory)]
    command += ["--listen", address, "--raft", f"127.0.0.1:{raft}"]
    with server(command, port) as pid:
        yield address, pid


def cpu_clock(pid: int) -> int:
    """Linux's clock of the CPU time of another process, for `time.clock_gettime`."""
    return (~pid << 3) | 2


def calls(client: Client) -> dict[str, tuple[Call, int]]:
    """Each verb and how often it is called in a round."""
    names = [f"key{i}" for i in range(KEYS)]
    value = os.urandom(VALUE_BYTES)
    lists = [random.sample(names, BULK) for _ in range(50)]
    maps = [dict.fromkeys(keys, value) for keys in lists]
    for start in range(0, KEYS, BULK):
        client.set_many(dict.fromkeys(names[start : start + BULK], value))
    return {
        "get": (lambda i: client.get(names[i % KEYS]), 2000),
        "set": (lambda i: client.set(names[i % KEYS], value), 2000),
        "get_many 100": (lambda i: client.get_many(lists[i % 50]), 300),
        "set_many 100": (lambda i: client.set_many(maps[i % 50]), 300),
    }


def idle_share(clock: int) -> float:
    """CPU seconds a second that the node spends unasked."""
    cpu, began = time.clock_gettime(clock), time.monotonic()
    time.sleep(IDLE_S)
    return (time.clock_gettime(clock) - cpu) / (time.monotonic() - began)


def cost(call: Call, count: int, clock: int, idle: float) -> tuple[float, float]:
    """CPU microseconds a call: in this process, in the node."""
    theirs, began = time.clock_gettime(clock), time.monotonic()
    ours = time.process_time()
    for i in range(count):
        call(i)
    ours = time.process_time() - ours
    theirs = time.clock_gettime(clock) - theirs - idle * (time.monotonic() - began)
    return ours / count * 1e6, theirs / count * 1e6


def measure(verbs: dict[str, tuple[Call, int]], rounds: int, clock: int) -> None:
    idle = idle_share(clock)
    seen: dict[str, list[tuple[float, float]]] = {verb: [] for verb in verbs}
    for _ in range(rounds):
        for verb, (call, count) in verbs.items():
            seen[verb].append(cost(call, count, clock, idle))
    print("CPU us a call     client      node")
    for verb, pairs in seen.items():
        ours, theirs = (min(column) for column in zip(*pairs, strict=True))
        print(f"{verb:14} {ours:9.1f} {theirs:9.1f}")


def profile(verbs: dict[str, tuple[Call, int]]) -> None:
    for verb, (call, count) in verbs.items():
        profiler = cProfile.Profile()
        profiler.enable()
        for i in range(count):
            call(i)
        profiler.disable()
        print(f"--- {count} x {verb}")
        pstats.Stats(profiler).sort_stats("tottime").print_stats(18)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--profile", action="store_true", help="a profile of this process")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        node(Path(directory)) as (address, pid),
        Client(address, serializer="bytes", timeout=READY_S) as client,
    ):
        verbs = calls(client)
        if asked.profile:
            profile(verbs)
        else:
            measure(verbs, asked.rounds, cpu_clock(pid))


if __name__ == "__main__":
    main()
