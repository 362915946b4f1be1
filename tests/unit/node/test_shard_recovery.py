"""Each strategy of the recovery table, carried out by a shard, does what its row says."""

from __future__ import annotations

import pytest

from tests.unit.node.shard_world import NOISE, OTHER, World, inject, key, only
from tests.unit.node.shard_world import settings as node_settings
from tiercluster.cluster.wire import Get, Incr, Kind, Request, Status, Store
from tiercluster.node.entry import COLD
from tiercluster.node.failures import Failure, FailureKind
from tiercluster.node.messages import (
    ColdDelete,
    ColdGet,
    ColdProbe,
    ColdPut,
    TierRemedied,
    TierTripped,
)
from tiercluster.node.recovery import SHRINK_LIMIT
from tiercluster.node.remedies import SHRINK_QUIET_S
from tiercluster.node.settings import MiB
from tiercluster.node.shard import Origin
from tiercluster.tiermap import TIERS, Health, Tier

K = FailureKind


def told(world: World) -> list[tuple[str, bool]]:
    reports = world.reported(TierRemedied)
    return [(r.strategy, r.ok) for r in reports if isinstance(r, TierRemedied)]


def trips(world: World) -> list[FailureKind]:
    return [r.kind for r in world.reported(TierTripped) if isinstance(r, TierTripped)]


def counter(world: World, name: str) -> int:
    return dict(world.shard.stats().counters)[name]


def set_(world: World, name: str | int, value: bytes = b"v") -> int:
    """The request's id: the answer may come later."""
    return world.send(Store(0, (key(name),), (len(value),), b"\0", (None,)), value)


def is_stored(world: World, rid: int) -> bool:
    return bool(world.answers[rid][1].versions[0])  # type: ignore[union-attr]


def gets(world: World) -> int:
    return sum(isinstance(c, ColdGet) and c.key != b"" for c in world.cold.log)


def puts(world: World, name: str | int) -> int:
    return sum(isinstance(c, ColdPut) and c.key == key(name) for c in world.cold.log)


# --- RETRY --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [K.TIMEOUT, K.SHED])
def test_a_read_that_timed_out_or_was_shed_is_asked_again_after_a_pause(kind: FailureKind) -> None:
    world = only(Tier.COLD)
    world.store("k", b"v")
    world.cold.failing = kind
    rid = world.send(Get((key("k"),)))
    assert rid not in world.answers
    assert gets(world) == 1, "not at once"
    world.cold.failing = None
    world.tick(0.02)
    assert world.answers[rid][2] == b"v"
    assert counter(world, "cold_retries") == 1


def test_a_write_that_timed_out_is_asked_again() -> None:
    world = only(Tier.COLD)
    world.cold.failing = K.TIMEOUT
    rid = set_(world, "k")
    world.cold.failing = None
    world.tick(0.02)
    assert is_stored(world, rid)
    assert world.get("k") == b"v"


def test_a_write_is_not_asked_again_once_its_key_was_written_again() -> None:
    world = only(Tier.COLD)
    world.cold.failing = K.TIMEOUT
    old = set_(world, "k", b"old")
    world.cold.failing = None
    new = set_(world, "k", b"new")
    world.tick(0.02, 5)
    assert is_stored(world, old), "a later write took its place"
    assert is_stored(world, new)
    assert puts(world, "k") == 2
    assert world.get("k") == b"new"


def test_the_row_of_a_first_try_is_deleted_if_the_key_was_deleted_before_the_second() -> None:
    world = only(Tier.COLD)
    world.store("other", b"v")
    world.cold.silent = True
    set_(world, "k")
    world.tick(0.26)
    world.cold.silent = False
    assert key("k") in world.cold.rows, "it was done, only nobody heard of it"
    world.delete("k")
    world.tick(0.02, 5)
    assert puts(world, "k") == 1
    assert set(world.cold.rows) == {key("other")}


def test_the_row_of_a_demotion_that_nobody_wants_any_more_is_deleted() -> None:
    """It is the past: after a clean stop it would be read again."""
    world = only(Tier.HOT, Tier.COLD)
    world.cold.silent = True
    for number in range(34):
        world.store(number, NOISE[number : number + 30_000])
    (first, *_) = world.cold.rows
    world.tick(0.26)
    world.cold.silent = False
    world.ask(Store(0, (first,), (3,), b"\0", (None,)), b"new")
    world.tick(0.02, 10)
    assert first not in world.cold.rows


