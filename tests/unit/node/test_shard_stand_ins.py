"""Entries kept by and for other nodes during an outage of a cold tier."""

from __future__ import annotations

import pytest

from tests.unit.node.shard_world import World, key, noise, only
from tiercluster.cluster.wire import ColdDrop, ColdValue, Status
from tiercluster.cluster.wire import ColdGet as AskedGet
from tiercluster.cluster.wire import ColdPut as AskedPut
from tiercluster.node.foreign import MARK, MAX_READING, MAX_WRITING
from tiercluster.node.peerbook import SHED_PAUSE_S
from tiercluster.node.settings import MiB
from tiercluster.tiermap import Health, Tier


def test_a_stand_in_that_fails_means_not_stored() -> None:
    world = only()
    world.peer.is_dead = True
    assert world.store("k", b"v") == 0
    world.peer.is_dead = False
    assert world.store("k", b"v")
    assert world.get("k") == b"v"


def test_what_a_stand_in_keeps_is_not_read_once_the_outage_is_over() -> None:
    world = only()
    world.store("k", b"v")
    world.recover(Tier.COLD, keep=True)
    assert world.get("k") is None
    world.tick(0.02, 300)
    assert world.place("k") is None


def test_an_entry_kept_by_a_stand_in_has_a_limited_life() -> None:
    world = only()
    world.store("k", b"v")
    world.now += 301
    assert world.get("k") is None


OUTAGE = "n2/cold@1"


def foreign_world() -> World:
    world = World()
    world.set_tier(Tier.COLD, node="n2", health=Health.DOWN)
    world.ask(AskedPut(OUTAGE, key("k"), 77, 3, None), b"theirs")
    return world


def read_foreign(world: World, version: int = 77) -> tuple[bool, bytes]:
    status, fields, body = world.answers[world.send(AskedGet(OUTAGE, key("k"), version))]
    assert status is Status.OK
    assert isinstance(fields, ColdValue)
    return fields.found, body


def test_entries_for_another_node_stand_apart_and_are_never_read_as_ours() -> None:
    world = foreign_world()
    assert [k[:1] for k in world.cold.rows] == [MARK]
    assert world.get("k") is None
    assert read_foreign(world) == (True, b"theirs")
    assert read_foreign(world, 76) == (False, b"")


@pytest.mark.parametrize("end", ["recovered", "drop", "drop_all", "bump", "ttl", "our_bump"])
def test_entries_for_another_node_end_with_its_outage(end: str) -> None:
    world = foreign_world()
    match end:
        case "recovered":
            world.set_tier(Tier.COLD, node="n2", health=Health.UP)
        case "bump":
            world.set_tier(Tier.COLD, node="n2", generation=2)
        case "drop":
            world.ask(ColdDrop(OUTAGE, key("k")))
        case "drop_all":
            world.ask(ColdDrop(OUTAGE, b""))
        case "ttl":
            world.now += 301
        case "our_bump":
            world.fail(Tier.COLD)
            world.recover(Tier.COLD)
    assert read_foreign(world) == (False, b"")
    world.tick(times=3)
    assert world.cold.rows == {}
    assert world.shard._holdings.cold.foreign_bytes == 0


def test_a_put_for_an_outage_that_is_over_is_refused_unless_the_sender_knows_more() -> None:
    world = World()
    rid = world.send(AskedPut(OUTAGE, key("k"), 77, 3, None), b"theirs")
    assert world.answers[rid][0] is Status.REFUSED
    for wrong in ("n2/cold", "n2@1", "n2/cold@x", "x" * 200 + "/cold@1"):
        rid = world.send(AskedPut(wrong, key("k"), 77, 3, None), b"theirs")
        assert world.answers[rid][0] is Status.BAD_REQUEST


def test_entries_for_others_take_no_more_than_their_share() -> None:
    world = foreign_world()
    for number in range(100):
        world.ask(AskedPut(OUTAGE, key(number), 1, 0, None), noise(number))
    cold = world.shard._holdings.cold
    assert MiB // 2 < cold.foreign_bytes <= MiB
    assert read_foreign(world) == (False, b""), "the oldest went"


def counted(world: World, name: str) -> int:
    return dict(world.shard.stats().counters)[name]


def test_others_get_only_so_much_of_our_disk_at_a_time_and_are_told() -> None:
    world = foreign_world()
    world.hold_cold = True
    rids = [world.send(AskedPut(OUTAGE, key(n), 1, 0, None), b"v") for n in range(MAX_WRITING + 3)]
    refused = [rid for rid in rids if rid in world.answers]
    assert refused == rids[MAX_WRITING:]
    assert {world.answers[rid][0] for rid in refused} == {Status.SHED}
    assert counted(world, "refused_to_others") == 3
    assert world.store("mine", b"v")  # ours goes on
    world.hold_cold = False
    world.tick()
    assert all(world.answers[rid][0] is Status.OK for rid in rids[:MAX_WRITING])
    world.ask(AskedPut(OUTAGE, key("later"), 1, 0, None), b"v")


def test_others_read_only_so_much_at_a_time() -> None:
    world = foreign_world()
    world.hold_cold = True
    asked = AskedGet(OUTAGE, key("k"), 77)
    rids = [world.send(asked) for _ in range(MAX_READING + 1)]
    assert world.answers[rids[-1]][0] is Status.SHED
    world.hold_cold = False
    world.tick()
    assert all(world.answers[rid][1].found for rid in rids[:-1])
    assert read_foreign(world) == (True, b"theirs")


def test_a_stand_in_that_sheds_is_left_alone_for_a_moment() -> None:
    world = only()
    world.store("k", b"v")
    world.peer.is_shedding = True
    assert world.store("a", b"v") == 0
    asked = len(world.peer.rows)
    world.peer.is_shedding = False
    assert world.store("b", b"v") == 0  # dropped here, not sent
    assert len(world.peer.rows) == asked
    assert counted(world, "refused_by_others") == 2
    assert world.get("k") == b"v"  # it is read all the same
    world.tick(SHED_PAUSE_S + 0.01)
    assert world.store("b", b"v")
