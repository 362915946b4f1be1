"""The verbs on entries in memory: results, versions, times to live, pages and limits."""

from __future__ import annotations

import pytest

from tests.unit.node.shard_world import World, key, only
from tiercluster.cluster.ring import slot_of
from tiercluster.cluster.wire import (
    LEFT_OUT,
    MISS,
    Count,
    Counter,
    Delete,
    DeletePrefix,
    Flags,
    Get,
    Incr,
    Mode,
    Page,
    Peek,
    Peeked,
    Place,
    Scan,
    Status,
    Store,
    Stored,
    Touch,
    Values,
    wire_key,
)
from tiercluster.node import verbs_read, verbs_scan
from tiercluster.node.directory import VERSION_SHIFT
from tiercluster.node.verbs_read import _Gathering
from tiercluster.tiermap import Tier

BIG = 2**63 - 1


def test_many_keys_are_stored_and_read_in_one_request_each() -> None:
    world = World()
    keys = (key("a"), key("b"), key("c"))
    stored = world.ask(Store(0, keys, (1, 0, 3), b"\1\2\3", (None, 5.0, None)), b"1333")
    assert isinstance(stored, Stored)
    assert list(stored.versions) == sorted(stored.versions)
    rid = world.send(Get((*keys, key("none")), meta=True))
    _, values, body = world.answers[rid]
    assert body == b"1333"
    assert values == Values(
        (1, 0, 3, -1), b"\1\2\3\0", (*stored.versions, 0), (None, 5.0, None, None),
        bytes((Place.HOT, Place.HOT, Place.HOT, 0)),
    )  # fmt: skip


def test_a_read_without_meta_is_the_same_less_the_meta() -> None:
    world = World()
    world.store("a", b"1", flags=7)
    assert world.get_meta("a") == (Values((1,), b"\7"), b"1")


def test_versions_rise_with_each_write_of_any_key() -> None:
    world = World()
    versions = [world.store(n % 3, b"v") for n in range(9)]
    assert versions == sorted(set(versions))
    assert versions[0] >> VERSION_SHIFT == 1


@pytest.mark.parametrize("ttl", [0.0, -1.0, float("nan")])
def test_a_ttl_that_is_not_above_zero_has_passed(ttl: float) -> None:
    world = World()
    world.store("k", b"old")
    world.store("k", b"v", ttl=ttl)
    assert world.get("k") is None
    assert world.store("k", b"w", Mode.ADD)


def test_cas_stores_only_over_the_version_it_names() -> None:
    world = World()
    version = world.store("k", b"1")
    assert world.store("k", b"2", Mode.CAS, version=version - 1) == 0
    assert world.store("k", b"2", Mode.CAS, version=version)
    assert world.store("k", b"3", Mode.CAS, version=version) == 0
    assert world.store("none", b"3", Mode.CAS, version=version) == 0
    assert world.get("k") == b"2"


def test_delete_with_a_version_spares_another() -> None:
    world = World()
    version = world.store("k", b"1")
    assert world.ask(Delete((key("k"),), version + 1)) == Flags((False,))
    assert world.ask(Delete((key("k"), key("none")), version)) == Flags((True, False))
    assert world.get("k") is None


def test_touch_changes_the_time_left_and_nothing_else() -> None:
    world = World()
    version = world.store("k", b"1", ttl=1.0)
    assert world.ask(Touch((key("k"), key("none")), 9.0)) == Flags((True, False))
    assert world.ask(Peek((key("k"), key("none")))) == Peeked((version, 0), (9.0, None))
    world.ask(Touch((key("k"),), None))
    world.now += 100
    assert world.get("k") == b"1"


def test_counters() -> None:
    world = World()
    assert world.incr("n") == Counter(False, True, 0, 0)
    assert world.incr("n", 1, initial=10).value == 10
    assert world.incr("n", -15).value == -5
    assert world.get("n") == b"-5"


def test_a_value_that_is_no_integer_is_left_alone() -> None:
    world = World()
    for value, flags in ((b"x1", 0), (b"1", 1), (b"", 0), (b"1.5", 0), (b" 1", 0)):
        version = world.store("n", value, flags=flags)
        assert world.incr("n") == Counter(True, False, 0, version)
        assert world.get("n") == value


@pytest.mark.parametrize(("start", "delta"), [(BIG, 1), (-BIG - 1, -1), (0, 2**64)])
def test_a_counter_never_leaves_64_bits(start: int, delta: int) -> None:
    world = World()
    world.store("n", b"%d" % start)
    rid = world.send(Incr(key("n"), delta, None, None))
    assert world.answers[rid][0] is Status.BAD_REQUEST
    assert world.get("n") == b"%d" % start


def test_a_counter_keeps_its_time_unless_told() -> None:
    world = World()
    world.incr("n", initial=1, ttl=10.0)
    world.now += 4
    world.incr("n", ttl=99.0)
    assert world.ask(Peek((key("n"),))).ttls[0] == pytest.approx(6.0)  # type: ignore[union-attr]
    world.incr("n", ttl=99.0, keep_ttl=False)
    assert world.ask(Peek((key("n"),))).ttls == (99.0,)  # type: ignore[union-attr]


def test_a_counter_on_disk_is_counted_once_its_value_is_here() -> None:
    world = only(Tier.COLD)
    world.store("n", b"5")
    world.hold_cold = True
    first, second = (world.send(Incr(key("n"), 1, None, None)) for _ in range(2))
    assert first not in world.answers
    world.hold_cold = False
    world.run()
    assert world.answers[first][1].value == 6  # type: ignore[union-attr]
    assert world.answers[second][0] is Status.RETRY, "the first was not confirmed yet"
    assert world.get("n") == b"6"


