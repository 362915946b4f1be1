"""Writes that wait for a disk while their keys go to another owner, and perhaps come back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.node.test_front_copies import N1, N2, N3, World, down, key_of, map_of, put, status
from tiercluster.cluster.ring import slot_of
from tiercluster.cluster.wire import (
    Confirmed,
    Incr,
    Kind,
    Mode,
    OpKind,
    Replicate,
    Request,
    Status,
    Store,
    Stored,
)
from tiercluster.node.messages import ColdDone, ColdFound, ColdGet
from tiercluster.node.stream import NO_CURSOR
from tiercluster.tiermap import Health, Member, NodeState, Tier

LARGE = bytes(200_000)  # for memory
FILLING = replace(N2, filling=True)
EARLIER = map_of(1, N1, FILLING, N3)  # n1 owns what is n2's
LATER = map_of(2, N1, N2, N3)


def memory(member: Member, health: Health) -> Member:
    tiers = (t if t.tier is Tier.COLD else replace(t, health=health) for t in member.tiers)
    return replace(member, tiers=tuple(tiers))


def cas(name: bytes, value: bytes, version: int) -> Store:
    return Store(int(Mode.CAS), (name,), (len(value),), b"\0", (None,), (version,))


def told(world: World, name: bytes, value: bytes, version: int, *, to: str = "boot#1") -> str:
    """n2, which owns the key, tells n1 that this is all of its slot; why n1 refuses."""
    message = Replicate(
        "n2", "i2", to, 1, 1, False, bytes((OpKind.PUT,)), (name,), (version,), (len(value),),
        b"\0", (None,), b"", b"", NO_CURSOR, (slot_of(name),),
    )  # fmt: skip
    peer = Request(Kind.REPLICATE, 1, world.map.version, 0, bytes(8), False, message, value)
    world.front.request(b"n2", peer, world.now)
    fields = world.replies[b"n2", 1].fields
    assert isinstance(fields, Confirmed)
    return fields.why


def settle(world: World) -> None:
    for _ in range(6):
        world.now += 0.15
        world.granted()
        world.confirm()


def version_of(world: World, name: bytes, value: bytes) -> int:
    """Of a value that is stored now."""
    stored = world.begin(1, put(name, value), value)
    world.confirm()
    reply = stored()
    assert reply is not None
    assert isinstance(reply.fields, Stored)
    return reply.fields.versions[0]


@pytest.mark.parametrize("is_stored", [True, False])
def test_of_two_cas_one_of_which_waits_while_another_owner_takes_the_other_one_wins(
    is_stored: bool,
) -> None:
    world = World(EARLIER)
    name = key_of("n2", "n1")
    first = version_of(world, name, b"v")
    waiting = world.begin(2, cas(name, LARGE, first), LARGE)
    (asked,) = world.puts()
    world.use(LATER)
    world.granted()
    if is_stored:
        assert told(world, name, b"x", (2 << 40) + 1) == ""
    world.use(map_of(3, N1, down(N2, 3), N3))
    settle(world)
    world.front.cold_answered(ColdDone(asked.token, 0.001), world.now, world.now)
    world.confirm()
    assert status(waiting) is Status.MOVED


def test_a_write_that_waits_while_this_node_is_out_and_comes_back_has_moved() -> None:
    world = World()
    name = key_of("n1", "n2")
    first = version_of(world, name, b"v")
    waiting = world.begin(2, put(name, LARGE), LARGE)
    (asked,) = world.puts()
    world.use(map_of(2, replace(N1, state=NodeState.DOWN, since_version=2), N2, N3))
    back = replace(N1, incarnation="boot#2", since_version=3, filling=True)
    world.use(map_of(3, back, N2, N3))
    world.granted()
    assert told(world, name, b"v", first, to="boot#2") == ""
    world.use(map_of(4, replace(back, filling=False), N2, N3))
    settle(world)
    world.front.cold_answered(ColdDone(asked.token, 0.001), world.now, world.now)
    world.confirm()
    assert status(waiting) is Status.MOVED


def test_an_incr_whose_counter_goes_to_another_owner_while_it_is_read_changes_nothing() -> None:
    """n2 gives the same versions to its values: what n1 wrote would pass for one of them."""
    world = World(map_of(1, memory(N1, Health.DOWN), FILLING, N3))
    name = key_of("n2", "n1")
    stored = world.begin(1, put(name, b"5"), b"5")
    (asked,) = world.puts()
    world.front.cold_answered(ColdDone(asked.token, 0.001), world.now, world.now)
    world.confirm()
    assert status(stored) is Status.OK
    world.use(map_of(2, N1, FILLING, N3))
    counted = world.begin(2, Incr(name, 1, None, None))
    read = next(command for command in world.cold if isinstance(command, ColdGet))
    held = world.front._shard._holdings.directory.get(name)
    version = held.version if held is not None else 0
    world.use(map_of(3, N1, N2, N3))
    world.front.cold_answered(ColdFound(read.token, b"5", 0, 0.001), world.now, world.now)
    world.confirm()
    held = world.front._shard._holdings.directory.get(name)
    assert held is not None
    assert held.version == version
    assert status(counted) is Status.RETRY
