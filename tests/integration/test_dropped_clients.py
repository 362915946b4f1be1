"""Clients that nobody closed: what becomes of them is not the program's end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .fake_cluster import FakeCluster

_PROGRAM = """
import asyncio, gc, sys, threading
from tiercluster import AsyncClient, Client
address, kind = sys.argv[1:]

class Service:  # a cycle, as any object with a bound method in it
    def __init__(self, client):
        self.cache, self.handlers = client, [self.handle]
    def handle(self):
        return self.cache.get("k")

async def ask():
    return await AsyncClient(address).get("k")

def in_thread(loops):
    client = AsyncClient(address)
    async def often():
        for _ in range(100):
            await client.get("k")
    threads = [threading.Thread(target=asyncio.run, args=(often(),)) for _ in range(loops)]
    [t.start() for t in threads]
    [t.join() for t in threads]

match kind:
    case "cycle": Service(Client(address)).handle()
    case "failed": Client("127.0.0.1:9", timeout=0.3, on_error="miss").get("k")
    case "late": Client(address, timeout=1e-6, on_error="miss").get("k")
    case "asyncio": asyncio.run(ask())
    case "loops": in_thread(3)
gc.collect()
print("ended")
"""


@pytest.mark.parametrize("kind", ["cycle", "failed", "late", "asyncio", "loops"])
def test_a_client_that_is_dropped_does_not_hang_the_process(single: FakeCluster, kind: str) -> None:
    arguments = [sys.executable, "-c", _PROGRAM, single.address, kind]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout == "ended\n", done.stderr
