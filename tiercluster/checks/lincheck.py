"""Linearizability of key-value histories, checked key by key, with the semantics of a cache.

A history is a list of Op. ``ret=INF`` says that nobody knows whether it took effect (a time-out, a
crash): it may take effect at any moment after its call, or never. Two engines, which must agree:
`wgl` (Wing and Gong's search with Lowe's memoisation, depth first) and `jit` (breadth first over
the configurations at each return, linear in the length for bounded concurrency).

    f       arg           out            effect
    "w"     value         -              the key holds value
    "r"     -             value or None  none; None is a miss
    "c"     (old, new)    bool           holds new if it held old
    "d"     -             -              the key is gone
    "i"     (by, first)   number         holds number: by more than it held, or first if it was gone
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

INF = float("inf")
MAX_CONFIGURATIONS = 200_000

State = Any  # what a key holds: any hashable value, or None


class Op(NamedTuple):
    """One call of one client; ``call`` and ``ret`` are seconds on one monotonic clock."""

    client: int
    key: str | int
    f: str
    arg: Any
    out: Any
    call: float
    ret: float


Model = Callable[[State, Op], tuple[bool, State]]
Engine = Callable[[Sequence[Op], Model, State], list[Op] | None]


class TooConcurrent(RuntimeError):
    """More configurations than MAX_CONFIGURATIONS: the history cannot be judged."""


def register(state: State, op: Op) -> tuple[bool, State]:
    """Whether ``op`` may answer as it did in ``state``, and the state after it."""
    match op.f:
        case "w":
            return True, op.arg
        case "d":
            return True, None
        case "r":
            return op.ret == INF or op.out == state, state
        case "c":
            hit = state == op.arg[0]
            return op.ret == INF or hit == op.out, op.arg[1] if hit else state
        case "i":
            by, first = op.arg
            after = first if state is None else state + by
            return op.ret == INF or op.out == after, after
    raise ValueError(f"no operation {op.f!r}")


def cache(state: State, op: Op) -> tuple[bool, State]:
    """A cache may forget: a miss is always right and says nothing, a hit must be linearizable.
    A compare-and-set may fail, and a counter start anew, for the same reason. The value that a
    counter starts at is its alone (each call brings another)."""
    if op.f == "i" and op.ret != INF and op.out == op.arg[1]:
        return True, op.out
    if op.f == "r" and op.out is None:
        return True, state
    if op.f == "c" and op.out is False:
        return True, state
    return register(state, op)


def wgl(ops: Sequence[Op], model: Model, init: State) -> list[Op] | None:
    """None if an order exists, else the operations around the first that could not be placed."""
    ops = sorted(ops, key=lambda o: o.call)
    need = sum(1 << i for i, o in enumerate(ops) if o.ret != INF)
    by_ret = sorted((o.ret, i) for i, o in enumerate(ops) if o.ret != INF)
    seen: set[tuple[int, int, State]] = set()
    best = 0
    # a frame: state, set of the placed, index of the first return not yet placed, lowest not placed
    stack: list[tuple[State, int, int, int]] = [(init, 0, 0, 0)]
    while stack:
        state, done, r, low = stack.pop()
        if done & need == need:
            return None
        while done >> by_ret[r][1] & 1:
            r += 1
        while done >> low & 1:
            low += 1
        best = max(best, r)
        stack.extend(_next_frames(ops, model, (state, done, r, low), by_ret[r][0], seen))
    t = by_ret[best][0]
    return [o for o in ops if o.call <= t <= o.ret]


def _next_frames(
    ops: Sequence[Op],
    model: Model,
    frame: tuple[State, int, int, int],
    limit: float,
    seen: set[tuple[int, int, State]],
) -> list[tuple[State, int, int, int]]:
    state, done, r, low = frame
    found: list[tuple[float, State, int]] = []
    i = low
    # only what was called before the earliest open return can come next
    while i < len(ops) and ops[i].call <= limit:
        if not done >> i & 1:
            ok, after = model(state, ops[i])
            if ok and not (ops[i].ret == INF and after == state):
                placed = done | 1 << i
                key = (placed >> low, low, after)  # the window, not the whole history
                if key not in seen:
                    seen.add(key)
                    found.append((ops[i].ret, after, placed))
        i += 1
    found.sort(key=lambda f: -f[0])  # the one that must return first is tried first
    return [(after, placed, r, low) for _, after, placed in found]


def jit(ops: Sequence[Op], model: Model, init: State) -> list[Op] | None:
    """As `wgl`; raises TooConcurrent past MAX_CONFIGURATIONS."""
    steps = sorted(
        [(o.call, 0, i) for i, o in enumerate(ops)]
        + [(o.ret, 1, i) for i, o in enumerate(ops) if o.ret != INF]
    )
    pending: set[int] = set()
    configs: set[tuple[frozenset[int], State]] = {(frozenset(), init)}
    for _, kind, i in steps:
        if kind == 0:
            pending.add(i)
            continue
        configs = _returned(ops, model, configs, pending, i)
        pending.discard(i)
        if not configs:
            return [ops[j] for j in sorted(pending | {i})]
    return None


def _returned(
    ops: Sequence[Op],
    model: Model,
    configs: set[tuple[frozenset[int], State]],
    pending: set[int],
    i: int,
) -> set[tuple[frozenset[int], State]]:
    """The configurations in which operation i, which returns now, has been placed."""
    out: set[tuple[frozenset[int], State]] = set()
    todo, seen = list(configs), set(configs)
    while todo:
        placed, state = todo.pop()
        if i in placed:
            out.add((placed - {i}, state))
            continue
        for j in _unlike(ops, pending - placed):
            ok, after = model(state, ops[j])
            if not ok or (j != i and after == state and ops[j].ret == INF):
                continue
            config = (placed | {j}, after)
            if config not in seen:
                seen.add(config)
                todo.append(config)
        if len(seen) > MAX_CONFIGURATIONS:
            raise TooConcurrent(f"over {MAX_CONFIGURATIONS} configurations")
    return out


def _unlike(ops: Sequence[Op], open_: Iterable[int]) -> Iterable[int]:
    """Without all but one of the increments by the same amount whose outcome is unknown: whichever
    of them took effect, it makes no difference."""
    alike: dict[State, int] = {}
    for i in open_:
        is_alike = ops[i].f == "i" and ops[i].ret == INF
        alike[("i", ops[i].arg) if is_alike else i] = i
    return alike.values()


def prune(ops: Sequence[Op]) -> list[Op]:
    """Without what can prove nothing: reads without an answer and (values being unique, no
    compare-and-set) writes of unknown outcome whose value nobody read. A few dozen time-outs on
    one key would otherwise blow the search up."""
    ops = [o for o in ops if not (o.f == "r" and o.ret == INF)]
    if any(o.f == "c" for o in ops):
        return ops
    read = {o.out for o in ops if o.f == "r"}
    return [o for o in ops if o.ret != INF or (o.arg if o.f == "w" else None) in read]


def prune_cache(ops: Sequence[Op]) -> list[Op]:
    """As `prune`, for `cache`, where deletes and misses prove nothing and any operation may have a
    value of its own: what is of unknown outcome stays only if somebody saw what it may have left.
    An increment of unknown outcome may instead have started the counter: that enters as a write
    beside it, and both may show, which is a little too lenient and never too strict."""
    answered = [o for o in ops if o.ret != INF and not _says_nothing(o)]
    open_ = [o for o in ops if o.ret == INF and o.f in "wci"]
    open_ += [o._replace(f="w", arg=o.arg[1]) for o in open_ if o.f == "i"]
    open_ = [o._replace(arg=(o.arg[0], None)) if o.f == "i" else o for o in open_]
    seen = {value for o in answered for value in _needed_by(o)}
    for _ in open_:
        seen |= {value for o in open_ for value in _needed_by(o, seen)}
    return answered + [o for o in open_ if o.f == "i" or _left_by(o) in seen]


def _says_nothing(op: Op) -> bool:
    return (op.f == "r" and op.out is None) or (op.f == "c" and not op.out)


def _left_by(op: Op) -> State:
    return op.arg[1] if op.f == "c" else op.arg


def _needed_by(op: Op, seen: Iterable[State] = ()) -> list[State]:
    """The values that the key held just before, for this to have answered so; for an operation
    without an answer, to have left one of ``seen``."""
    match op.f:
        case "r":
            return [op.out]
        case "c":
            return [op.arg[0]] if op.ret != INF or op.arg[1] in set(seen) else []
        case "i" if op.ret != INF:
            return [] if op.out == op.arg[1] else [op.out - op.arg[0]]
        case "i":
            return [value - op.arg[0] for value in seen if isinstance(value, int)]
    return []


def check(
    history: Iterable[Op], model: Model = cache, init: State = None, engine: Engine = jit
) -> tuple[str | int, list[Op]] | None:
    """None if the history is linearizable, else the key and the operations that clash."""
    keys: dict[str | int, list[Op]] = defaultdict(list)
    for op in history:
        keys[op.key].append(op)
    pruned = prune_cache if model is cache else prune
    for key, ops in keys.items():
        clash = engine(pruned(ops), model, init)
        if clash is not None:
            return key, clash
    return None
