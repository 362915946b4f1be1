"""The servers that the benchmarks start: each a process of its own, ended by its pid."""

from __future__ import annotations

import random
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

READY_S = 30.0
STOP_S = 5.0
LOWEST_PORT, HIGHEST_PORT = 15_000, 32_000  # below the ephemeral range


def free_port() -> int:
    for port in random.sample(range(LOWEST_PORT, HIGHEST_PORT), 1000):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


@contextmanager
def server(command: list[str], port: int, cpu: int | None = None) -> Iterator[int]:
    """The pid, once it accepts on the port."""
    pinned = ["taskset", "-c", str(cpu), *command] if cpu is not None else command
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(pinned, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _wait_for(port, process, log)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Any) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    log.seek(0)
    raise SystemExit(f"a server did not start:\n{log.read().decode(errors='replace')}")
