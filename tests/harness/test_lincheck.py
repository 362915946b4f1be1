"""The checker itself: both engines against brute force over all orders."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest

from tiercluster.checks import INF, Engine, Op, cache, check, jit, register, wgl

KINDS, WEIGHTS = "rwcd", (5, 4, 1, 0.5)


def linearizable(n: int, clients: int, keys: int, rng: random.Random, crash: float) -> list[Op]:
    """Each client runs one call after the other; each takes effect at a random instant inside
    itself, or never if its client crashed."""
    free = [0.0] * clients
    plan = []
    for _ in range(n):
        c = min(range(clients), key=free.__getitem__)
        call = free[c] + rng.random() * 0.2
        length = rng.expovariate(1)
        free[c] = call + length
        kind = rng.choices(KINDS, WEIGHTS)[0]
        effect = call + rng.random() * length
        plan.append((effect, c, rng.randrange(keys), kind, call, call + length))
    state: dict[int, int | None] = {}
    return [
        _effect(state, i, step, rng, rng.random() < crash) for i, step in enumerate(sorted(plan))
    ]


def _effect(
    state: dict[int, int | None],
    number: int,
    step: tuple[float, int, int, str, float, float],
    rng: random.Random,
    crashed: bool,
) -> Op:
    _, client, key, kind, call, ret = step
    held = state.get(key)
    expected = held if rng.random() < 0.6 else -1
    arg = {"w": number, "c": (expected, number)}.get(kind)
    probe = Op(client, key, kind, arg, held if kind == "r" else None, call, INF)
    if not crashed or rng.random() < 0.5:
        state[key] = register(held, probe)[1]
    if crashed:
        return probe._replace(out=None)
    out = {"r": held, "c": expected == held}.get(kind)
    return probe._replace(out=out, ret=ret)


def spoiled(history: list[Op], rng: random.Random) -> list[Op]:
    """With one read answered by any value of its key: often, not always, a lie."""
    reads = [i for i, o in enumerate(history) if o.f == "r" and o.ret != INF]
    if not reads:
        return history
    i = rng.choice(reads)
    values = [o.arg for o in history if o.f == "w" and o.key == history[i].key]
    return [*history[:i], history[i]._replace(out=rng.choice([None, *values])), *history[i + 1 :]]


def brute(ops: Sequence[Op]) -> bool:
    """Whether any order of any subset of the unanswered explains all answers."""
    must = [o for o in ops if o.ret != INF]
    may = [o for o in ops if o.ret == INF]
    subsets = itertools.chain.from_iterable(
        itertools.combinations(may, r) for r in range(len(may) + 1)
    )
    return any(_fits(p) for s in subsets for p in itertools.permutations([*must, *s]))


def _fits(order: Sequence[Op]) -> bool:
    if any(b.ret < a.call for i, a in enumerate(order) for b in order[i + 1 :]):
        return False
    state = None
    for op in order:
        ok, state = register(state, op)
        if not ok:
            return False
    return True


@pytest.mark.parametrize("seed", range(60))
def test_both_engines_agree_with_brute_force_on_short_histories(seed: int) -> None:
    rng = random.Random(seed)
    history = linearizable(rng.randint(2, 6), 3, 1, rng, crash=0.2)
    if seed % 2:
        history = spoiled(history, rng)
    expected = brute(history)
    assert (check(history, register, engine=wgl) is None) == expected
    assert (check(history, register, engine=jit) is None) == expected


@pytest.mark.parametrize("seed", range(15))
def test_long_histories_pass_and_their_spoiled_twins_are_judged_alike(seed: int) -> None:
    rng = random.Random(1000 + seed)
    history = linearizable(300, 6, 5, rng, crash=0.01)
    assert check(history, register, engine=wgl) is None
    assert check(history, register, engine=jit) is None
    bad = spoiled(history, rng)
    verdicts = [check(bad, register, engine=engine) is None for engine in (wgl, jit)]
    assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize("engine", [wgl, jit])
def test_a_miss_is_always_allowed_but_the_past_never(engine: Engine) -> None:
    old = Op(1, "k", "w", "old", True, 0, 1)
    new = Op(1, "k", "w", "new", True, 2, 3)
    miss = Op(2, "k", "r", None, None, 4, 5)
    stale = Op(2, "k", "r", None, "old", 4, 5)
    assert check([old, new, miss], cache, engine=engine) is None
    assert check([old, new, stale], cache, engine=engine) is not None
    assert check([old, new, miss], register, engine=engine) is not None


@pytest.mark.parametrize("engine", [wgl, jit])
def test_a_deleted_value_that_comes_back_is_found(engine: Engine) -> None:
    history = [
        Op(1, "k", "w", 1, True, 0, 1),
        Op(1, "k", "d", None, True, 2, 3),
        Op(2, "k", "r", None, 1, 4, 5),
    ]
    assert check(history, cache, engine=engine) is not None


def test_a_write_that_nobody_confirmed_may_show_late_or_never() -> None:
    write = Op(1, "k", "w", 1, None, 0, INF)
    assert check([write, Op(2, "k", "r", None, 1, 50, 51)]) is None
    assert check([write, Op(2, "k", "r", None, None, 50, 51)]) is None


def mixed(n: int, rng: random.Random) -> list[Op]:
    """Operations of all kinds on one counter with answers that are often, not always, possible."""
    ops = list[Op]()
    for number in range(n):
        kind = rng.choice("rwcdi")
        call = rng.uniform(0, n)
        ret = INF if rng.random() < 0.3 else call + rng.expovariate(0.5)
        value = rng.choice([*range(0, 10 * n, 10), 1, 11])
        arg = {"w": 10 * number, "c": (value, 10 * number), "i": (1, 10 * number)}.get(kind)
        answers = {"r": [value, None], "c": [True, False], "i": [10 * number, value + 1]}
        out = None if ret == INF else rng.choice(answers.get(kind, [True]))
        ops.append(Op(number, "k", kind, arg, out, call, ret))
    return ops


def brute_forgetful(ops: Sequence[Op]) -> bool:
    """As `brute`, for `cache`, where a counter may have been forgotten before any increment."""
    must = [o for o in ops if o.ret != INF]
    may = [o for o in ops if o.ret == INF]
    subsets = itertools.chain.from_iterable(
        itertools.combinations(may, r) for r in range(len(may) + 1)
    )
    return any(_fits_forgetful(p) for s in subsets for p in itertools.permutations([*must, *s]))


def _fits_forgetful(order: Sequence[Op]) -> bool:
    if any(b.ret < a.call for i, a in enumerate(order) for b in order[i + 1 :]):
        return False
    states: set[int | None] = {None}
    for op in order:
        after = [cache(state, op) for state in states]
        if op.f == "i" and states:
            after.append(cache(None, op))
        states = {state for ok, state in after if ok}
    return bool(states)


@pytest.mark.parametrize("seed", range(300))
def test_histories_of_all_operations_on_a_cache_are_judged_as_by_brute_force(seed: int) -> None:
    rng = random.Random(seed)
    history = mixed(rng.randint(2, 6), rng)
    started = [o._replace(f="w", arg=o.arg[1]) for o in history if o.f == "i" and o.ret == INF]
    expected = brute_forgetful([*history, *started])
    assert (check(history, cache, engine=wgl) is None) == expected
    assert (check(history, cache, engine=jit) is None) == expected


def test_many_increments_of_unknown_outcome_do_not_make_the_search_explode() -> None:
    lost = [Op(i, "k", "i", (1, 1000 * i), None, i, INF) for i in range(2, 60)]
    first = Op(1, "k", "i", (1, 1000), 1000, 0, 1)
    reads = [Op(1, "k", "r", None, 1000 + seen, 100 + seen, 100.5 + seen) for seen in range(59)]
    assert check([first, *lost, *reads]) is None
    assert check([first, *lost, *reads, reads[58]._replace(out=1059)]) is not None
