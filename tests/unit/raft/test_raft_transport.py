"""The wire between voters: what a partition drops, over real sockets on loopback."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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
