"""The least that a get of many keys can cost over ZeroMQ in Python: `python benchmarks/floor.py`.

A server of one dict, without deadline, lease, owner, version, generation or TTL, and a client that
does no more than pack its keys and cut the answer, beside pymemcache with memcached. Server and
client have a CPU each. What `peers.py` shows for us above this is what our promises cost.

Needs memcached on the PATH and `pip install 'tiercluster[bench]'`.
"""

from __future__ import annotations

import io
import os
import random
import statistics
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import zmq
from peers import BULK, KEYS, VALUE_BYTES, memcached_subject
from servers import free_port

ROUNDS = 7
CALLS = 1000
BETWEEN = b"\xff"

Get = Callable[[list[str]], object]


def serve(port: int, cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    values = {f"key{i}".encode(): os.urandom(VALUE_BYTES) for i in range(KEYS)}
    socket: zmq.Socket[bytes] = zmq.Context().socket(zmq.ROUTER)
    socket.bind(f"tcp://127.0.0.1:{port}")
    while True:
        identity, asked = socket.recv(), socket.recv()
        found = [values[key] for key in asked.split(BETWEEN)]
        sizes = struct.pack(f"<{len(found)}i", *map(len, found))
        socket.send_multipart([identity, sizes, b"".join(found)])


def getter(socket: zmq.Socket[bytes]) -> Get:
    def get(keys: list[str]) -> dict[str, bytes]:
        socket.send("\x1e".join(keys).encode().replace(b"\x1e", BETWEEN))
        sizes, body = socket.recv(), socket.recv()
        lengths = struct.unpack(f"<{len(sizes) // 4}i", sizes)
        return dict(zip(keys, map(io.BytesIO(body).read, lengths), strict=True))

    return get


def median_us(get: Get, names: list[str]) -> float:
    took = []
    for _ in range(CALLS):
        keys = random.sample(names, BULK)
        began = time.perf_counter()
        get(keys)
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e6


def main() -> None:
    cpus = sorted(os.sched_getaffinity(0))
    names = [f"key{i}" for i in range(KEYS)]
    port = free_port()
    server = get_context("spawn").Process(target=serve, args=(port, cpus[0]), daemon=True)
    server.start()
    os.sched_setaffinity(0, {cpus[-1]})
    with ExitStack() as stack:
        stack.callback(server.join)
        stack.callback(server.terminate)
        context = stack.enter_context(zmq.Context())
        socket = stack.enter_context(context.socket(zmq.DEALER))
        socket.connect(f"tcp://127.0.0.1:{port}")
        ours = getter(socket)
        peer = memcached_subject(stack, Path(), cpus[0], 1)
        for start in range(0, KEYS, BULK):
            peer.calls["set 100"](names[start : start + BULK])
        pairs = [
            (median_us(ours, names), median_us(peer.calls["get 100"], names)) for _ in range(ROUNDS)
        ]
    floor, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"get of {BULK}: floor {floor:.0f} us, pymemcache {theirs:.0f} us, "
          f"its time / floor {theirs / floor:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
