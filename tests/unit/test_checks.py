"""The checker of the promise on stale reads, against histories that keep it and that break it."""

from __future__ import annotations

import random

import pytest

from tiercluster.checks import INF, Op, breaches


def write(number: int, call: float, ret: float = INF, key: str = "k") -> Op:
    return Op(0, key, "w", number, True, call, ret)


def delete(number: int, call: float, ret: float = INF) -> Op:
    return Op(0, "k", "d", number, True, call, ret)


def read(out: int | None, call: float, ret: float, key: str = "k") -> Op:
    return Op(1, key, "r", None, out, call, ret)


def test_a_miss_is_always_right() -> None:
    assert breaches([write(1, 0, 1), read(None, 2, 3), read(1, 4, 5)]) == []


def test_a_read_older_than_an_acknowledged_write_is_stale() -> None:
    (found,) = breaches([write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)])
    assert found.is_stale
    assert str(found) == (
        "k: a read returned 1 though 2 was acknowledged or read before it began"
    )  # fmt: skip


def test_a_read_that_overlaps_the_write_may_return_either() -> None:
    assert breaches([write(1, 0, 1), write(2, 2, 4), read(1, 3, 5), read(2, 3, 5)]) == []
    assert breaches([write(1, 0, 1), write(2, 2, 4), read(1, 4, 5)]) == []


def test_what_was_deleted_does_not_come_back() -> None:
    assert len(breaches([write(1, 0, 1), delete(2, 2, 3), read(1, 4, 5)])) == 1


def test_a_write_that_nobody_confirmed_may_show_or_not_but_not_go_away_again() -> None:
    history = [write(1, 0, 1), write(2, 2)]
    assert breaches([*history, read(1, 4, 5), read(2, 6, 7)]) == []
    assert len(breaches([*history, read(2, 4, 5), read(1, 6, 7)])) == 1


def test_a_number_that_nobody_had_begun_to_write_is_invented() -> None:
    (found,) = breaches([write(1, 0, 1), read(2, 2, 3), write(2, 4, 5)])
    assert not found.is_stale
    assert "nobody had begun to write" in str(found)


def test_keys_are_judged_by_themselves() -> None:
    assert breaches([write(5, 0, 1, "a"), write(1, 0, 1, "b"), read(1, 2, 3, "b")]) == []


@pytest.mark.parametrize("seed", range(20))
def test_it_finds_what_trying_all_pairs_finds(seed: int) -> None:
    rng = random.Random(seed)
    history = [write(n, n * 2.0, n * 2.0 + rng.choice((1.0, 3.0, INF))) for n in range(1, 12)]
    calls = [rng.uniform(0, 26) for _ in range(40)]
    history += [read(rng.choice((None, *range(1, 12))), at, at + rng.random()) for at in calls]
    assert {breach.read for breach in breaches(history)} == by_pairs(history)


def by_pairs(history: list[Op]) -> set[Op]:
    reads = [op for op in history if op.f == "r" and op.out is not None]
    writes = [op for op in history if op.f == "w"]
    bad = set()
    for one in reads:
        begun = max((w.arg for w in writes if w.call <= one.ret), default=0)
        known = [w.arg for w in writes if w.ret < one.call]
        for other in reads:
            if other.ret < one.call:
                its = max((w.arg for w in writes if w.call <= other.ret), default=0)
                known.append(min(other.out, its))
        if one.out > begun or one.out < max(known, default=0):
            bad.add(one)
    return bad
