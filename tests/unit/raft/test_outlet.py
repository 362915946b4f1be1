"""Keys change on both sides of a connection and messages go on arriving."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import zmq

from tests.harness.ports import free_ports
from tiercluster.tiermap.raft import Inlet, Outlet

Pair = tuple[bytes, bytes]
PATIENCE_S = 5.0


class World:
    """A CURVE server (without ZAP: it lets every key in) and an outlet to it."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.ours: Pair = zmq.curve_keypair()
        self.server = self.context.socket(zmq.ROUTER)
        self.server.curve_server = True
        self.shown: list[Pair] = [zmq.curve_keypair(), zmq.curve_keypair()]
        self.server.curve_publickey, self.server.curve_secretkey = self.shown[0]
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        self.inlet = Inlet(self.server, self.address)
        self.inlet.bind()
        self.open: set[zmq.Socket[bytes]] = set()

    def dealer(self, server: bytes | None) -> zmq.Socket[bytes]:
        socket = self.context.socket(zmq.DEALER)
        socket.immediate, socket.reconnect_ivl = True, 20
        socket.curve_publickey, socket.curve_secretkey = self.ours
        assert server is not None
        socket.curve_serverkey = server
        socket.connect(f"tcp://{self.address}")
        return socket

    def outlet(self, *keys: bytes) -> Outlet:
        return Outlet(self.dealer, keys, self.open.add, self.open.discard)

    def arrives(self, outlet: Outlet, text: bytes) -> bool:
        """Sent again until it does: what a dying connection took is lost, as it is for Raft."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            outlet.send([text])
            if self.server.poll(20):
                return self.server.recv_multipart()[-1] == text
        return False


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.context.destroy(0)


def test_it_finds_the_key_that_is_shown(world: World) -> None:
    (first, _), (second, _) = world.shown
    outlet = world.outlet(second, first)
    assert world.arrives(outlet, b"by the second of its keys")
    outlet.close()
    assert not world.open


def test_when_the_other_side_shows_its_next_key_it_is_found_again(world: World) -> None:
    (first, _), (second, secret) = world.shown
    outlet = world.outlet(first, second)
    assert world.arrives(outlet, b"one")
    world.inlet.show(second, secret)
    assert world.arrives(outlet, b"two")


def test_a_connection_is_given_up_only_when_its_successor_carries(world: World) -> None:
    (first, _), (second, _) = world.shown
    outlet = world.outlet(first)
    assert world.arrives(outlet, b"one")
    outlet.renew(world.dealer, (second,))  # which is not shown: no connection will come
    for _ in range(20):
        assert world.arrives(outlet, b"still")


def test_after_a_renewal_the_new_key_is_the_one_that_is_seen(world: World) -> None:
    (first, _), _ = world.shown
    outlet = world.outlet(first)
    assert world.arrives(outlet, b"one")
    opened = set(world.open)
    world.ours = zmq.curve_keypair()
    outlet.renew(world.dealer, (first,))
    until = time.monotonic() + PATIENCE_S
    while outlet._trying and time.monotonic() < until:
        assert world.arrives(outlet, b"two")
    assert not outlet._trying
    assert world.open - opened
