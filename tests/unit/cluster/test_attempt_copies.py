"""One call where copies are kept: what the next owner is told of, and when nobody can know."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.cluster.test_attempt import KEYS, World, incr, map_of, owner_of
from tiercluster.cluster.attempt import Asking, Attempt
from tiercluster.cluster.errors import DeadlineExceeded
from tiercluster.cluster.plan import DeletePrefixOp, GetOp, OnceStoreOp, StoreOp
from tiercluster.cluster.routing import Router
from tiercluster.cluster.wire import PRIOR_S, Count, Counter, Mode, Refusal, Status, Stored
from tiercluster.tiermap import TierMap

KEY = KEYS[0]


def copied(*down: str, version: int = 10) -> TierMap:
    return replace(map_of(*down, version=version), replicas=2)


def store(mode: Mode = Mode.SET, count: int = 1) -> StoreOp:
    kind = StoreOp if mode is Mode.SET else OnceStoreOp
    return kind(mode, KEYS[:count], [b"v"] * count, bytes(count), None)


def world_of(operation: Any, deadline: float = 60.0) -> World:
    return World(Attempt(operation, 0.0, deadline, lambda: 1.0), copied())


def asked(world: World, now: float | None = None) -> Asking:
    ((_, _, _, ask),) = world.step(now)
    return ask


def go_down(world: World, *nodes: str, version: int = 11) -> None:
    world.router = Router(copied(*nodes, version=version))


def assert_unknown(world: World) -> None:
    assert isinstance(world.attempt.error, DeadlineExceeded)
    assert "not known" in str(world.attempt.error)


def test_the_next_owner_is_told_under_which_id_the_one_that_went_was_asked() -> None:
    world = world_of(incr())
    first = asked(world)
    assert (first.prior, first.node) == (0, owner_of(KEY))
    rid = first.rid
    go_down(world, owner_of(KEY))
    second = asked(world, 0.5)
    assert second.prior == rid
    assert second.rid != rid
    assert second.node == owner_of(KEY, owner_of(KEY))
    world.answer(second, Status.OK, Counter(True, True, 1, 1))
    assert world.attempt.is_done


def test_without_copies_nobody_is_told() -> None:
    world = World(Attempt(incr(), 0.0, 60.0, lambda: 1.0), map_of())
    asked(world)
    world.router = Router(map_of(owner_of(KEY), version=11))
    assert asked(world, 0.5).prior == 0


def test_a_read_and_a_write_of_many_keys_have_no_name() -> None:
    for operation in (GetOp(KEYS[:1]), store(count=8)):
        world = world_of(operation)
        nodes = {node for node, *_ in world.step()}
        go_down(world, *nodes - {"n3"}, version=11)
        assert {ask.prior for *_, ask in world.step(0.5)} <= {0}


@pytest.mark.parametrize("status", [Status.RETRY, Status.SHED, Status.STALE_MAP])
def test_what_the_next_owner_refuses_is_asked_again_under_the_same_earlier_name(
    status: Status,
) -> None:
    world = world_of(incr())
    rid = asked(world).rid
    go_down(world, owner_of(KEY))
    world.answer(asked(world, 0.5), status, Refusal("not now"))
    assert asked(world, 1.0).prior == rid


@pytest.mark.parametrize("operation", [incr(), store(Mode.ADD)])
def test_after_two_nodes_that_went_nobody_knows(operation: Any) -> None:
    world = world_of(operation)
    first = owner_of(KEY)
    asked(world)
    go_down(world, first)
    asked(world, 0.5)
    go_down(world, first, owner_of(KEY, first), version=12)
    assert world.step(1.0) == []
    assert_unknown(world)


def test_what_may_be_done_twice_names_the_last_node_that_went() -> None:
    world = world_of(store())
    first = owner_of(KEY)
    asked(world)
    go_down(world, first)
    rid = asked(world, 0.5).rid
    go_down(world, first, owner_of(KEY, first), version=12)
    last = asked(world, 1.0)
    assert last.prior == rid
    world.answer(last, Status.OK, Stored((1,)))
    assert world.attempt.is_done


def test_what_has_moved_is_asked_at_the_new_owner_by_its_name() -> None:
    world = world_of(incr())
    first = asked(world)
    rid = first.rid
    world.answer(first, Status.MOVED, Refusal("moved"))
    go_down(world, owner_of(KEY))
    second = asked(world, 0.5)
    assert (second.prior, second.node) == (rid, owner_of(KEY, owner_of(KEY)))
    world.answer(second, Status.MOVED, Refusal("moved"))
    assert_unknown(world)


def test_a_clear_of_one_node_that_has_moved_is_asked_there_again() -> None:
    operation = DeletePrefixOp("n1", b"\0k", 0)
    world = world_of(operation)
    world.answer(asked(world), Status.MOVED, Refusal("moved"))
    again = asked(world, 0.5)
    assert again.node == "n1"
    world.answer(again, Status.OK, Count(0, -1))
    assert operation.count.count == 0


def test_an_unknown_outcome_is_told_where_it_matters_and_asked_again_where_not() -> None:
    for operation, is_told in ((incr(), True), (store(), False)):
        world = world_of(operation)
        asked(world)
        go_down(world, owner_of(KEY))
        world.answer(asked(world, 0.5), Status.UNKNOWN_OUTCOME, Refusal("too new"))
        assert (world.attempt.error is not None) == is_told
        assert is_told or asked(world, 1.0).prior


@pytest.mark.parametrize("operation", [incr(), store(Mode.ADD), store()])
def test_long_after_its_beginning_no_node_can_tell_what_another_has_done(operation: Any) -> None:
    """A node that keeps the key for longer than NEW_S takes what it was not told of as not done."""
    world = world_of(operation)
    asked(world)
    go_down(world, owner_of(KEY))
    sent = world.step(PRIOR_S + 0.1)
    if operation.is_repeatable:
        assert sent
    else:
        assert sent == []
        assert_unknown(world)