def test_of_two_adds_at_once_only_one_is_stored() -> None:
    world = only(Tier.COLD)
    world.hold_cold = True
    fields = Store(int(Mode.ADD), (key("k"),), (1,), b"\0", (None,))
    first, second = world.send(fields, b"1"), world.send(fields, b"2")
    world.hold_cold = False
    world.run()
    assert world.answers[first][1].versions[0]  # type: ignore[union-attr]
    assert world.answers[second][1].versions == (0,)  # type: ignore[union-attr]
    assert world.get("k") == b"1"


def test_a_counter_that_cannot_be_read_is_not_begun_anew() -> None:
    world = only(Tier.COLD)
    world.store("n", b"5")
    world.hold_cold = True
    rid = world.send(Incr(key("n"), 1, 100, None))
    world.tick(0.3, 3)
    assert world.answers[rid][0] is Status.RETRY


def test_a_counter_written_while_its_old_value_was_read_counts_from_the_new() -> None:
    world = only(Tier.COLD)
    world.store("n", b"5")
    world.recover(Tier.HOT)
    world.hold_cold = True
    rid = world.send(Incr(key("n"), 1, None, None))
    world.store("n", b"50")
    world.release_cold(5)
    assert world.answers[rid][1].value == 51  # type: ignore[union-attr]


# --- pages ----------------------------------------------------------------------------------------


def all_pages(world: World, prefix: bytes, limit: int) -> list[Page]:
    pages: list[Page] = []
    cursor = 0
    while cursor >= 0:
        page = world.ask(Scan(prefix, cursor, limit))
        assert isinstance(page, Page)
        pages.append(page)
        cursor = page.cursor
    return pages


def test_a_scan_gives_each_key_of_its_prefix_once() -> None:
    world = World()
    for number in range(500):
        world.store(number, b"v")
    other = wire_key(b"ns", b"1")
    world.ask(Store(0, (other,), (1,), b"\0", (None,)), b"v")
    pages = all_pages(world, b"\0", 50)
    keys = [k for page in pages for k in page.keys]
    assert sorted(keys) == sorted(key(number) for number in range(500))
    assert len(pages) >= 9
    assert [k for p in all_pages(world, wire_key(b"ns", b""), 50) for k in p.keys] == [other]


def test_a_bucket_with_very_many_keys_is_given_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    directory = world.shard._holdings.directory
    names = [n for n in range(40_000) if _bucket(n) == 0]
    monkeypatch.setattr(verbs_scan, "ENTRIES_A_CALL", len(names) - 1)
    for name in names:
        world.store(name, b"")
    assert len(directory.buckets[0]) > verbs_scan.ENTRIES_A_CALL
    pages = all_pages(world, b"\0", 1)
    assert sorted(k for p in pages for k in p.keys) == sorted(key(n) for n in names)
    assert max(len(p.keys) for p in pages) < len(names) // 4


def _bucket(name: int) -> int:
    return slot_of(key(name)) >> 6


@pytest.mark.parametrize("cursor", [-2, 256 * 64, 2**62])
def test_a_cursor_that_was_never_given_is_refused(cursor: int) -> None:
    world = World()
    assert world.answers[world.send(Scan(b"", cursor, 10))][0] is Status.BAD_REQUEST
    assert world.answers[world.send(DeletePrefix(b"", cursor))][0] is Status.BAD_REQUEST


def test_deleting_a_prefix_counts_what_could_be_read() -> None:
    world = World()
    for number in range(300):
        world.store(number, b"v", ttl=1.0 if number < 100 else None)
    world.now += 2
    count, cursor = 0, 0
    while cursor >= 0:
        counted = world.ask(DeletePrefix(b"\0", cursor))
        assert isinstance(counted, Count)
        count, cursor = count + counted.count, counted.cursor
    assert count == 200
    assert world.shard._holdings.directory.count == 0


# --- limits ---------------------------------------------------------------------------------------


def test_an_answer_never_has_a_body_above_the_limit() -> None:
    huge = b"x" * (8 * 2**20)
    gathering = _Gathering(None, False, [len(huge)] * 9, [0] * 9, [huge] * 9)  # type: ignore[arg-type]
    _, values, body = gathering.answer(0.0)
    assert len(body) == 8 * len(huge)
    assert values.sizes == (len(huge),) * 8 + (LEFT_OUT,)  # type: ignore[union-attr]


def test_nothing_to_do_costs_no_list() -> None:
    world = World()
    assert world.shard.take_effects() is world.shard.take_effects()


def test_figures_are_counted() -> None:
    world = World()
    world.store("k", b"v")
    world.get("k")
    world.get("none")
    stats = world.shard.stats()
    assert (stats.tiers[0].hits, stats.tiers[0].misses, stats.tiers[0].entries) == (1, 1, 1)
    assert dict(stats.counters)["misses"] == 1
    assert stats.breakers == ("closed",) * 3


def test_what_does_not_fit_into_one_answer_is_left_out_and_the_client_asks_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verbs_read, "MAX_BODY_BYTES", 50)
    monkeypatch.setattr(verbs_read, "_SAFE_KEYS", 1)
    world = World()
    for name, size in (("a", 30), ("b", 30), ("c", 0), ("d", 20)):
        world.store(name, name.encode() * size)
    keys = tuple(map(key, ("none", "a", "b", "c", "d")))
    _, values, body = world.answers[world.send(Get(keys))]
    assert isinstance(values, Values)
    assert values.sizes == (MISS, 30, LEFT_OUT, 0, LEFT_OUT)
    assert body == b"a" * 30
    _, values, body = world.answers[world.send(Get((key("b"), key("d"))))]
    assert values == Values((30, 20), bytes(2))
    assert body == b"b" * 30 + b"d" * 20
