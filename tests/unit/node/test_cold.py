"""The cold store: what it holds, what it refuses to trust, and how it says that a disk is sick."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiercluster.node.entry import PACKED
from tiercluster.node.failures import Failure, FailureKind
from tiercluster.node.tiers.cold import PROBE_KEY, ColdStore, Opened
from tiercluster.node.tiers.faults import FaultPlan, Faults
from tiercluster.node.tiers.sqlite_failures import from_sqlite

KEY, VALUE = b"\x00key", b"value" * 100


@pytest.fixture
def faults() -> Faults:
    return Faults(lambda _: None)


@pytest.fixture
def store(tmp_path: Path, faults: Faults) -> Iterator[ColdStore]:
    store = ColdStore(tmp_path / "cold", faults)
    assert store.open(wipe=False) == Opened(None, ())
    yield store
    store.close()


def put(store: ColdStore, key: bytes = KEY, version: int = 7, value: bytes = VALUE) -> None:
    assert store.put(key, version, 1, 3, None, value) is None
    assert store.commit() is None


def kind_of(result: object) -> FailureKind:
    assert isinstance(result, Failure), result
    return result.kind


def test_a_value_comes_back_with_its_flags_under_its_version_only(store: ColdStore) -> None:
    put(store)
    assert store.get(KEY, 7) == (VALUE, 3)
    assert store.get(KEY, 6) is None
    assert store.get(b"\x00other", 7) is None


def test_a_compressed_value_comes_back_too(store: ColdStore) -> None:
    """Beside the user's byte of flags its row says that it is compressed."""
    assert store.put(KEY, 7, 1, PACKED | 0xFF, None, VALUE) is None
    assert store.get(KEY, 7) == (VALUE, PACKED | 0xFF)
    store.put(KEY, 7, 1, 2 * PACKED, None, VALUE)
    assert kind_of(store.get(KEY, 7)) is FailureKind.CORRUPT


def test_a_newer_version_replaces_the_older(store: ColdStore) -> None:
    put(store)
    put(store, version=8, value=b"")
    assert store.get(KEY, 7) is None
    assert store.get(KEY, 8) == (b"", 3)


def test_delete_takes_only_the_version_it_names(store: ColdStore) -> None:
    put(store)
    assert store.delete(((KEY, 6),)) is None
    assert store.get(KEY, 7) is not None
    assert store.delete(((KEY, 7),)) is None
    assert store.commit() is None
    assert store.get(KEY, 7) is None


def test_after_a_clean_close_the_rows_are_trusted_once(store: ColdStore, tmp_path: Path) -> None:
    assert store.put(KEY, 7, 1, 3, 1234.5, VALUE) is None
    assert store.close(("n1#1", 4)) is None
    opened = store.open(wipe=False)
    assert isinstance(opened, Opened)
    assert opened.marker == ("n1#1", 4)
    assert [(r.key, r.version, r.flags, r.expires_wall, r.size) for r in opened.rows] == [
        (KEY, 7, 3, 1234.5, len(VALUE))
    ]
    assert store.get(KEY, 7) == (VALUE, 3)
    store.close()
    assert store.open(wipe=False) == Opened(None, ())


def test_after_a_crash_nothing_is_trusted(store: ColdStore) -> None:
    put(store)
    store.close()
    assert store.open(wipe=False) == Opened(None, ())
    assert store.get(KEY, 7) is None


def test_wipe_empties_even_after_a_clean_close(store: ColdStore) -> None:
    put(store)
    store.close(("n1#1", 4))
    assert store.open(wipe=True) == Opened(None, ())
    assert store.get(KEY, 7) is None


def test_a_failed_delete_costs_the_marker_so_that_it_cannot_resurrect(
    store: ColdStore, faults: Faults
) -> None:
    put(store)
    faults.use(FaultPlan("eio"))
    assert kind_of(store.delete(((KEY, 7),))) is FailureKind.IO_ERROR
    faults.use(None)
    assert store.close(("n1#1", 4)) is None
    assert store.open(wipe=False) == Opened(None, ())


