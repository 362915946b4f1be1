"""The wire between voters: what a partition drops, over real sockets on loopback."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from tests.harness.ports import free_ports
from tiercluster.tiermap.raft import NO_CUT, Cut, ReplicaSettings
from tiercluster.tiermap.raft.transport import ZmqWire

PATIENCE_S = 5.0


class Pair:
    def __init__(self, directory: Path) -> None:
        ports = free_ports(2)
        addresses = {"n1": f"127.0.0.1:{ports[0]}", "n2": f"127.0.0.1:{ports[1]}"}
        self.heard: dict[str, list[bytes]] = {"n1": [], "n2": []}
        self.wires = {
            node: ZmqWire(
                ReplicaSettings(
                    node_id=node,
                    raft_address=addresses[node],
                    peers=tuple(item for item in addresses.items() if item[0] != node),
                    directory=directory / node,
                )
            )
            for node in addresses
        }
        for node, wire in self.wires.items():
            wire.deliver = lambda _, data, node=node: self.heard[node].append(data)  # type: ignore[misc]

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline
            for wire in self.wires.values():
                wire.poll(0.01)

    def send(self, source: str, target: str, data: bytes) -> None:
        """Until it is taken: the connection may not stand yet."""
        self.until(lambda: self.wires[source].send(target, data))


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    yield made
    for wire in made.wires.values():
        wire.close()


def test_what_a_cut_drops_is_lost_both_ways_and_told_to_nobody(pair: Pair) -> None:
    pair.send("n1", "n2", b"before")
    pair.send("n2", "n1", b"before")
    pair.until(lambda: pair.heard == {"n1": [b"before"], "n2": [b"before"]})
    pair.wires["n1"].cut = Cut(frozenset({"n2"}), float("inf"))
    assert pair.wires["n1"].send("n2", b"lost")
    pair.send("n2", "n1", b"lost")
    pair.until(lambda: not pair.wires["n1"]._poller.poll(100))  # it has been read
    pair.wires["n1"].cut = NO_CUT
    pair.send("n1", "n2", b"after")
    pair.send("n2", "n1", b"after")
    pair.until(lambda: all(b"after" in heard for heard in pair.heard.values()))
    assert pair.heard == {"n1": [b"before", b"after"], "n2": [b"before", b"after"]}


def test_a_cut_of_another_member_drops_nothing_and_one_that_is_over_neither(pair: Pair) -> None:
    pair.wires["n1"].cut = Cut(frozenset({"n3"}), float("inf"))
    pair.send("n1", "n2", b"one")
    pair.wires["n1"].cut = Cut(frozenset({"n2"}), time.monotonic())
    pair.send("n1", "n2", b"two")
    pair.until(lambda: pair.heard["n2"] == [b"one", b"two"])


class Port:
    """The Raft port of n1, whose only peer is n2, which does not run."""

    def __init__(self, directory: Path) -> None:
        self._address = f"127.0.0.1:{free_ports(1)[0]}"
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []
        self.heard: list[tuple[str, bytes]] = []
        self.wire = ZmqWire(
            ReplicaSettings("n1", self._address, (("n2", "127.0.0.1:1"),), directory)
        )
        self.wire.deliver = lambda sender, data: self.heard.append((sender, data))

    def connect(self, name: bytes) -> zmq.Socket[bytes]:
        dealer = self._context.socket(zmq.DEALER)
        self._sockets.append(dealer)
        if name:
            dealer.routing_id = name
        dealer.linger = 1000
        dealer.connect(f"tcp://{self._address}")
        return dealer

    def until(self, condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> bool:
        deadline = time.monotonic() + patience_s
        while not condition() and time.monotonic() < deadline:
            self.wire.poll(0.01)
        return condition()

    def close(self) -> None:
        for socket in self._sockets:
            socket.close(0)
        self._context.term()
        self.wire.close()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    made = Port(tmp_path)
    yield made
    made.close()


def test_connections_of_one_name_are_all_heard_and_let_go(port: Port) -> None:
    """A peer that connects anew before its old connection is known to be lost, or another in its
    name: neither silences the other, and nothing of either is kept."""
    for _ in range(3):
        dealers = [port.connect(b"n2") for _ in range(2)]
        for dealer in (*dealers, *dealers):
            dealer.send(b"one")
            assert port.until(lambda: port.heard == [("n2", b"one")])
            port.heard.clear()
        for dealer in dealers:
            dealer.send(b"last")
            dealer.close()
        assert port.until(lambda: port.heard == [("n2", b"last")] * 2)
        port.heard.clear()
    assert port.until(lambda: port.wire._watch.connections == 0)


@pytest.mark.parametrize("name", [b"", b"n3", b"\xff"])
def test_who_names_no_peer_is_not_heard(port: Port, name: bytes) -> None:
    stranger, peer = port.connect(name), port.connect(b"n2")
    stranger.send(b"mine")
    assert not port.until(lambda: bool(port.heard), 0.2)
    stranger.close()
    peer.send_multipart([b"two", b"frames"])
    peer.send(b"one")
    assert port.until(lambda: bool(port.heard))
    assert port.heard == [("n2", b"one")]
