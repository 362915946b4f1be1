"""What a near cache saves and costs: `python benchmarks/near_cache.py`.

Starts one node. A hit: nanoseconds a call, the best of the rounds, by what is stored. News: from
the acknowledgement of another client's write to the first read that shows it, when the reading
thread does nothing else and when it sleeps between its reads. A lease: what the node spends on one
client that keeps copies and reads nothing from it, in CPU time.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from cpu_cost import cpu_clock, node

from tiercluster import Client

VALUES: dict[str, Any] = {
    "int": 12345,
    "text of 20": "x" * 20,
    "bytes of 1 KiB": b"x" * 1024,
    "dict of 3": {"id": 1, "name": "Ada", "tags": ["a", "b"]},
}
READY_S = 10.0


def keep(client: Client, key: str) -> None:
    until = time.monotonic() + READY_S
    while client.stats().near_hits == 0 or client.stats().near_entries < len(VALUES):
        for name in VALUES:
            client.get(name)
        if time.monotonic() > until:
            raise SystemExit(f"{key} is not kept")
        time.sleep(0.01)


def hit_ns(client: Client, key: str, rounds: int, calls: int = 20_000) -> float:
    best = float("inf")
    for _ in range(rounds):
        client.get(key)
        began = time.perf_counter()
        for _ in range(calls):
            client.get(key)
        best = min(best, time.perf_counter() - began)
    return best / calls * 1e9


def many_us(client: Client, rounds: int, calls: int = 500) -> float:
    keys = [f"many{i}" for i in range(100)]
    client.set_many(dict.fromkeys(keys, "x" * 20))
    client.get_many(keys)
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(calls):
            client.get_many(keys)
        best = min(best, time.perf_counter() - began)
    return best / calls * 1e6


def news_us(near: Client, writer: Client, pause_s: float, writes: int) -> list[float]:
    """Sorted; one for each write. The writer is another thread, as another program would be."""
    acknowledged = [0.0] * (writes + 1)
    turn = threading.Semaphore(0)

    def write() -> None:
        for number in range(1, writes + 1):
            turn.acquire()
            writer.set("news", number)
            acknowledged[number] = time.perf_counter()

    writer.set("news", 0)
    near.get("news")
    thread = threading.Thread(target=write)
    thread.start()
    took = []
    for number in range(1, writes + 1):
        near.get("news")
        turn.release()
        while near.get("news") != number:
            time.sleep(pause_s) if pause_s else None
        seen = time.perf_counter()
        while not acknowledged[number]:
            time.sleep(0)
        took.append(max(0.0, seen - acknowledged[number]) * 1e6)
    thread.join()
    return sorted(took)


def lease_cpu(near: Client, pid: int, seconds: float) -> tuple[float, float]:
    """CPU milliseconds a second of the node: idle, and while a client holds a lease."""

    def spent(reads: bool) -> float:
        clock, began = cpu_clock(pid), time.monotonic()
        before = time.clock_gettime(clock)
        while time.monotonic() < began + seconds:
            if reads:
                near.get("int")
            time.sleep(0.01)
        return (time.clock_gettime(clock) - before) / (time.monotonic() - began) * 1e3

    held = spent(True)
    near.close()
    return spent(False), held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--writes", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=5.0, help="of the lease's cost")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, node(Path(directory)) as (address, pid):
        writer = Client(address, timeout=READY_S)
        near = Client(address, timeout=READY_S, near_cache=10_000)
        for name, value in VALUES.items():
            writer.set(name, value)
        keep(near, "int")
        for name in VALUES:
            print(f"hit, {name:16} {hit_ns(near, name, asked.rounds):8.0f} ns")
        print(f"get_many of 100          {many_us(near, asked.rounds):8.1f} us")
        for what, pause_s in (("busy reader", 0.0), ("reader that sleeps", 0.0005)):
            took = news_us(near, writer, pause_s, asked.writes)
            p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
            print(f"news, {what:18} p50 {p50:8.0f} us, p99 {p99:8.0f} us")
        idle, held = lease_cpu(near, pid, asked.seconds)
        print(f"node, CPU ms a second    {idle:8.1f} idle, {held:8.1f} with one client's lease")
        writer.close()


if __name__ == "__main__":
    main()