def test_a_committed_write_survives_a_process_that_never_closes(
    store: ColdStore, tmp_path: Path
) -> None:
    put(store)
    assert store.put(b"\x00lost", 8, 1, 0, None, VALUE) is None  # never committed
    crashed = tmp_path / "crashed"
    shutil.copytree(tmp_path / "cold", crashed)  # what kill -9 leaves
    with sqlite3.connect(crashed / "cold.db") as db:
        rows = db.execute("SELECT key, version, value FROM entries").fetchall()
    db.close()
    assert rows == [(KEY, 7, VALUE)]


def test_neither_mmap_nor_a_shared_index_is_used(store: ColdStore, tmp_path: Path) -> None:
    put(store)
    assert not list((tmp_path / "cold").glob("*-shm"))
    assert store._db is not None
    assert store._db.execute("PRAGMA mmap_size").fetchone()[0] == 0


def test_a_flipped_bit_on_the_disk_is_corrupt_not_a_value(store: ColdStore, tmp_path: Path) -> None:
    put(store, value=b"A" * 3000)
    assert store._db is not None
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    store._db.execute("PRAGMA shrink_memory")
    file = tmp_path / "cold" / "cold.db"
    raw = file.read_bytes()
    file.write_bytes(raw.replace(b"A" * 50, b"A" * 49 + b"B", 1))
    assert kind_of(store.get(KEY, 7)) is FailureKind.CORRUPT


def test_a_store_that_opens_damaged_is_set_aside_and_rebuilt_and_one_is_kept(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "cold"
    directory.mkdir()
    store = ColdStore(directory)
    for _ in range(3):
        (directory / "cold.db").write_bytes(b"no database at all" * 1000)
        opened = store.open(wipe=False)
        assert isinstance(opened, Opened)
        assert "set aside" in opened.note
        put(store)
        assert store.get(KEY, 7) == (VALUE, 3)
        store.close()
    assert [p.name for p in directory.glob("*.corrupt-*")] == ["cold.db.corrupt-3"]


def test_rows_that_cannot_be_listed_set_the_store_aside(store: ColdStore, tmp_path: Path) -> None:
    for i in range(200):
        store.put(b"\x00%d" % i, 7, 1, 0, None, b"x" * 1000)
    store.close(("n1#1", 4))
    file = tmp_path / "cold" / "cold.db"
    raw = bytearray(file.read_bytes())
    raw[8192 * 8 :] = b"\xff" * (len(raw) - 8192 * 8)
    file.write_bytes(raw)
    opened = store.open(wipe=False)
    assert isinstance(opened, Opened)
    assert opened.rows == ()
    assert "set aside" in opened.note
    assert store.probe() is None


def test_a_store_that_becomes_damaged_fails_its_probe_and_heals_by_the_next(
    store: ColdStore, tmp_path: Path
) -> None:
    for i in range(200):
        put(store, b"\x00%d" % i)
    assert store._db is not None
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    store._db.execute("PRAGMA shrink_memory")
    size = (tmp_path / "cold" / "cold.db").stat().st_size
    with (tmp_path / "cold" / "cold.db").open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (size - 8192))
    assert kind_of(store.probe()) is FailureKind.CORRUPT
    assert store.probe() is None
    assert list((tmp_path / "cold").glob("*.corrupt-1"))


def test_a_full_disk_is_no_space_and_the_reads_go_on(store: ColdStore) -> None:
    put(store)
    assert store._db is not None
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    assert kind_of(store.put(b"\x00big", 8, 1, 0, None, b"x" * 100_000)) is FailureKind.NO_SPACE
    assert store.commit() is None
    assert store.get(KEY, 7) == (VALUE, 3)


@pytest.mark.parametrize(("read_only", "kind"), [(True, FailureKind.READ_ONLY)])
def test_a_file_that_may_not_be_written_is_read_only(
    store: ColdStore, read_only: bool, kind: FailureKind
) -> None:
    put(store)
    assert store._db is not None
    store._db.execute(f"PRAGMA query_only = {read_only}")
    assert kind_of(store.put(KEY, 8, 1, 0, None, VALUE)) is kind
    assert store.get(KEY, 7) == (VALUE, 3)