def test_retries_are_a_small_share_of_all_operations() -> None:
    world = only(Tier.COLD)
    for number in range(40):
        world.store(number, b"v")
    world.cold.failing = K.SHED
    for number in range(40):
        world.send(Get((key(number),)))
        world.tick(0.02, 3)
    assert 3 <= counter(world, "cold_retries") <= 10


def test_no_try_begins_after_the_deadline_of_the_request() -> None:
    world = only(Tier.COLD)
    world.store("k", b"v")
    world.cold.failing = K.TIMEOUT
    asked = Request(Kind.GET, 77, world.map.version, 0, b"c", False, Get((key("k"),)), b"")
    origin = Origin(b"me", 77, Kind.GET, deadline=world.now + 0.001)
    assert world.shard.handle(asked, origin, world.now) is None
    world.run()
    assert world.answers[77][1].sizes == (-1,)  # type: ignore[union-attr]
    assert gets(world) == 1


def test_a_read_is_asked_for_no_longer_than_its_patience() -> None:
    world = only(Tier.COLD)
    world.store("k", b"v")
    world.cold.silent = True
    rid = world.send(Get((key("k"),)))
    world.tick(0.02, 30)
    assert rid in world.answers
    assert gets(world) == 2


def test_what_waits_to_be_tried_again_ends_when_the_tier_trips() -> None:
    world = only(Tier.COLD)
    world.store("k", b"v")
    world.cold.failing = K.TIMEOUT
    rid = world.send(Get((key("k"),)))
    assert rid not in world.answers
    world.shard.cold_is_missing(Failure(K.GONE), world.now)
    world.tick(0.001)
    assert world.answers[rid][1].sizes == (-1,)  # type: ignore[union-attr]


# --- REALLOCATE ---------------------------------------------------------------------------------


def cold_with(count: int) -> World:
    world = only(Tier.COLD, config=node_settings(cold=2 * MiB))
    for number in range(count):
        world.store(number, NOISE[number : number + 10_000])
    return world


def cold_stats(world: World) -> tuple[int, int, str]:
    stats = world.shard.stats().tiers[COLD]
    return stats.bytes, stats.capacity_bytes, stats.note


def test_a_full_disk_gives_up_a_tenth_and_the_write_is_tried_again() -> None:
    world = cold_with(50)
    held, full, _ = cold_stats(world)
    world.cold.failing = K.NO_SPACE
    rid = set_(world, "k", b"new")
    world.cold.failing = None
    world.tick(0.02)
    assert is_stored(world, rid)
    assert world.get("k") == b"new"
    now_held, capacity, note = cold_stats(world)
    assert 0.85 * held < capacity < 0.95 * held < full
    assert now_held <= capacity
    assert note == "shrunk"
    assert told(world) == [("reallocate", True)]
    assert not trips(world)
    last_put = max(i for i, c in enumerate(world.cold.log) if isinstance(c, ColdPut))
    deleted = [i for i, c in enumerate(world.cold.log) if isinstance(c, ColdDelete)]
    assert deleted, "what it gave up goes"
    assert deleted[0] < last_put, "before the second try"


def test_writes_that_were_under_way_when_it_shrank_do_not_shrink_it_again() -> None:
    world = cold_with(50)
    world.hold_cold = True
    rids = [set_(world, f"k{number}") for number in range(8)]
    world.cold.failing = K.NO_SPACE
    world.release_cold(8)
    world.cold.failing, world.hold_cold = None, False
    world.tick(0.02, 2)
    assert counter(world, "reallocations") == 1
    assert all(is_stored(world, rid) for rid in rids)


def test_a_disk_that_stays_full_fails_over() -> None:
    world = cold_with(50)
    world.cold.failing = K.NO_SPACE
    rid = set_(world, "k")
    world.tick(0.02, 10)
    assert counter(world, "reallocations") == SHRINK_LIMIT
    assert trips(world) == [K.NO_SPACE]
    assert told(world)[0] == ("reallocate", False)
    assert not is_stored(world, rid)


