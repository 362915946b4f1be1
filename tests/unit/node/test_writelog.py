"""What is remembered of writes, for how long, and what is said of the rest."""

from __future__ import annotations

from tiercluster.cluster.wire import Ack, Flags, Status, Stored
from tiercluster.node.writelog import LONG_S, Answered, WriteLog

ANSWER = Answered(Status.OK, Ack(), b"")
CLIENT = b"client--"


def test_a_write_is_known_until_its_deadline() -> None:
    for length_s in (1.0, LONG_S + 1.0):
        log = WriteLog()
        log.begin(CLIENT, 7, 100.0 + length_s, 100.0)
        assert log.answer(CLIENT, 7) is None
        log.finish(CLIENT, 7, ANSWER)
        assert log.answer(CLIENT, 7) == ANSWER
        log.expire(100.0 + length_s)
        assert log.knows(CLIENT, 7)
        log.expire(100.1 + length_s)
        assert not log.knows(CLIENT, 7)
        assert len(log) == 0


def test_one_write_with_a_deadline_far_away_spoils_no_retry_of_others() -> None:
    """A client that gives its calls an hour is enough for that, and a hostile one that gives them
    a century."""
    log = WriteLog(limit=100)
    log.begin(b"patient-", 1, 1e9, 0.0)
    for rid in range(1000):
        now = 1.0 + rid * 0.1
        log.begin(CLIENT, rid, now + 1.0, now)
        log.expire(now)
        assert not log.may_have_forgotten(now)
        assert len(log) < 20
    assert log.knows(b"patient-", 1)


def test_a_retry_that_may_be_a_forgotten_write_is_told_so() -> None:
    log = WriteLog(limit=1)
    for late in (1.0, LONG_S + 1.0):
        log.begin(CLIENT, 1, late, 0.0)
        log.begin(CLIENT, 2, late, 0.0)
        assert not log.knows(CLIENT, 1)
        assert log.may_have_forgotten(late)
        assert not log.may_have_forgotten(late + 0.1)


def test_long_answers_are_forgotten_before_they_fill_the_memory() -> None:
    log = WriteLog(limit=1000, keys_limit=100)
    for rid in range(30):
        log.begin(CLIENT, rid, 5.0 + rid / 10, 0.0)
        for _ in range(2):  # said twice, kept once
            log.finish(CLIENT, rid, Answered(Status.OK, Stored((1,) * 20), b""))
    assert [rid for rid in range(30) if log.knows(CLIENT, rid)] == [25, 26, 27, 28, 29]
    assert log.may_have_forgotten(5.0 + 24 / 10)
    assert not log.may_have_forgotten(5.0 + 25 / 10)
    log.expire(100.0)
    assert len(log) == 0
    log.begin(CLIENT, 99, 200.0, 100.0)
    log.finish(CLIENT, 99, Answered(Status.OK, Flags((True,) * 90), b""))
    assert log.knows(CLIENT, 99)
