"""The oracle must find what it is there for."""

from __future__ import annotations

from .history import History
from .promise import Oracle, Verdict


def written(oracle: Oracle, key: str, times: int) -> None:
    for _ in range(times):
        oracle.acknowledge(key, oracle.begin(key))


def test_a_read_below_the_acknowledged_write_is_stale() -> None:
    oracle = Oracle()
    written(oracle, "k", 3)
    assert oracle.judge("k", oracle.floor("k"), 2) is Verdict.STALE
    assert not oracle.is_kept
    assert oracle.breaches[0].floor == 3


def test_a_read_that_began_before_the_write_was_acknowledged_may_be_older() -> None:
    oracle = Oracle()
    written(oracle, "k", 1)
    floor = oracle.floor("k")
    written(oracle, "k", 1)
    assert oracle.judge("k", floor, 1) is Verdict.FRESH


def test_a_miss_is_always_allowed() -> None:
    oracle = Oracle()
    written(oracle, "k", 2)
    assert oracle.judge("k", oracle.floor("k"), None) is Verdict.MISS
    assert oracle.is_kept


def test_a_write_in_flight_may_be_seen_and_what_nobody_wrote_may_not() -> None:
    oracle = Oracle()
    written(oracle, "k", 1)
    number = oracle.begin("k")
    assert oracle.judge("k", oracle.floor("k"), number) is Verdict.FRESH
    assert oracle.judge("k", oracle.floor("k"), number + 1) is Verdict.INVENTED


def test_what_was_deleted_must_not_come_back() -> None:
    oracle = Oracle()
    written(oracle, "k", 1)
    oracle.acknowledge("k", oracle.begin("k"), deleted=True)
    assert oracle.judge("k", oracle.floor("k"), 1) is Verdict.STALE


def test_an_operation_that_is_still_open_is_part_of_the_history() -> None:
    history = History()
    recorder = history.recorder()
    seen_inside: list[int] = []
    recorder.record("k", "w", 1, lambda: seen_inside.append(len(recorder.all_ops())))
    assert seen_inside == [1]
    assert len(history.ops()) == 1


def test_a_call_that_raised_has_an_unknown_outcome() -> None:
    history = History()
    writer, reader = history.recorder(), history.recorder()

    def fail() -> None:
        raise ConnectionError

    writer.record("k", "w", 1, fail)
    reader.record("k", "r", None, lambda: 1)
    assert len(writer.errors) == 1
    assert history.clash() is None