def test_a_disk_that_is_full_before_it_holds_anything_is_left_to_the_breaker() -> None:
    world = only(Tier.HOT, Tier.COLD)
    world.cold.failing = K.NO_SPACE
    for number in range(45):
        set_(world, number, NOISE[number : number + 30_000])
        world.tick(0.02)
    (tripped,) = world.reported(TierTripped)
    assert isinstance(tripped, TierTripped)
    assert (tripped.kind, dict(tripped.evidence)["failures"]) == (K.NO_SPACE, 15)
    assert counter(world, "reallocations") == 0


def test_a_shrunk_tier_has_its_limit_back_after_a_quiet_time() -> None:
    world = cold_with(50)
    _, full, _ = cold_stats(world)
    world.cold.failing = K.NO_SPACE
    set_(world, "k")
    world.cold.failing = None
    world.tick(0.02)
    world.tick(SHRINK_QUIET_S - 1)
    assert cold_stats(world)[1] < full
    world.tick(2)
    assert cold_stats(world)[1:] == (full, "")


def test_a_shrunk_tier_has_its_limit_back_when_the_map_brings_it_back() -> None:
    world = cold_with(50)
    _, full, _ = cold_stats(world)
    world.cold.failing = K.NO_SPACE
    set_(world, "k")
    world.tick(0.02, 10)
    world.cold.failing = None
    world.use_map()
    assert cold_stats(world)[1] < full
    world.fail(Tier.COLD)
    assert cold_stats(world)[1] < full
    world.recover(Tier.COLD)
    assert cold_stats(world)[1:] == (full, "")


def test_a_shrunk_cold_does_not_shrink_what_others_may_keep_for_it() -> None:
    world = cold_with(1)
    world.cold.failing = K.NO_SPACE
    set_(world, "k")
    world.tick(0.02, 10)
    world.fail(Tier.COLD)
    assert is_stored(world, set_(world, "big", NOISE[:60_000]))
    assert world.place("big") == "remote"


@pytest.mark.parametrize("tier", [Tier.HOT, Tier.WARM])
def test_a_memory_tier_without_space_gives_up_entries_and_stores_in_the_same_breath(
    tier: Tier,
) -> None:
    world = only(tier)
    for number in range(20):
        world.store(number, NOISE[number : number + 10_000])
    place = TIERS.index(tier)
    inject(world, tier, "enospc", 0.5)
    world.store("j", b"v")
    assert world.store("k", b"new")
    assert world.get("k") == b"new"
    assert world.shard.stats().tiers[place].note == "shrunk"
    assert ("reallocate", True) in told(world)


# --- DEGRADE ------------------------------------------------------------------------------------


def read_only() -> World:
    world = World()
    for above in (Tier.HOT, Tier.WARM):
        world.fail(above)
    world.store("k", b"v")
    world.cold.failing = K.READ_ONLY
    rid = set_(world, "new")
    assert not is_stored(world, rid)
    return world


def test_a_read_only_tier_is_read_and_takes_nothing_new_and_does_not_trip() -> None:
    world = read_only()
    for number in range(50):
        assert not is_stored(world, set_(world, number)), "at once"
    world.tick(0.02, 10)
    assert puts(world, 0) == 0
    assert world.get("k") == b"v"
    assert not trips(world)
    assert told(world) == [("degrade", True)]
    assert world.shard.stats().tiers[COLD].note == "read-only"
    assert world.shard.stats().breakers[COLD] == "closed"
    assert counter(world, "degradations") == 1


def test_writes_under_way_when_it_became_read_only_do_not_trip_it() -> None:
    world = only(Tier.COLD)
    world.store("k", b"v")
    world.hold_cold = True
    for number in range(16):
        set_(world, number)
    world.cold.failing, world.hold_cold = K.READ_ONLY, False
    world.run()
    world.tick(0.02, 5)
    assert not trips(world)
    assert world.get("k") == b"v"


def test_what_is_above_a_read_only_cold_stays_above() -> None:
    world = read_only()
    world.recover(Tier.HOT)
    for number in range(60):
        assert is_stored(world, set_(world, number, NOISE[number : number + 30_000]))
    world.tick(0.02, 5)
    assert sum(isinstance(c, ColdPut) for c in world.cold.log) == 2
    assert world.get(59)


