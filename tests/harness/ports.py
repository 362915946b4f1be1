"""Free loopback ports below 32768.

The range above is the kernel's own for outgoing connections: a port chosen there can be taken by
somebody's client while a killed node is down.
"""

from __future__ import annotations

import os
import random
import socket

LOWEST, HIGHEST = 15_000, 32_000


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; RuntimeError if there are too few."""
    rng = random.Random(os.urandom(8))
    found: list[int] = []
    for port in rng.sample(range(LOWEST, HIGHEST), HIGHEST - LOWEST):
        if is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"no {count} free ports between {LOWEST} and {HIGHEST}")


def is_free(port: int) -> bool:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