def test_a_directory_that_is_moved_away_is_gone_and_back_when_it_is_back(
    store: ColdStore, tmp_path: Path
) -> None:
    put(store)
    (tmp_path / "cold").rename(tmp_path / "away")
    assert kind_of(store.check()) is FailureKind.GONE
    assert kind_of(store.probe()) is FailureKind.GONE
    assert not (tmp_path / "cold").exists(), "a probe made a place that is not the disk's"
    (tmp_path / "away").rename(tmp_path / "cold")
    assert store.check() is None
    assert store.probe() is None
    assert store.get(KEY, 7) == (VALUE, 3)


def test_a_store_that_was_gone_for_a_while_leaves_no_marker(
    store: ColdStore, tmp_path: Path
) -> None:
    """Deletes that came meanwhile were not carried out."""
    put(store)
    (tmp_path / "cold").rename(tmp_path / "away")
    assert kind_of(store.check()) is FailureKind.GONE
    (tmp_path / "away").rename(tmp_path / "cold")
    assert store.check() is None
    assert store.close(("n1#1", 4)) is None
    assert store.open(wipe=False) == Opened(None, ())


def test_a_directory_that_was_replaced_is_gone_until_a_probe_opens_it_empty(
    store: ColdStore, tmp_path: Path
) -> None:
    put(store)
    (tmp_path / "cold").rename(tmp_path / "away")
    (tmp_path / "cold").mkdir()
    assert kind_of(store.check()) is FailureKind.GONE
    assert store.probe() is None
    assert store.check() is None
    assert store.get(KEY, 7) is None


def test_another_store_found_in_its_place_is_not_believed(store: ColdStore, tmp_path: Path) -> None:
    other = ColdStore(tmp_path / "other")
    other.open(wipe=True)
    put(other, value=b"of another cluster, alike in key and version")
    other.close()
    put(store)
    (tmp_path / "cold").rename(tmp_path / "away")
    (tmp_path / "other").rename(tmp_path / "cold")
    assert store.probe() is None
    assert store.get(KEY, 7) is None


def test_what_a_probe_left_behind_is_no_entry(store: ColdStore) -> None:
    put(store, key=PROBE_KEY)
    store.close(("n1#1", 4))
    opened = store.open(wipe=False)
    assert isinstance(opened, Opened)
    assert opened.rows == ()


def test_a_disk_that_should_be_mounted_and_is_not_is_never_opened_below_its_mount_point(
    store: ColdStore, tmp_path: Path
) -> None:
    store._was_mounted = True  # as if another device had been mounted there
    (tmp_path / "cold").rename(tmp_path / "away")
    (tmp_path / "cold").mkdir()
    assert kind_of(store.probe()) is FailureKind.GONE
    assert not list((tmp_path / "cold").iterdir())


def test_the_marker_does_not_survive_being_opened_by_a_probe(store: ColdStore) -> None:
    put(store)
    store.close(("n1#1", 4))
    assert store.probe() is None
    assert store.get(KEY, 7) == (VALUE, 3)
    store.close()
    assert store.open(wipe=False) == Opened(None, ())


def test_a_closed_store_answers_gone(store: ColdStore) -> None:
    store.close()
    assert kind_of(store.get(KEY, 7)) is FailureKind.GONE
    assert kind_of(store.put(KEY, 7, 1, 0, None, VALUE)) is FailureKind.GONE


def test_a_directory_that_cannot_be_made_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert isinstance(ColdStore(tmp_path / "file" / "cold").open(wipe=False), Failure)


@pytest.mark.parametrize(
    ("plan", "kind"),
    [("eio", FailureKind.IO_ERROR), ("enospc", FailureKind.NO_SPACE)],
)
def test_injected_errors_hit_writes_and_clear(
    store: ColdStore, faults: Faults, plan: str, kind: FailureKind
) -> None:
    faults.use(FaultPlan(plan))
    assert kind_of(store.put(KEY, 7, 1, 0, None, VALUE)) is kind
    assert kind_of(store.probe()) is kind
    faults.use(None)
    put(store)
    assert store.probe() is None


