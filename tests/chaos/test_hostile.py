"""Bytes from strangers: noise to every port, a pickle to each, a bind without keys."""

from __future__ import annotations

import os
import pickle
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.harness.cluster import ClusterUnderTest
from tests.harness.figures import report
from tests.harness.ports import free_ports
from tests.harness.process import environment
from tests.harness.promise import Oracle
from tests.harness.traffic import Plan, Traffic
from tiercluster import Client

BYTES_PER_S = 2**20
PIECE = 2**14
ZMTP_GREETING = b"\xff" + b"\0" * 8 + b"\x7f\x03\x00NULL" + b"\0" * 48


def noise(ports: list[int], seconds: float) -> int:
    """Random bytes at BYTES_PER_S to each port in turn, over connections that are made anew when
    the other side has enough; every other one begins with a proper greeting. The bytes sent."""
    rng, sent, began = random.Random(7), 0, time.monotonic()
    open_: dict[int, socket.socket] = {}
    number = 0
    while time.monotonic() < began + seconds:
        port = ports[number % len(ports)]
        number += 1
        try:
            if port not in open_:
                open_[port] = socket.create_connection(("127.0.0.1", port), 0.5)
                open_[port].settimeout(0.05)
                if rng.random() < 0.5:
                    open_[port].sendall(ZMTP_GREETING)
            open_[port].sendall(rng.randbytes(PIECE))
            sent += PIECE
        except OSError:
            if port in open_:
                open_.pop(port).close()
        time.sleep(max(0.0, began + sent / BYTES_PER_S - time.monotonic()))
    for connection in open_.values():
        connection.close()
    return sent


def noisy(tmp_path: Path, seconds: float, scenario: str) -> None:
    oracle = Oracle()
    with ClusterUnderTest(tmp_path) as cluster:
        with Client(cluster.addresses) as client:
            keys = [f"k{i}" for i in range(100)]
            client.set_many({key: [oracle.begin(key), ""] for key in keys})
        before = cluster.settled()
        pids = [p.pid for p in cluster.processes.values()]
        ports = [port for p in cluster.ports.values() for port in (p.client, p.raft, p.http)]
        plan = Plan(threads=1, deletes=0, client={"on_error": "raise", "timeout": 2.0})
        with Traffic(cluster.addresses, keys, plan, oracle) as traffic:
            sent = noise(ports, seconds)
        after = cluster.status()
        alive = all(cluster.is_alive(n) for n in cluster.ids)
        same = pids == [p.pid for p in cluster.processes.values()]
    report(
        scenario, seconds=seconds, sent_mib=sent / 2**20, raised=len(traffic.errors),
        reads=len(traffic.samples), stale=len(oracle.breaches),
        decisions=after["version"] - before["version"],
    )  # fmt: skip
    assert alive
    assert same
    assert after["version"] == before["version"]
    assert after["leader"] == before["leader"]
    assert traffic.errors == []
    assert oracle.is_kept


def test_noise_on_every_port_changes_nothing(tmp_path: Path) -> None:
    noisy(tmp_path, 3.0, "noise_fast")


@pytest.mark.slow
def test_thirty_seconds_of_noise_on_every_port_change_nothing(tmp_path: Path) -> None:
    noisy(tmp_path, 30.0, "noise")


class Bomb:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def framed(payload: bytes) -> list[bytes]:
    """As the plain library, plain ZeroMQ and nothing at all would carry it."""
    short = bytes((0, len(payload))) if len(payload) < 256 else b"\x02" + len(payload).to_bytes(8)
    return [
        len(payload).to_bytes(4, sys.byteorder) + payload,
        ZMTP_GREETING + short + payload,
        payload,
    ]


def test_a_pickle_on_any_port_is_never_loaded(tmp_path: Path) -> None:
    evidence = tmp_path / "exploded"
    payload = pickle.dumps(Bomb(evidence))
    with ClusterUnderTest(tmp_path) as cluster:
        for ports in cluster.ports.values():
            for port in (ports.raft, ports.client, ports.http):
                for frame in framed(payload):
                    with socket.create_connection(("127.0.0.1", port), 2) as s:
                        s.sendall(frame)
        time.sleep(0.5)
        assert not evidence.exists()
        assert all(cluster.is_alive(n) for n in cluster.ids)
        assert cluster.status()["quorum"] is True


def test_the_bomb_would_have_worked(tmp_path: Path) -> None:
    evidence = tmp_path / "exploded"
    pickle.loads(pickle.dumps(Bomb(evidence)))
    assert evidence.exists()


def test_off_loopback_without_keys_it_does_not_start_and_says_how_to_make_them(
    tmp_path: Path,
) -> None:
    client, raft = free_ports(2)
    command = [sys.executable, "-m", "tiercluster", "start", "--listen", f"0.0.0.0:{client}"]
    command += ["--raft", f"127.0.0.1:{raft}", "--data", str(tmp_path / "data")]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode in (2, 6), done
    assert "keygen" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
