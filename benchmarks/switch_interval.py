"""What the interpreter's switch interval does to a hot GET beside the control plane.

    python benchmarks/switch_interval.py

A cluster of one for each interval, asked alternately; the default of CPython is 5 ms. Prints p50
and p99 of single GETs of 1 KiB in microseconds, and the ratio to the default. docs/decisions/0005.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tiercluster import Client

INTERVALS_S = (5e-3, 1e-3, 1e-4, 2e-5)
ROUNDS, GETS = 5, 2000
FIRST_PORT = 17761
NODE = (
    "import sys, tiercluster.node.run as run; run.SWITCH_INTERVAL_S = float(sys.argv.pop(1)); "
    "from tiercluster.cli.main import main; main()"
)


def start(interval_s: float, port: int, data: Path) -> subprocess.Popen[str]:
    """A node that serves."""
    node = subprocess.Popen(
        [sys.executable, "-c", NODE, str(interval_s), "start", "--listen", f"127.0.0.1:{port}",
         "--raft", f"127.0.0.1:{port + 100}", "--data", str(data / str(port))],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert node.stdout is not None
    if not node.stdout.readline().startswith("ready"):
        raise SystemExit(f"no node on port {port}")
    return node


def timed(client: Client) -> list[float]:
    took = []
    for _ in range(GETS):
        began = time.perf_counter()
        client.get("key")
        took.append(time.perf_counter() - began)
    return sorted(took)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        ports = [FIRST_PORT + i for i in range(len(INTERVALS_S))]
        nodes = [start(s, p, Path(directory)) for s, p in zip(INTERVALS_S, ports, strict=True)]
        try:
            report([Client(f"127.0.0.1:{port}", serializer="bytes") for port in ports])
        finally:
            for node in nodes:
                node.terminate()
            for node in nodes:
                node.wait()


def report(clients: list[Client]) -> None:
    p50s: list[list[float]] = [[] for _ in clients]
    p99s: list[list[float]] = [[] for _ in clients]
    for client in clients:
        client.set("key", b"x" * 1024)
    for _ in range(ROUNDS):
        for client, p50, p99 in zip(clients, p50s, p99s, strict=True):
            took = timed(client)
            p50.append(took[GETS // 2])
            p99.append(took[GETS * 99 // 100])
    print(f"{'interval':>10} {'p50 us':>8} {'p99 us':>8} {'p99 ratio':>10}")
    for interval_s, p50, p99 in zip(INTERVALS_S, p50s, p99s, strict=True):
        ratio = median(p99) / median(p99s[0])
        print(f"{interval_s * 1e3:>8g}ms {median(p50) * 1e6:>8.0f} {median(p99) * 1e6:>8.0f} "
              f"{ratio:>10.2f}")  # fmt: skip
    for client in clients:
        client.close()


if __name__ == "__main__":
    main()
