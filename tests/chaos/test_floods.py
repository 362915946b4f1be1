"""Who sends without end is hung up on; the node's memory stays bounded and it goes on serving."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import zmtp
from tests.harness.cluster import ClusterUnderTest
from tests.harness.crew import Crew
from tests.harness.figures import report
from tests.harness.growth import memory_bytes
from tiercluster import Client

MIB = 2**20
SECONDS = 6.0
EMPTY = zmtp.frame(b"", more=True) * 2**19
LARGE = zmtp.frame(bytes(MIB), more=True)
# A message may take 72 MiB; what the kernel and one look's time let in comes on top.
GROWTH_BYTES = 400 * MIB


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterUnderTest]:
    with ClusterUnderTest(tmp_path, sizes={"hot": "256MiB"}) as cluster:
        yield cluster


class Peak(Crew):
    """The most memory that a process had while this was open, sampled."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.before = self.most = memory_bytes(pid)
        super().__init__(self._watch)

    def _watch(self) -> None:
        while not self.over.wait(0.02):
            self.most = max(self.most, memory_bytes(self.pid))

    @property
    def grown(self) -> int:
        return self.most - self.before


@pytest.mark.parametrize("port", ["client", "raft"])
@pytest.mark.parametrize(("what", "piece"), [("empty", EMPTY), ("large", LARGE)])
def test_a_message_without_end_is_cut_off(
    cluster: ClusterUnderTest, port: str, what: str, piece: bytes
) -> None:
    before = cluster.settled()
    pid = cluster.processes["n1"].pid
    with Client(cluster.addresses, timeout=2.0) as client:
        client.set_many({f"k{i}": i for i in range(100)})
        with Peak(pid) as peak, zmtp.connect(getattr(cluster.ports["n1"], port)) as connection:
            sent, was_hung_up = zmtp.flood(connection, piece, SECONDS)
        assert client.get_many([f"k{i}" for i in range(100)]) == {f"k{i}": i for i in range(100)}
    report(f"flood_{port}_{what}", sent_mib=sent / MIB, grown_mib=peak.grown / MIB)
    after = cluster.status()
    assert peak.grown < GROWTH_BYTES
    assert was_hung_up
    assert after["version"] == before["version"]


def test_a_large_value_is_no_flood(cluster: ClusterUnderTest) -> None:
    with Client(cluster.addresses, timeout=10.0, serializer="bytes") as client:
        values = {f"k{i}": bytes((i,)) * (7 * MIB) for i in range(9)}
        assert client.set_many(values) == []
    assert "hung_up" not in cluster.log("n1") + cluster.log("n2") + cluster.log("n3")


def test_connections_without_number_leave_the_node_alive(cluster: ClusterUnderTest) -> None:
    """The Raft port takes 256, so that none of its files is without a descriptor."""
    ports = cluster.ports["n1"]
    open_: list[socket.socket] = []
    try:
        for _ in range(400):
            open_.append(socket.create_connection(("127.0.0.1", ports.raft), 2))
        assert cluster.cli("tier", "drain", "n1/cold", "--wait").code == 0
        assert cluster.cli("tier", "restore", "n1/cold", "--wait").code == 0
    finally:
        for connection in open_:
            connection.close()
    assert cluster.is_alive("n1")
