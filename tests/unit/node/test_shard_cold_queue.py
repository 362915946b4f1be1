"""Work for the cold worker is bounded, and overload is not failure."""

from __future__ import annotations

import gc

from tests.unit.node.shard_world import key, only
from tiercluster.cluster.wire import Delete, Get, Store
from tiercluster.node.coldqueue import DELETE_BATCH, MAX_WAITING, READ_WINDOW, WRITE_WINDOW
from tiercluster.node.entry import COLD
from tiercluster.node.failures import FailureKind
from tiercluster.node.messages import (
    ColdDelete,
    ColdDied,
    TierTripped,
)
from tiercluster.node.pace import IDLE
from tiercluster.tiermap import Tier


def test_a_cold_operation_past_its_deadline_is_a_miss_and_counts_against_the_tier() -> None:
    world = only(Tier.COLD)
    world.store("k", b"v")
    world.hold_cold = True
    rid = world.send(Get((key("k"),)))
    world.tick(0.24)
    assert rid not in world.answers
    world.tick(0.02, 20)
    assert world.answers[rid][1].sizes == (-1,)
    assert world.shard._standing.tiers[COLD].breaker._tally()[0] == [2, 0], "it was tried twice"
    world.hold_cold = False
    world.run()
    assert world.get("k") == b"v"


def test_a_hung_disk_trips_the_breaker_and_reads_miss_at_once() -> None:
    world = only(Tier.COLD)
    for number in range(20):
        world.store(number, b"v")
    world.cold.silent = True
    for number in range(20):
        world.send(Get((key(number),)))
    world.tick(0.26)
    tripped = world.reported(TierTripped)[-1]
    assert isinstance(tripped, TierTripped)
    assert (tripped.tier, tripped.kind) == (Tier.COLD, FailureKind.TIMEOUT)
    assert world.get(0) is None


def test_no_more_than_a_window_is_in_flight_and_the_rest_waits() -> None:
    world = only(Tier.COLD)
    for number in range(READ_WINDOW + 10):
        world.store(number, b"v")
    world.hold_cold = True
    rids = [world.send(Get((key(number),))) for number in range(READ_WINDOW + 10)]
    assert len(world.cold_waiting) == READ_WINDOW
    world.hold_cold = False
    world.run()
    assert all(world.answers[rid][2] == b"v" for rid in rids)


def test_what_waits_too_long_for_the_window_is_shed_and_does_not_count() -> None:
    world = only(Tier.COLD)
    count = 3 * READ_WINDOW
    for number in range(count):
        world.store(number, b"v")
    world.hold_cold = True
    rids = [world.send(Get((key(number),))) for number in range(count)]
    world.tick(0.2)
    world.release_cold(READ_WINDOW)
    world.tick(0.06)
    sizes = [world.answers[rid][1].sizes[0] for rid in rids if rid in world.answers]
    assert sizes == [1] * READ_WINDOW + [-1] * READ_WINDOW
    assert world.shard._standing.tiers[COLD].breaker._tally()[0] == [0, 0]


def test_a_full_waiting_line_answers_not_stored_and_the_old_value_is_gone() -> None:
    world = only(Tier.COLD)
    world.store("k", b"old")
    world.hold_cold = True
    for number in range(WRITE_WINDOW + MAX_WAITING):
        world.send(_set(number))
    assert world.answers[world.send(_set("k"))][1].versions == (0,)
    assert world.get("k") is None


def _set(name: str | int) -> Store:
    return Store(0, (key(name),), (0,), b"\0", (None,))


def test_deleted_rows_are_deleted_in_batches_one_at_a_time() -> None:
    world = only(Tier.COLD)
    count = DELETE_BATCH + 5
    for number in range(count):
        world.store(number, b"v")
    world.ask(Delete(tuple(key(number) for number in range(count))))
    world.hold_cold = True
    world.tick(times=5)
    assert [len(c.rows) for c in world.cold_waiting if isinstance(c, ColdDelete)] == [DELETE_BATCH]
    world.hold_cold = False
    world.tick(times=3)
    assert world.cold.rows == {}


def test_a_full_inbox_of_the_worker_loses_no_delete_and_counts_for_nothing() -> None:
    world = only(Tier.COLD)
    for number in range(30):
        world.store(number, b"v")
    world.hold_cold = True
    rids = [world.send(Get((key(number),))) for number in range(30)]
    world.ask(Delete((key(29),)))
    world.tick()
    for command in list(world.cold_waiting):
        world.shard.cold_shed(command, world.now)
    world.cold_waiting.clear()
    world.tick(0.1, 6)
    assert all(world.answers[rid][1].sizes == (-1,) for rid in rids)
    assert not world.reported(TierTripped)[2:]
    world.hold_cold = False
    world.tick(times=2)
    assert len(world.cold.rows) == 29


def test_the_worker_s_death_ends_all_that_waits() -> None:
    world = only(Tier.COLD)
    world.store("k", b"v")
    world.hold_cold = True
    rid = world.send(Get((key("k"),)))
    world.shard.cold_answer(ColdDied("bug"), world.now)
    world.run()
    assert world.answers[rid][1].sizes == (-1,)
    tripped = world.reported(TierTripped)[-1]
    assert isinstance(tripped, TierTripped)
    assert tripped.kind is FailureKind.DEAD


def test_how_long_the_store_takes_is_measured_and_forgotten_while_it_is_out() -> None:
    world = only(Tier.COLD)
    for number in range(20):
        world.store(number, b"v")
        assert world.get(number) == b"v"
    _, _, (reads, writes) = world.shard.stats().paces
    assert (reads.operations, writes.operations) == (20, 20)
    assert 0.001 <= reads.p95_s <= 0.00125
    world.fail(Tier.COLD)
    world.tick()
    world.recover(Tier.COLD, keep=True)
    assert world.shard.stats().paces[2] == IDLE


def test_a_deadline_that_was_missed_counts_as_that_long() -> None:
    world = only(Tier.COLD)
    world.store("k", b"v")
    world.hold_cold = True
    world.send(Get((key("k"),)))
    world.tick(0.3)
    assert world.shard.stats().paces[2][0].p95_s >= 0.25


def test_a_read_leaves_no_cycle_behind() -> None:
    """The collector's full pass is put off: a cycle that has lived for a while stays for good."""
    world = only(Tier.COLD)
    count = MAX_WAITING + READ_WINDOW + 10
    for number in range(count):
        world.store(number, b"v")
    gc.collect()
    gc.disable()
    try:
        world.hold_cold = True
        rids = [world.send(Get((key(number),))) for number in range(count)]
        world.hold_cold = False
        world.run()
        assert [rid for rid in rids if world.answers[rid][2] != b"v"], "some found no room"
        world.hold_cold = True
        world.send(Get((key(0),)))
        world.tick(0.3, 4)  # given up
        assert gc.collect() == 0
    finally:
        gc.enable()
