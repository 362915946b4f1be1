"""The cold worker: its contract in messages, over a real store."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import pytest

from tiercluster.node.cold_worker import ColdWorker
from tiercluster.node.effects import ToControl
from tiercluster.node.failures import Failure, FailureKind
from tiercluster.node.inbox import Inbox
from tiercluster.node.messages import (
    UNASKED,
    ColdAbsent,
    ColdAnswer,
    ColdClose,
    ColdCommand,
    ColdDelete,
    ColdDied,
    ColdDone,
    ColdFailed,
    ColdFault,
    ColdFound,
    ColdGet,
    ColdOpen,
    ColdOpened,
    ColdProbe,
    ColdPut,
    ColdStop,
    TierTripped,
)
from tiercluster.node.settings import NodeSettings
from tiercluster.node.shard import Shard
from tiercluster.tiermap import MapState, Member, Tier, TierMap

KEY, VALUE = b"\x00key", b"value"


class Desk:
    """A running worker and what it answered."""

    def __init__(self, directory: Path) -> None:
        self.inbox: Inbox[ColdCommand] = Inbox(1000)
        self.answers: SimpleQueue[ColdAnswer] = SimpleQueue()
        self.worker = ColdWorker(directory, self.inbox, self._tell)
        self.thread = threading.Thread(target=self.worker.run)

    def _tell(self, answer: ColdAnswer) -> bool:
        self.answers.put(answer)
        return True

    def tell(self, *commands: ColdCommand) -> None:
        assert all(self.inbox.tell(command) for command in commands)

    def ask(self, *commands: ColdCommand) -> ColdAnswer:
        """The answer to the last of these."""
        self.tell(*commands)
        while True:
            answer = self.answers.get(timeout=5)
            if getattr(answer, "token", None) == getattr(commands[-1], "token", None):
                return answer


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "cold")
    desk.thread.start()
    assert desk.ask(ColdOpen(1, wipe=False)) == ColdOpened(1, None, ())
    yield desk
    desk.inbox.tell(ColdFault("", 0, 0))
    desk.inbox.tell(ColdStop())
    desk.thread.join(5)
    assert not desk.thread.is_alive()


def put(token: int, key: bytes = KEY, version: int = 7) -> ColdPut:
    return ColdPut(token, key, version, 1, 0, None, VALUE)


def test_put_get_delete_in_the_order_told(desk: Desk) -> None:
    desk.tell(put(2), ColdGet(3, KEY, 7), ColdDelete(((KEY, 7),)), ColdGet(4, KEY, 7))
    answers = {type(a): a for a in (desk.answers.get(timeout=5) for _ in range(3))}
    assert set(answers) == {ColdDone, ColdFound, ColdAbsent}
    assert answers[ColdFound].value == VALUE  # type: ignore[union-attr]


def test_a_batch_of_writes_is_answered_each_by_its_token(desk: Desk) -> None:
    desk.tell(*(put(i, b"\x00%d" % i) for i in range(10, 310)))
    tokens = [desk.answers.get(timeout=5).token for _ in range(300)]  # type: ignore[union-attr]
    assert sorted(tokens) == list(range(10, 310))


def test_an_io_error_is_an_answer_and_the_worker_lives(desk: Desk) -> None:
    failed = desk.ask(ColdFault("eio", 0, 1.0), put(2))
    assert isinstance(failed, ColdFailed)
    assert failed.failure.kind is FailureKind.IO_ERROR
    assert isinstance(desk.ask(ColdProbe(3)), ColdFailed)
    assert isinstance(desk.ask(ColdFault("", 0, 0), put(4)), ColdDone)
    assert isinstance(desk.ask(ColdProbe(5)), ColdDone)


def test_one_failed_write_does_not_fail_its_batch(desk: Desk) -> None:
    desk.tell(ColdFault("eio", 0, 0.5), *(put(i, b"\x00%d" % i) for i in range(2, 12)))
    answers = [desk.answers.get(timeout=5) for _ in range(10)]
    assert sum(isinstance(a, ColdDone) for a in answers) == 5


def test_clearing_a_hang_frees_the_worker_at_once(desk: Desk) -> None:
    desk.tell(ColdFault("hang", 10_000, 1.0), *(put(i) for i in range(2, 50)))
    while len(desk.inbox):  # until the worker has taken them and hangs
        threading.Event().wait(0.001)
    assert isinstance(desk.ask(ColdFault("", 0, 0), put(99)), ColdDone)


def test_a_hang_with_a_time_frees_the_worker_when_it_is_over(desk: Desk) -> None:
    desk.tell(ColdFault("hang", 10_000, 1.0, 100))
    assert isinstance(desk.ask(put(2)), ColdDone)  # or nothing within 5 s


def test_a_senseless_fault_is_ignored(desk: Desk) -> None:
    assert isinstance(desk.ask(ColdFault("melt", 0, 1.0), put(2)), ColdDone)


def test_a_directory_that_vanishes_is_told_though_nobody_asks(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "cold").rename(tmp_path / "away")
    told = desk.answers.get(timeout=5)
    assert isinstance(told, ColdFailed)
    assert (told.token, told.failure.kind) == (UNASKED, FailureKind.GONE)
    assert isinstance(desk.ask(ColdGet(2, KEY, 7)), ColdFailed)
    (tmp_path / "away").rename(tmp_path / "cold")
    assert isinstance(desk.ask(ColdProbe(3)), ColdDone)


def test_the_shard_stops_using_a_tier_whose_directory_vanished() -> None:
    front = Shard(NodeSettings(), "t")
    me = Member("n1", "a:1", incarnation="t#1")
    front.use_map(MapState(TierMap(version=1, ring_version=1, members=(me,))), 1.0)
    front.cold_answer(ColdFailed(UNASKED, Failure(FailureKind.GONE, "unmounted"), 0.0), 1.1)
    reports = [e.report for e in front.take_effects() if isinstance(e, ToControl)]
    assert [(r.tier, r.kind) for r in reports if isinstance(r, TierTripped)] == [
        (Tier.COLD, FailureKind.GONE)
    ]


def test_a_marked_close_is_found_by_the_next_open(desk: Desk) -> None:
    desk.ask(put(2))
    assert isinstance(desk.ask(ColdClose(3, ("n1#1", 4))), ColdDone)
    opened = desk.ask(ColdOpen(4, wipe=False))
    assert isinstance(opened, ColdOpened)
    assert (opened.marker, len(opened.rows)) == (("n1#1", 4), 1)


@contextmanager
def unreadable(file: Path) -> Iterator[None]:
    """Reads of the open file fail: its descriptor is that of a directory meanwhile."""
    descriptors = Path("/proc/self/fd")
    fd = next(int(d.name) for d in descriptors.iterdir() if d.exists() and d.samefile(file))
    good, bad = os.dup(fd), os.open(file.parent, os.O_RDONLY)
    try:
        os.dup2(bad, fd)
        yield
    finally:
        os.dup2(good, fd)
        os.close(good)
        os.close(bad)


def test_a_read_that_fails_takes_back_the_writes_before_it_and_they_are_told(
    tmp_path: Path,
) -> None:
    """SQLite rolls the open transaction back, even by a SELECT: a write that was answered as done
    would not be there, and a deleted row would be, under a marker that says it is the truth."""
    told: list[ColdAnswer] = []
    worker = ColdWorker(tmp_path, Inbox(10), lambda answer: not told.append(answer))
    worker._backlog.append(ColdOpen(1, wipe=False))
    worker._backlog += [put(2), ColdPut(3, b"\0big", 7, 1, 0, None, bytes(300_000))]
    worker._work()
    db = worker._store._db
    assert db is not None
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.execute("PRAGMA shrink_memory")
    told.clear()
    worker._carry_out(put(4, b"\0new"))
    worker._carry_out(ColdDelete(((KEY, 7),)))
    with unreadable(worker._store.path):
        worker._carry_out(ColdGet(5, b"\0big", 7))
    worker._commit()
    assert [(type(a), a.token) for a in told] == [(ColdFailed, 5), (ColdFailed, 4)]  # type: ignore[union-attr]
    worker._backlog += [ColdClose(6, ("n1#1", 4)), ColdOpen(7, wipe=False)]
    worker._work()
    assert told[-1] == ColdOpened(7, None, ())
    worker._store.close()


def test_answers_wait_for_room_instead_of_being_lost(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "cold")
    refusals = iter([False, False, False])
    told: list[ColdAnswer] = []

    def tell(answer: ColdAnswer) -> bool:
        if not next(refusals, True):
            return False
        told.append(answer)
        return True

    desk.worker._tell = tell
    desk.tell(ColdOpen(1, wipe=True), put(2), ColdStop())
    desk.worker.run()
    assert [type(a) for a in told] == [ColdOpened, ColdDone]


def test_its_last_word_after_the_unforeseen_is_cold_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path / "cold")
    monkeypatch.setattr(desk.worker._store, "get", lambda *_: 1 / 0)
    desk.tell(ColdOpen(1, wipe=True), ColdGet(2, KEY, 7))
    desk.worker.run()
    answers = [desk.answers.get(timeout=5) for _ in range(2)]
    assert isinstance(answers[-1], ColdDied)
    assert "ZeroDivisionError" in answers[-1].reason
    assert not desk.inbox.tell(ColdStop()), "a dead worker took a command"