def test_injected_corruption_fails_reads_and_probes_but_harms_nothing(
    store: ColdStore, faults: Faults, tmp_path: Path
) -> None:
    put(store)
    faults.use(FaultPlan("corrupt"))
    assert kind_of(store.get(KEY, 7)) is FailureKind.CORRUPT
    assert kind_of(store.probe()) is FailureKind.CORRUPT
    faults.use(None)
    assert store.get(KEY, 7) == (VALUE, 3)
    assert not list((tmp_path / "cold").glob("*.corrupt-*"))


def test_hang_and_slow_hold_up_as_long_as_they_say() -> None:
    held: list[float] = []
    faults = Faults(held.append)
    faults.use(FaultPlan("slow", ms=30))
    faults.before_io(writes=False)
    faults.use(FaultPlan("hang"))
    faults.before_io(writes=True)
    assert held == [0.03, 1.0]


def test_a_fault_with_a_time_is_over_by_itself() -> None:
    now = [100.0]
    faults = Faults(lambda _: None, lambda: now[0])
    faults.use(FaultPlan("eio", for_ms=1500))
    now[0] = 101.4
    with pytest.raises(OSError, match="injected"):
        faults.before_io(writes=False)
    now[0] = 101.5
    faults.before_io(writes=False)
    assert faults.plan is None
    faults.use(FaultPlan("eio"))
    now[0] = 1e6
    with pytest.raises(OSError, match="injected"):
        faults.before_io(writes=False)


@given(st.floats(0, 1), st.integers(1, 2000))
def test_the_rate_is_kept_by_counting(rate: float, calls: int) -> None:
    plan = FaultPlan("eio", rate=rate)
    assert abs(sum(plan.hits(i) for i in range(calls)) - rate * calls) <= 1


@pytest.mark.parametrize(
    "bad",
    [("melt", 0, 1), ("slow", -1, 1), ("slow", 1e9, 1), ("eio", 0, 2), ("eio", 0, 1, 1e9),
     ("eio", 0, 1, -1), ("eio", 0, 1, float("nan"))],
)  # fmt: skip
def test_a_fault_that_makes_no_sense_is_a_value_error(bad: tuple[str, float, float]) -> None:
    with pytest.raises(ValueError):
        FaultPlan(*bad)


@pytest.mark.parametrize(
    ("code", "name", "kind"),
    [
        (sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT", FailureKind.CORRUPT),
        (sqlite3.SQLITE_IOERR | 10 << 8, "SQLITE_IOERR_WRITE", FailureKind.IO_ERROR),
        (sqlite3.SQLITE_IOERR | 33 << 8, "SQLITE_IOERR_CORRUPTFS", FailureKind.CORRUPT),
        (sqlite3.SQLITE_FULL, "SQLITE_FULL", FailureKind.NO_SPACE),
        (sqlite3.SQLITE_READONLY, "SQLITE_READONLY", FailureKind.READ_ONLY),
        (sqlite3.SQLITE_READONLY | 4 << 8, "SQLITE_READONLY_DBMOVED", FailureKind.GONE),
        (sqlite3.SQLITE_CANTOPEN, "SQLITE_CANTOPEN", FailureKind.GONE),
        (sqlite3.SQLITE_TOOBIG, "SQLITE_TOOBIG", FailureKind.TOO_LARGE),
        (sqlite3.SQLITE_BUSY, "SQLITE_BUSY", FailureKind.IO_ERROR),
    ],
)
def test_what_sqlite_says_becomes_the_right_failure(
    code: int, name: str, kind: FailureKind
) -> None:
    error = sqlite3.OperationalError("said so")
    error.sqlite_errorcode, error.sqlite_errorname = code, name
    assert from_sqlite(error).kind is kind