def test_an_old_value_in_a_read_only_tier_is_not_read_after_a_write_or_a_delete() -> None:
    world = read_only()
    assert not is_stored(world, set_(world, "k", b"new"))
    assert world.get("k") is None
    world.tick(0.02, 5)
    assert key("k") in world.cold.rows, "it cannot be deleted now"
    world.cold.failing = None
    world.tick(1.0, 3)
    assert world.get("k") is None
    assert key("k") not in world.cold.rows, "but later"


def test_a_read_only_tier_whose_reads_fail_too_fails_over() -> None:
    world = only(Tier.COLD)
    world.store("k", b"v")
    world.cold.failing, world.cold.unreadable = K.READ_ONLY, True
    set_(world, "new")
    world.tick(0.02)
    assert trips(world) == [K.READ_ONLY]
    assert told(world)[0] == ("degrade", False)


def test_a_probe_that_writes_ends_it() -> None:
    world = read_only()
    world.tick(0.1, 20)
    probes = sum(isinstance(c, ColdProbe) for c in world.cold.log)
    assert 2 <= probes <= 5
    assert not is_stored(world, set_(world, "x"))
    world.cold.failing = None
    world.tick(0.1, 10)
    assert is_stored(world, set_(world, "x"))
    assert world.shard.stats().tiers[COLD].note == ""
    assert told(world) == [("degrade", True)] * 2


def test_the_map_ends_it_too() -> None:
    world = read_only()
    world.use_map()
    world.set_tier(Tier.COLD, node=OTHER, suspect=True)
    assert world.shard.stats().tiers[COLD].note == "read-only"
    world.cold.failing = None
    world.fail(Tier.COLD)
    world.recover(Tier.COLD)
    assert is_stored(world, set_(world, "x"))


def test_a_restart_does_not_trust_a_store_that_could_not_be_written() -> None:
    world = read_only()
    world.delete("k")
    world.shard.begin_stop(world.now, 1.0)
    world.tick(0.02, 200)
    assert world.shard.is_stopped
    assert world.cold.marker is None


# --- TIER_FAILOVER ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [K.GONE, K.DEAD])
def test_one_failure_is_enough_of_a_tier_that_is_not_there(kind: FailureKind) -> None:
    world = only(Tier.COLD)
    world.store("k", b"v")
    world.cold.failing = kind
    assert world.get("k") is None
    assert trips(world) == [kind]


def test_a_failure_of_a_tier_that_is_out_already_says_nothing() -> None:
    world = only(Tier.COLD)
    world.hold_cold = True
    set_(world, "k")
    world.fail(Tier.COLD)
    world.cold.failing, world.hold_cold = K.GONE, False
    world.run()
    assert not trips(world)


# --- EMERGENCY ----------------------------------------------------------------------------------


def without_any_tier() -> World:
    world = World()
    world.store("k", b"5")
    world.set_tier(Tier.COLD, node=OTHER, health=Health.DOWN)
    for tier in TIERS:
        world.fail(tier)
    world.tick()
    return world


def test_with_no_tier_left_nothing_waits() -> None:
    world = without_any_tier()
    assert world.get("k") is None
    assert not is_stored(world, set_(world, "n"))
    assert world.answers[world.send(Incr(key("n"), 1, 1, None))][0] is Status.SHED
    assert told(world) == [("emergency", True)]
    assert counter(world, "emergencies") == 1


def test_what_waits_for_the_last_tier_is_answered_when_that_goes() -> None:
    world = only(Tier.COLD)
    world.store("k", b"v")
    world.set_tier(Tier.COLD, node=OTHER, health=Health.DOWN)
    world.hold_cold = True
    read, written = world.send(Get((key("k"),))), set_(world, "n")
    world.shard.cold_is_missing(Failure(K.GONE), world.now)
    world.tick(0.001)
    assert world.answers[read][1].sizes == (-1,)  # type: ignore[union-attr]
    assert not is_stored(world, written)
    world.hold_cold = False
    world.run()
    assert world.get("n") is None


def test_an_emergency_is_over_when_a_tier_is_back() -> None:
    world = without_any_tier()
    world.recover(Tier.HOT)
    world.tick()
    assert world.store("n", b"v")
    assert world.get("n") == b"v"
    assert len(told(world)) == 2


def test_a_node_whose_work_another_can_take_is_in_no_emergency() -> None:
    world = only()
    world.tick()
    assert told(world) == []
