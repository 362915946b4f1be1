"""Bad bytes on the ports of real nodes, which must stay alive, small, and of one mind.

The bytes are of four kinds: a good message with one of its frames mutated (so that it comes through
to the node's core), mutated frames of any kind, a good conversation with its bytes mutated before
ZeroMQ has cut them into frames, and noise.
"""

from __future__ import annotations

import contextlib
import random
import socket
import time
from dataclasses import dataclass

import zmq

from tests.harness import zmtp
from tests.harness.cluster import ClusterUnderTest, wait_until
from tests.harness.growth import memory_bytes
from tiercluster import Client

from . import seeds
from .mutate import mutated

ANSWERS_S = 0.002  # waited for, now and then
QUORUM_S = 20.0  # until elections that were disturbed have come to an end


@dataclass(slots=True)
class Tally:
    """``sent``: messages and connections; ``answered``: of the data port, to what it could read."""

    sent_client: int = 0
    sent_raft: int = 0
    sent_raw: int = 0
    answered: int = 0

    @property
    def sent(self) -> int:
        return self.sent_client + self.sent_raft + self.sent_raw


class LivePorts:
    """Bytes to the ports of ``cluster``, a cluster without keys, by one connection at a time."""

    def __init__(self, cluster: ClusterUnderTest, seed: int) -> None:
        self.cluster, self.tally = cluster, Tally()
        self._rng = random.Random(seed)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._requests, self._raft = seeds.requests(), seeds.raft_messages()
        self._dealer: zmq.Socket[bytes] | None = None
        self._peer: zmq.Socket[bytes] | None = None

    def close(self) -> None:
        self._context.destroy(0)

    def turn(self) -> None:
        """A few dozen messages of each kind."""
        self._data_turn()
        self._raft_turn()
        for port in self._all_ports():
            self._raw(port)

    def _all_ports(self) -> list[int]:
        ports = self.cluster.ports[self._rng.choice(self.cluster.ids)]
        return [ports.client, ports.raft, ports.http]

    # --- messages that ZeroMQ carries -----------------------------------------------------------

    def _data_turn(self) -> None:
        dealer = self._open(self.cluster.ports[self._rng.choice(self.cluster.ids)].client, b"")
        for _ in range(50):
            if self._send(dealer, self._bad_request()):
                self.tally.sent_client += 1
        while dealer.poll(ANSWERS_S * 1000):
            dealer.recv_multipart()
            self.tally.answered += 1
        dealer.close(0)

    def _raft_turn(self) -> None:
        """In the name of a member: without keys on loopback a name is all there is. Hellos tell of
        later lives of it, so that the node's real peer has to prove itself again and again."""
        target, name = self._rng.sample(self.cluster.ids, 2)
        peer = self._open(self.cluster.ports[target].raft, self._rng.choice((b"", name.encode())))
        for _ in range(20):
            if self._send(peer, [mutated(self._rng, self._raft)]):
                self.tally.sent_raft += 1
        time.sleep(ANSWERS_S)
        peer.close(0)

    def _open(self, port: int, name: bytes) -> zmq.Socket[bytes]:
        dealer = self._context.socket(zmq.DEALER)
        dealer.linger = 0
        if name:
            dealer.routing_id = name
        dealer.connect(f"tcp://127.0.0.1:{port}")
        return dealer

    def _send(self, to: zmq.Socket[bytes], frames: list[bytes]) -> bool:
        try:
            to.send_multipart(frames, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def _bad_request(self) -> list[bytes]:
        frames = list(self._rng.choice(self._requests))
        at = self._rng.randrange(len(frames))
        frames[at] = mutated(self._rng, [frames[at]])
        if self._rng.random() < 0.1:
            frames += [self._rng.randbytes(8)] * self._rng.choice((1, 2, 300))
        return frames

    # --- bytes below ZeroMQ ---------------------------------------------------------------------

    def _raw(self, port: int) -> None:
        conversation = zmtp.GREETING + zmtp.ready() + zmtp.message(self._bad_request())
        data = self._rng.choice(
            (
                mutated(self._rng, [conversation]),
                zmtp.GREETING + mutated(self._rng, [conversation[len(zmtp.GREETING) :]]),
                self._rng.randbytes(self._rng.choice((1, 100, 5000))),
                b"GET /metrics HTTP/1.1\r\n" + mutated(self._rng, [b"Host: a\r\nX: y\r\n\r\n"]),
            )
        )
        self.tally.sent_raw += 1
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), 0.5) as connection,
        ):
            connection.settimeout(0.5)
            connection.sendall(data)


class Health:
    """What must hold of the cluster meanwhile and afterwards. AssertionError says what does not."""

    def __init__(self, cluster: ClusterUnderTest) -> None:
        self.cluster = cluster
        self._pids = [process.pid for process in cluster.processes.values()]
        self.client = Client(cluster.addresses, timeout=5.0)
        self.admin = cluster.admin()
        self.rss_start = self.rss()
        self._number = 0

    def rss(self) -> list[int]:
        return [memory_bytes(pid) for pid in self._pids]

    def check(self) -> None:
        """Every node is the process that it was, and what is written is read."""
        assert all(self.cluster.is_alive(node) for node in self.cluster.ids), "a node ended"
        self._number += 1
        values = {f"health{i}": self._number for i in range(30)}
        wait_until(self._has_quorum, QUORUM_S, "all nodes have a quorum")
        assert self.client.set_many(values) == []
        assert self.client.get_many(values) == values

    def _has_quorum(self) -> bool:
        said = [self.admin.status_of(self.cluster.address(node)) for node in self.cluster.ids]
        return all(status is not None and status["quorum"] for status in said)

    def logs(self) -> list[str]:
        """Lines that speak of a failure inside a node."""
        bad = ("Traceback", "critical", "internal error", "worker ended", "control_ended")
        lines = (line for node in self.cluster.ids for line in self.cluster.log(node).splitlines())
        return [line for line in lines if any(word in line for word in bad)]

    def close(self) -> None:
        self.admin.close()
        self.client.close()
