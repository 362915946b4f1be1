"""The instruments themselves: each must do what it is there for, and only that."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tiercluster.checks.lincheck import INF, Op

from .emulator import Emulator, Link
from .preload import Call as DiskCall
from .preload import How, SickDisk, WrongClock
from .records import Call, ClientHistory
from .sandbox import missing, run_inside
from .table import table
from .verdict import CutOff, judge, longest_window

# --- links --------------------------------------------------------------------------------------


def test_a_link_loses_its_share_and_delays_the_rest() -> None:
    emulator = Emulator(7)
    emulator.set(Link(loss=0.05, delay_s=0.1, jitter_s=0.02), [(1, 2)])
    arrivals = [emulator.arrivals(1, 2, 0.0) for _ in range(10_000)]
    lost = sum(not times for times in arrivals)
    assert 400 < lost < 600
    assert all(0.08 <= t <= 0.12 for times in arrivals for t in times)


def test_a_link_is_one_way_and_the_same_seed_gives_the_same_fate() -> None:
    def fates() -> list[list[float]]:
        emulator = Emulator(3)
        emulator.set(Link(loss=0.5, duplicate=0.5, reorder=0.5), [(1, 2)])
        return [emulator.arrivals(1, 2, 1.0) for _ in range(50)]

    assert fates() == fates()
    assert {len(times) for times in fates()} == {0, 1, 2}
    emulator = Emulator(3)
    emulator.set(Link(loss=1.0), [(1, 2)])
    assert emulator.arrivals(2, 1, 1.0) == [1.0]
    emulator.clear()
    assert emulator.arrivals(1, 2, 1.0) == [1.0]


@pytest.mark.parametrize("wrong", [{"loss": 1.5}, {"jitter_s": 0.1}, {"duplicate": -0.1}])
def test_a_link_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Link(**wrong)


# --- shims --------------------------------------------------------------------------------------

TOUCH = """
import os, sys, sqlite3, time
path = sys.argv[1]
fd = os.open(path, os.O_RDWR | os.O_CREAT)
for step in ("os.write(fd, b'x' * 1000)", "os.fsync(fd)", "os.pread(fd, 10, 0)"):
    try:
        print(eval(step))
    except OSError as error:
        print(error.errno)
