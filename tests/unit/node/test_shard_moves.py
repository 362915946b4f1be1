"""Values move between tiers, and a write always wins over a move."""

from __future__ import annotations

import pytest

from tests.unit.node.shard_world import NOISE, World, fill, key, noise, only
from tests.unit.node.shard_world import settings as node_settings
from tiercluster.cluster.ring import SLOTS
from tiercluster.cluster.wire import Get, Mode, Store, Stored
from tiercluster.node.directory import VERSION_SHIFT
from tiercluster.node.failures import FailureKind
from tiercluster.node.messages import (
    ColdGet,
    ColdPut,
)
from tiercluster.node.settings import MiB
from tiercluster.tiermap import Tier


def put(name: str, value: bytes, mode: Mode = Mode.SET) -> Store:
    return Store(int(mode), (key(name),), (len(value),), b"\0", (None,))


def test_what_hot_gives_up_is_read_from_warm_and_what_warm_gives_up_from_cold() -> None:
    world = World()
    fill(world, 100)
    places = {world.place(number) for number in range(100)}
    assert places == {"hot", "warm", "cold"}
    assert all(world.get(number) == noise(number) for number in range(100))


def test_an_entry_on_its_way_to_cold_is_read_from_warm_until_cold_confirms() -> None:
    world = only(Tier.WARM, Tier.COLD)
    world.hold_cold = True
    fill(world, 31)
    leaving = [c.key for c in world.cold_waiting if isinstance(c, ColdPut)]
    assert leaving
    name = int(leaving[0][1:])
    assert world.place(name) == "warm"
    assert world.get(name) == noise(name)
    world.release_cold(100)
    assert world.place(name) == "cold"


def test_a_copy_that_was_overtaken_by_a_write_is_deleted_from_cold() -> None:
    world = only(Tier.WARM, Tier.COLD)
    world.hold_cold = True
    fill(world, 31)
    name = int(next(c.key for c in world.cold_waiting if isinstance(c, ColdPut))[1:])
    world.store(name, b"new")
    world.hold_cold = False
    world.tick(times=3)
    assert world.get(name) == b"new"
    assert key(name) not in world.cold.rows


def test_a_second_read_promotes_and_the_row_is_deleted() -> None:
    world = only(Tier.COLD)
    world.store("k", b"v")
    world.recover(Tier.HOT)
    assert [world.get("k"), world.place("k")] == [b"v", "cold"]
    assert [world.get("k"), world.place("k")] == [b"v", "hot"]
    world.tick(times=2)
    assert world.cold.rows == {}


def test_a_failed_move_keeps_the_entry() -> None:
    world = only(Tier.WARM, Tier.COLD)
    world.cold.failing = FailureKind.IO_ERROR
    fill(world, 31)
    assert all(world.get(number) == noise(number) for number in range(31))


def test_reads_of_the_same_cold_key_share_one_operation() -> None:
    world = only(Tier.COLD)
    world.store("k", b"v")
    world.hold_cold = True
    rids = [world.send(Get((key("k"), key("k")))) for _ in range(3)]
    assert sum(isinstance(c, ColdGet) for c in world.cold_waiting) == 1
    world.release_cold()
    assert all(world.answers[rid][2] == b"vv" for rid in rids)


def test_a_read_that_a_write_overtakes_gives_the_new_value_and_never_caches_the_old() -> None:
    world = only(Tier.COLD)
    world.store("k", b"old")
    world.recover(Tier.HOT)
    world.hold_cold = True
    rid = world.send(Get((key("k"),)))
    world.store("k", b"new")
    world.release_cold(10)
    assert world.answers[rid][2] == b"new"
    assert world.get("k") == b"new"


def test_a_value_too_large_for_hot_and_warm_goes_to_cold() -> None:
    world = World(node_settings(cold=16 * MiB))
    assert world.store("k", NOISE[:100_000])
    assert world.place("k") == "cold"
    assert world.get("k") == NOISE[:100_000]


def test_what_was_written_before_another_node_owned_the_slot_is_invisible_and_swept() -> None:
    world = World()
    world.store("k", b"v")
    world.shard.set_stint(5, [5] * SLOTS, 5, bytes((1,)) * SLOTS)
    assert world.get("k") is None
    assert world.store("n", b"v") >> VERSION_SHIFT == 5
    world.tick(0.02, 300)
    assert world.place("k") is None
    assert world.get("n") == b"v"


@pytest.mark.parametrize("stand_in", [False, True], ids=["cold", "another node"])
def test_a_write_that_waits_while_another_node_owns_the_slot_is_neither_there_nor_stored(
    stand_in: bool,
) -> None:
    world = only(Tier.COLD)
    if stand_in:
        world.fail(Tier.COLD)
    world.hold_cold = world.hold_peers = True
    waiting = world.send(put("k", b"old"), b"old")
    world.shard.set_stint(5, [5] * SLOTS, 5, bytes((1,)) * SLOTS)
    world.release_cold()
    world.release_peers()
    assert world.answers[waiting][1] == Stored((0,))
    assert world.place("k") is None
    again = world.send(put("k", b"1"), b"1")
    world.shard.set_stint(6, [6] * SLOTS, 6, bytes((1,)) * SLOTS)
    added = world.send(put("k", b"2", Mode.ADD), b"2")
    world.hold_cold = world.hold_peers = False
    world.run()
    assert world.answers[added][1].versions[0] > world.answers[again][1].versions[0] > 0
    assert world.get("k") == b"2"


def test_expired_entries_are_swept() -> None:
    world = World()
    world.store("k", b"v", ttl=1.0)
    world.now += 0.999
    assert world.get("k") == b"v"
    world.now += 0.001
    assert world.get("k") is None
    world.tick(0.02, 300)
    assert world.place("k") is None


def test_a_row_that_is_written_again_before_its_delete_went_out_is_kept() -> None:
    world = only(Tier.WARM, Tier.COLD)
    version = world.store(0, noise(0))
    world.shard._queue.doom(key(0), version)  # as when it was promoted from cold a moment ago
    for number in range(1, 31):
        world.store(number, noise(number))
    assert world.place(0) == "cold"
    world.tick(times=3)
    assert world.get(0) == noise(0)
