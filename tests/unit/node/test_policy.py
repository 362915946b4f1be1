"""The contract of every eviction policy, and what sets each apart."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiercluster.node.entry import NEVER, Entry
from tiercluster.node.policy import GHOST_SHARE, Lru, Policy, S3Fifo

ALL = pytest.mark.parametrize("make", [Lru, S3Fifo])
Make = Callable[[], Policy]


def entry(name: int, cost: int = 1) -> Entry:
    made = Entry(b"%d" % name, 1, 0, NEVER, cost, 0)
    made.cost = cost
    return made


def miss_ratio(policy: Policy, names: list[int], capacity: int) -> float:
    held: dict[bytes, Entry] = {}
    misses = 0
    for name in names:
        known = held.get(b"%d" % name)
        if known is not None:
            policy.hit(known)
            continue
        misses += 1
        while policy.count >= capacity and (victim := policy.victim()) is not None:
            del held[victim.key]
        held[b"%d" % name] = made = entry(name)
        policy.add(made)
    return misses / len(names)


@ALL
@settings(max_examples=60)
@given(steps=st.lists(st.tuples(st.sampled_from("ahrdv"), st.integers(0, 9)), max_size=80))
def test_a_policy_holds_what_was_added_and_not_given_up(
    make: Make, steps: list[tuple[str, int]]
) -> None:
    policy = make()
    held: dict[bytes, Entry] = {}
    for verb, name in steps:
        known = held.get(b"%d" % name)
        if verb == "a" and known is None:
            made = held[b"%d" % name] = entry(name, name + 1)
            policy.add(made, proven=name % 3 == 0)
        elif verb == "h" and known is not None:
            policy.hit(known)
        elif verb == "r" and known is not None:
            policy.resize(known, known.cost + 5)
        elif verb == "d" and known is not None:
            policy.discard(held.pop(known.key))
        elif verb == "v":
            victim = policy.victim()
            assert (victim is None) == (not held)
            if victim is not None:
                assert held.pop(victim.key) is victim
                assert victim.older is None
                assert victim.newer is None
                assert not victim.queue
        assert policy.count == len(held)
        assert policy.size_bytes == sum(e.cost for e in held.values())
        assert sorted(e.key for e in policy.hottest_first()) == sorted(held)


@ALL
def test_what_is_read_again_and_again_survives_what_is_not(make: Make) -> None:
    policy = make()
    loved = [entry(n) for n in range(5)]
    for one in loved:
        policy.add(one)
    for number in range(5, 200):
        policy.add(entry(number))
        for one in loved:
            policy.hit(one)
        if policy.count > 20:
            assert policy.victim() not in loved


def test_lru_gives_up_the_least_recently_read() -> None:
    policy = Lru()
    first, second = entry(1), entry(2)
    policy.add(first)
    policy.add(second)
    policy.hit(first)
    assert policy.victim() is second


def test_a_scan_does_not_wash_out_what_s3_fifo_has_seen_read() -> None:
    working_set = [n % 50 for n in range(500)]
    names = working_set + list(range(1000, 3000)) + working_set
    assert miss_ratio(S3Fifo(), names, 100) < miss_ratio(Lru(), names, 100)


def test_a_key_that_comes_back_soon_is_spared_probation() -> None:
    policy = S3Fifo()
    for number in range(20):
        policy.add(entry(number))
    victim = policy.victim()
    assert victim is not None
    again = entry(int(victim.key))
    policy.add(again)
    assert policy.victim() is not again
    assert next(policy.hottest_first()) is again


@pytest.mark.parametrize("pause", [30, 80, 120])
def test_s3_fifo_keeps_up_with_lru_where_only_recency_counts(pause: int) -> None:
    chance = random.Random(pause)
    names: list[int] = []
    for newest in range(10_000):
        names.append(newest)
        names.extend(max(0, newest - int(chance.expovariate(3 / pause))) for _ in range(2))
    assert miss_ratio(S3Fifo(), names, 100) < miss_ratio(Lru(), names, 100) * 1.05


def test_ghosts_are_no_more_than_the_entries() -> None:
    policy = S3Fifo()
    for number in range(2000):
        policy.add(entry(number))
        if policy.count > 100:
            policy.victim()
    assert len(policy._small_ghosts) <= 100 * GHOST_SHARE