print(os.fstat(fd).st_size)
"""


def touched(path: Path, env: dict[str, str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", TOUCH, str(path)],
        env=dict(os.environ) | env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.fixture
def disk(tmp_path: Path) -> SickDisk:
    (tmp_path / "sick").mkdir()
    return SickDisk(tmp_path / "control", tmp_path / "sick")


needs_gcc = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("gcc") is None, reason="gcc compiles the shims"
)


@needs_gcc
def test_a_sick_disk_fails_only_the_calls_that_it_was_told_to(
    disk: SickDisk, tmp_path: Path
) -> None:
    healthy = ["1000", "None", "b'xxxxxxxxxx'", "1000"]
    assert touched(tmp_path / "sick" / "a", disk.env()) == healthy
    disk.set(DiskCall.SYNC, errno.EIO)
    assert touched(tmp_path / "sick" / "b", disk.env())[1] == str(errno.EIO)
    assert touched(tmp_path / "beside", disk.env()) == healthy
    disk.set(DiskCall.WRITE, errno.ENOSPC, how=How.TEAR)
    disk.set(DiskCall.READ, errno.EIO, how=How.FLIP)
    torn = [str(errno.ENOSPC), str(errno.EIO), "b'xxxxxyxxxx'", "500"]
    assert touched(tmp_path / "sick" / "c", disk.env()) == torn
    assert disk.hits() == 4
    disk.heal()
    assert touched(tmp_path / "sick" / "d", disk.env()) == healthy


@needs_gcc
def test_a_slow_disk_takes_its_time(disk: SickDisk, tmp_path: Path) -> None:
    disk.set(DiskCall.SYNC, delay_s=0.3)
    began = time.monotonic()
    touched(tmp_path / "sick" / "a", disk.env())
    assert time.monotonic() - began > 0.3


@needs_gcc
def test_a_wrong_clock_leaves_the_monotonic_one_alone(tmp_path: Path) -> None:
    clock = WrongClock(tmp_path / "clock")
    clock.jump(-3600)
    script = "import time; print(time.time(), time.monotonic())"
    out = subprocess.check_output(
        [sys.executable, "-c", script], env=dict(os.environ) | clock.env(), text=True
    )
    wall, monotonic = map(float, out.split())
    assert abs(wall + 3600 - time.time()) < 5
    assert abs(monotonic - time.monotonic()) < 5


# --- the sandbox --------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.parametrize("kind", ["bridge", "switch"])
def test_a_cut_holds_in_its_direction_and_nothing_is_left_behind(kind: str, tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    before = os.listdir("/sys/class/net")
    command = [sys.executable, "-m", "tests.harness.lab.reach", kind]
    assert run_inside(command, tmp_path / "reach", 60) == 0, (tmp_path / "reach.err").read_text()
    assert os.listdir("/sys/class/net") == before


# --- the verdict --------------------------------------------------------------------------------


def call(f: str, number: int | None, start: float, error: str = "", end: float = 0.0) -> Call:
    return Call("k", f, number, start, end or start + 0.1, error, stored=not error)


def history(name: str, *calls: Call) -> ClientHistory:
    return ClientHistory(name, calls=list(calls))


def test_a_read_below_what_was_acknowledged_before_it_began_is_stale() -> None:
    writer = history("c1", call("w", 1, 0), call("w", 2, 1))
    assert judge([writer, history("c2", call("r", 1, 2))]).stale == 1
    assert judge([writer, history("c2", call("r", 1, 1.05))]).violations == 0
    assert judge([writer, history("c2", call("r", 2, 2))]).violations == 0
    assert judge([writer, history("c2", call("r", None, 2))]).violations == 0


def test_what_was_deleted_must_not_be_read_and_what_was_not_written_neither() -> None:
    writer = history("c1", call("w", 1, 0), call("d", 2, 1))
    assert judge([writer, history("c2", call("r", 1, 2))]).stale == 1
    assert judge([writer, history("c2", call("r", 3, 2))]).invented == 1


def test_a_write_that_failed_may_show_or_not() -> None:
    writer = history("c1", call("w", 1, 0), call("w", 2, 1, error="DeadlineExceeded"))
    for number in (1, 2):
        assert judge([writer, history("c2", call("r", number, 2))]).violations == 0


def test_only_the_cut_off_side_is_excused_and_only_while_it_lasts() -> None:
    writer = history("c1", call("w", 1, 0), call("w", 2, 1))
    split = CutOff(frozenset({"c2"}), 1.5, 3.0)
    assert judge([writer, history("c2", call("r", 1, 2))], [split], is_excused=True).violations == 0
    assert judge([writer, history("c3", call("r", 1, 2))], [split], is_excused=True).stale == 1
    assert judge([writer, history("c2", call("r", 1, 4))], [split], is_excused=True).stale == 1


def test_a_write_acknowledged_on_the_cut_off_side_is_not_a_promise() -> None:
    writer = history("c1", call("w", 1, 0), call("w", 2, 1))
    split = CutOff(frozenset({"c1"}), 0.5, 3.0)
    assert judge([writer, history("c2", call("r", 1, 4))], [split], is_excused=True).violations == 0
    assert judge([writer, history("c2", call("r", 1, 4))]).stale == 1


def test_keys_that_all_write_need_one_order() -> None:
    ops = [Op(1, "s", "w", 1, True, 0, 1), Op(1, "s", "w", 2, True, 2, 3)]
    stale = Op(2, "s", "r", None, 1, 4, 5)
    assert "s: " in judge([ClientHistory("c1", ops=[*ops, stale])]).clash
    assert judge([ClientHistory("c1", ops=ops)]).violations == 0
    unknown = ops[1]._replace(ret=INF)
    assert judge([ClientHistory("c1", ops=[ops[0], unknown, stale])]).violations == 0


def test_a_window_lasts_from_the_last_answer_to_the_next() -> None:
    failed = [call("r", None, t, error="Unavailable") for t in (2.0, 3.0, 4.0)]
    seen = history("c1", call("r", 1, 1.0), *failed, call("r", 1, 5.0))
    assert longest_window(seen) == pytest.approx(4.0)
    cut = CutOff(frozenset({"c1"}), 1.5, 4.5)
    assert longest_window(seen, [cut]) < 1.0
    assert longest_window(history("c1", call("r", 1, 1.0), call("r", 1, 5.0))) < 1.0
    assert longest_window(history("c1", call("r", 1, 1.0, end=3.0))) == pytest.approx(2.0)


def test_a_history_survives_the_file(tmp_path: Path) -> None:
    made = history("c1", call("r", 1, 1.0))
    made.ops.append(Op(1, "s", "c", (1, 2), True, 0.0, INF))
    made.save(tmp_path / "h")
    assert ClientHistory.load(tmp_path / "h") == made


def test_the_table_adds_up_the_runs_of_a_scenario() -> None:
    run = {"scenario": "lab/kill_9", "ops": 1000, "longest_s": 0.5, "back_s": 1.0, "violations": 0}
    lines = [
        json.dumps(run | {"errors": {"Unavailable": 2}}),
        json.dumps(run | {"errors": {"DeadlineExceeded": 3}, "longest_s": 0.7, "violations": 1}),
        json.dumps({"scenario": "burst"}),
    ]
    rows = table(lines).splitlines()[2:]
    told = "2 | 2,000 | 3 DeadlineExceeded, 2 Unavailable | 0.70 s | 1.00 s | 1 |"
    assert rows == [f"| kill 9 | {told}", f"| all | {told}"]
