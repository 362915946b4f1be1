"""What a node's death costs in hits: a real trace, with and without a kill -9 in the middle.

    python benchmarks/node_death.py ../shared/traces/web12.keys.gz [--replicas 2] [--size 16MiB]
        [--assert-points 2]     # exit code 1 if more points of hit ratio are lost

Three nodes a run. Each key of the trace is read; a miss is loaded (a value of 1 KiB made of the
key) and stored. After two thirds of the trace n2 is killed, or not; the hit ratio of the last third
is compared, and the loads in the first 2,000 reads of it.
"""

from __future__ import annotations

import argparse
import gzip
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from servers import free_port, server

from tiercluster import Client
from tiercluster.errors import TierclusterError

VALUE_BYTES = 1024
WINDOW = 2000
SERVE_S = 30.0


def start_nodes(stack: ExitStack, replicas: int, size: str) -> tuple[list[str], list[int]]:
    """Addresses and pids of three nodes."""
    ids = ("n1", "n2", "n3")
    ports, rafts = {n: free_port() for n in ids}, {n: free_port() for n in ids}
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    pids = []
    for node in ids:
        command = [sys.executable, "-m", "tiercluster", "start", "--id", node]
        command += ["--listen", f"127.0.0.1:{ports[node]}", "--raft", f"127.0.0.1:{rafts[node]}"]
        command += ["--data", f"{folder}/{node}", "--replicas", str(replicas)]
        command += ["--hot", size, "--warm", size, "--cold", size]
        for other in ids:
            if other != node:
                command += ["--peer", f"{other}=127.0.0.1:{rafts[other]}"]
        pids.append(stack.enter_context(server(command, ports[node])))
    return [f"127.0.0.1:{ports[n]}" for n in ids], pids


def wait_until_all_serve(client: Client) -> None:
    until = time.monotonic() + SERVE_S
    while time.monotonic() < until:
        try:
            owners = {client.explain(f"probe{i}").owner for i in range(64)}
            if len(owners) == 3:
                return
        except TierclusterError:
            pass
        time.sleep(0.1)
    raise SystemExit("the nodes did not form a cluster")


def play(keys: list[str], replicas: int, size: str, kills: bool) -> tuple[float, int, int]:
    """Hit ratio of the last third, loads in its first WINDOW reads, calls that failed."""
    begin = len(keys) * 2 // 3
    with ExitStack() as stack:
        addresses, pids = start_nodes(stack, replicas, size)
        client = stack.enter_context(Client(addresses, timeout=5.0))
        wait_until_all_serve(client)
        hits = loads = failed = 0
        for at, key in enumerate(keys):
            if at == begin:
                hits = loads = 0
                if kills:
                    os.kill(pids[1], signal.SIGKILL)
            try:
                if client.get(key) is not None:
                    hits += at >= begin
                    continue
                client.set(key, (key * (VALUE_BYTES // len(key) + 1))[:VALUE_BYTES])
            except TierclusterError:
                failed += 1
            loads += begin <= at < begin + WINDOW
    return hits / (len(keys) - begin), loads, failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("trace", type=Path)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--size", default="4MiB", help="of each tier of each node")
    parser.add_argument("--requests", type=int, default=0, help="of the trace; 0: all")
    parser.add_argument("--assert-points", type=float, default=100.0,
                        help="exit code 1 if more points of hit ratio are lost")  # fmt: skip
    args = parser.parse_args()
    with gzip.open(args.trace, "rt") as lines:
        keys = [line.strip() for line in lines]
    keys = keys[: args.requests or len(keys)]
    calm = play(keys, args.replicas, args.size, kills=False)
    killed = play(keys, args.replicas, args.size, kills=True)
    print(f"{args.trace.name}: {len(keys)} reads, replicas {args.replicas}, {args.size} a tier")
    print(f"{'':12} hit ratio   loads in {WINDOW} reads   failed calls")
    for name, (ratio, loads, failed) in (("no kill", calm), ("n2 killed", killed)):
        print(f"{name:12} {ratio:9.4f}   {loads:20}   {failed:12}")
    lost = (calm[0] - killed[0]) * 100
    print(f"points lost  {lost:9.2f}")
    if lost > args.assert_points:
        raise SystemExit(1)


if __name__ == "__main__":
    try:
        main()
    except subprocess.SubprocessError as error:
        raise SystemExit(str(error)) from None
