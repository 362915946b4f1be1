"""One call as a pure machine: no sockets, and a clock that the tests move."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiercluster.cluster.attempt import Asking, Attempt
from tiercluster.cluster.errors import DeadlineExceeded, ProtocolError, Unavailable
from tiercluster.cluster.feed import Feed
from tiercluster.cluster.plan import DeleteOp, GetOp, IncrOp, StoreOp, split
from tiercluster.cluster.routing import Router
from tiercluster.cluster.wire import (
    LEFT_OUT,
    MAX_KEYS,
    Flags,
    Incr,
    Kind,
    MapUpdate,
    Mode,
    Refusal,
    Reply,
    Status,
    Stored,
    Values,
)
from tiercluster.cluster.wire import (
    Counter as Counted,
)
from tiercluster.tiermap import (
    TIERS,
    Member,
    NodeState,
    TierMap,
    TierRecord,
    diff,
    encode_delta,
    encode_map,
)

KEYS = tuple(b"\0key%d" % i for i in range(40))


def map_of(*down: str, version: int = 10, incarnation: str = "a") -> TierMap:
    members = tuple(
        Member(
            f"n{i}", f"h{i}:1", incarnation=incarnation,
            state=NodeState.DOWN if f"n{i}" in down else NodeState.UP,
        )
        for i in (1, 2, 3)
    )  # fmt: skip
    return TierMap("c", version, version, members, f"d{version}")


class World:
    """Carries out what an attempt wants, on paper."""

    def __init__(self, attempt: Attempt, tier_map: TierMap) -> None:
        self.attempt = attempt
        self.router = Router(tier_map)
        self.epochs: dict[str, int] = {"n1": 1, "n2": 1, "n3": 1}
        self.now = 0.0
        self.last_rid = 0
        self.sent: list[tuple[str, int, bool, Asking]] = []

    def step(self, now: float | None = None) -> list[tuple[str, int, bool, Asking]]:
        self.now = self.now if now is None else now
        sent = []
        for ask in self.attempt.step(self.now, self.router, self.epochs.get):
            node = self.attempt.target(ask, self.router)
            assert node is not None
            is_retry = ask.rid != 0
            if not is_retry:
                self.last_rid += 1
            rid = ask.rid or self.last_rid
            self.attempt.sent(ask, node, rid, self.epochs[node], self.now)
            sent.append((node, rid, is_retry, ask))
        self.sent += sent
        return sent

    def answer(self, ask: Asking, status: Status, fields: Any, body: bytes = b"") -> None:
        self.attempt.operation.answered_by = ask.node or ""
        reply = Reply(self.attempt.operation.kind, ask.rid, 10, 0, status, fields, body)
        self.attempt.answered(ask, reply, self.now)


def world_of(operation: Any, deadline: float = 1.0) -> World:
    return World(Attempt(operation, 0.0, deadline, lambda: 1.0), map_of())


def incr() -> IncrOp:
    return IncrOp(Incr(KEYS[0], 1, None, None))


def owner_of(key: bytes, *down: str) -> str:
    return Router(map_of(*down)).owner_of(key) or ""


def test_each_owner_is_asked_once_for_all_of_its_keys() -> None:
    world = world_of(GetOp(KEYS))
    sent = world.step()
    assert sorted(node for node, *_ in sent) == ["n1", "n2", "n3"]
    for node, _, is_retry, ask in sent:
        assert not is_retry
        assert {owner_of(KEYS[i]) for i in ask.part} == {node}
    assert world.step() == []
    assert not world.attempt.is_done


def test_answers_in_any_order_make_one_result() -> None:
    operation = GetOp(KEYS)
    world = world_of(operation)
    for _, _, _, ask in reversed(world.step()):
        sizes = tuple(len(KEYS[i]) for i in ask.part)
        body = b"".join(KEYS[i] for i in ask.part)
        world.answer(ask, Status.OK, Values(sizes, b"\1" * len(sizes)), body)
    assert world.attempt.is_done
    assert world.attempt.error is None
    assert operation.datas == list(KEYS)


def test_what_did_not_fit_into_an_answer_is_asked_again() -> None:
    operation = GetOp(KEYS)
    world = world_of(operation)
    rounds = 0
    while not world.attempt.is_done:
        for _, rid, is_retry, ask in world.step():
            assert (rid, is_retry) == (ask.rid, False)
            first, *others = ask.part
            sizes = (len(KEYS[first]), *[LEFT_OUT] * len(others))
            values = Values(sizes, b"\1" + bytes(len(others)))
            world.answer(ask, Status.OK, values, KEYS[first])
        rounds += 1
    assert operation.datas == list(KEYS)
    assert bytes(operation.flags) == b"\1" * len(KEYS)
    assert rounds == max(Counter(map(owner_of, KEYS)).values())


def test_an_answer_that_leaves_everything_out_is_a_protocol_error() -> None:
    world = world_of(GetOp(KEYS[:1]))
    ((_, _, _, ask),) = world.step()
    world.answer(ask, Status.OK, Values((LEFT_OUT,), b"\0"))
    assert isinstance(world.attempt.error, ProtocolError)


def test_silence_is_met_with_the_same_request_to_the_same_node() -> None:
    world = world_of(incr())
    ((node, rid, _, _),) = world.step()
    assert world.step(0.3) == []
    ((again, rid_again, is_retry, _),) = world.step(0.34)
    assert (again, rid_again, is_retry) == (node, rid, True)
    assert world.step(0.5) == []
    assert world.attempt.retries == 1


def test_a_new_connection_is_met_with_the_same_request() -> None:
    world = world_of(incr())
    ((node, rid, _, _),) = world.step()
    del world.epochs[node]
    assert world.step(0.01) == []
    world.epochs[node] = 2
    ((again, rid_again, is_retry, _),) = world.step(0.02)
    assert (again, rid_again, is_retry) == (node, rid, True)


def test_a_node_that_is_down_in_the_map_is_replaced_by_a_new_request_elsewhere() -> None:
    world = world_of(incr())
    ((node, rid, _, _),) = world.step()
    world.router = Router(map_of(node, version=11))
    ((new, new_rid, is_retry, _),) = world.step(0.1)
    assert new == owner_of(KEYS[0], node)
    assert new_rid != rid
    assert not is_retry


def restarted(version: int = 11, *, keeps_cold: bool) -> TierMap:
    """All members have begun anew."""
    tier_map = map_of(version=version, incarnation="b")
    if keeps_cold:
        return tier_map
    bumped = tuple(TierRecord(tier, generation=2) for tier in TIERS)
    return replace(tier_map, members=tuple(replace(m, tiers=bumped) for m in tier_map.members))


@pytest.mark.parametrize(
    ("operation", "keeps_cold"),
    [(incr(), False), (GetOp(KEYS[:1]), True), (DeleteOp(KEYS[:1]), True)],
)
def test_a_node_that_started_anew_gets_a_new_request(operation: Any, keeps_cold: bool) -> None:
    world = world_of(operation)
    ((node, rid, _, _),) = world.step()
    world.router = Router(restarted(keeps_cold=keeps_cold))
    ((again, new_rid, is_retry, _),) = world.step(0.1)
    assert (again, is_retry) == (node, False)
    assert new_rid != rid


def assert_unknown(world: World) -> None:
    assert isinstance(world.attempt.error, DeadlineExceeded)
    assert "not known" in str(world.attempt.error)


@pytest.mark.parametrize("is_seen_down", [False, True])
def test_what_a_clean_restart_may_have_kept_is_not_counted_twice(is_seen_down: bool) -> None:
    """The node applied the INCR, stopped cleanly before its answer left, and started with all that
    its cold tier held: a new process knows no ids of the old one."""
    world = world_of(incr())
    world.step()
    if is_seen_down:
        world.router = Router(map_of("n1", "n2", "n3", version=11))
        assert world.step(0.1) == []
    world.router = Router(restarted(12, keeps_cold=True))
    assert world.step(0.3) == []
    assert_unknown(world)


def test_a_restart_is_noticed_though_the_new_process_refused_the_retry_first() -> None:
    world = world_of(incr())
    ((node, _, _, ask),) = world.step()
    world.epochs[node] = 2
    assert len(world.step(0.1)) == 1
    world.answer(ask, Status.RETRY, Refusal("starting"))
    ((_, _, is_retry, again),) = world.step(0.2)
    assert not is_retry
    world.answer(again, Status.STALE_MAP, MapUpdate(0, b""))
    world.router = Router(restarted(keeps_cold=True))
    assert world.step(0.3) == []
    assert_unknown(world)


def refused_after_a_repeat(by_another_connection: bool) -> World:
    world = world_of(incr())
    world.router = Router(replace(map_of(), replicas=2))
    world.attempt.operation.router = world.router
    [(node, _, _, ask)] = world.step()
    world.epochs[node] += by_another_connection
    [(_, _, is_retry, _)] = world.step(0.0 if by_another_connection else 0.4)
    assert is_retry
    world.answer(ask, Status.RETRY, Refusal("not serving"))
    return world


def test_what_a_process_that_is_gone_may_have_applied_is_named_to_who_has_its_copies() -> None:
    """The new one refused the repeated request; nobody has called the node down meanwhile."""
    world = refused_after_a_repeat(by_another_connection=True)
    [(_, rid, is_retry, again)] = world.step(world.now + 0.1)
    assert (rid, is_retry, again.prior) == (2, False, 1)


def test_what_one_and_the_same_process_refused_was_not_applied() -> None:
    world = refused_after_a_repeat(by_another_connection=False)
    [(_, _, _, again)] = world.step(world.now + 0.1)
    assert again.prior == 0


def test_a_retry_that_came_too_late_does_not_say_that_nothing_was_applied() -> None:
    """The node forgets the id of a write at the deadline it was sent with, which is early by the
    way of an answer. A retry past it is refused; the INCR before it may have been applied."""
    world = world_of(incr())
    ((node, _, _, ask),) = world.step()
    world.epochs[node] = 2
    ((_, _, is_retry, _),) = world.step(0.5)
    assert is_retry
    world.answer(ask, Status.DEADLINE, Refusal("late"))
    assert world.step(0.6) == []
    assert_unknown(world)


def test_a_store_whose_retry_came_too_late_is_stored_anew() -> None:
    world = world_of(StoreOp(Mode.SET, KEYS[:1], [b"v"], b"\1", None))
    ((node, rid, _, ask),) = world.step()
    world.epochs[node] = 2
    world.step(0.5)
    world.answer(ask, Status.DEADLINE, Refusal("late"))
    ((_, new_rid, is_retry, _),) = world.step(0.6)
    assert (new_rid != rid, is_retry) == (True, False)


def test_a_write_waits_for_the_node_that_may_have_applied_it_while_it_lives() -> None:
    """The slots moved, but the asked node is UP: only its answer says whether it was applied."""
    writing, reading = world_of(incr()), world_of(GetOp(KEYS[:1]))
    for world, moves_on in ((writing, False), (reading, True)):
        ((node, _, _, _),) = world.step()
        tier_map = map_of(version=11)
        heavy = tuple(
            replace(m, weight=1e-3) if m.id == node else m for m in tier_map.members
        )  # fmt: skip
        world.router = Router(replace(tier_map, members=heavy))
        assert world.router.owner_of(KEYS[0]) != node
        assert bool(world.step(0.01)) is moves_on


@pytest.mark.parametrize("status", [Status.RETRY, Status.SHED, Status.DEADLINE])
def test_what_was_not_applied_is_asked_anew_after_a_moment(status: Status) -> None:
    world = world_of(incr())
    ((_, rid, _, ask),) = world.step()
    world.answer(ask, status, Refusal("busy"))
    assert world.step() == []
    ((_, new_rid, is_retry, _),) = world.step(0.1)
    assert new_rid != rid
    assert not is_retry


def test_a_stale_map_is_planned_anew_at_once() -> None:
    world = world_of(DeleteOp(KEYS))
    sent = world.step()
    node, _, _, ask = sent[0]
    world.router = Router(map_of(node, version=11))
    world.answer(ask, Status.STALE_MAP, MapUpdate(0, b""))
    again = world.step()
    assert {n for n, *_ in again} == {n for n, *_ in sent} - {node}
    assert sorted(i for _, _, _, a in again for i in a.part) == sorted(ask.part)


def test_a_late_answer_to_a_request_that_was_given_up_changes_nothing() -> None:
    operation = incr()
    world = world_of(operation)
    ((node, _, _, ask),) = world.step()
    old = replace_asking(ask)
    world.router = Router(map_of(node, version=11))
    world.step(0.1)
    world.answer(old, Status.OK, Counted(True, True, 99, 1))
    assert operation.counter is None


def replace_asking(ask: Asking) -> Asking:
    copy = Asking(ask.part)
    copy.node, copy.rid = ask.node, ask.rid
    return copy


@pytest.mark.parametrize(
    ("said", "error"),
    [(None, DeadlineExceeded), (Status.RETRY, Unavailable)],
)
def test_the_deadline_ends_it_and_says_what_is_known(
    said: Status | None, error: type[Exception]
) -> None:
    world = world_of(incr())
    ((_, _, _, ask),) = world.step()
    if said is not None:
        world.answer(ask, said, Refusal("settling"))
    world.now = 1.0
    assert world.step() == []
    assert isinstance(world.attempt.error, error)


def test_without_a_member_that_serves_it_is_unavailable() -> None:
    world = world_of(incr())
    world.router = Router(map_of("n1", "n2", "n3", version=11))
    assert world.step() == []
    world.step(1.0)
    assert isinstance(world.attempt.error, Unavailable)
    assert "no member serves" in str(world.attempt.error)


def test_an_answer_of_another_length_is_a_protocol_error() -> None:
    world = world_of(DeleteOp(KEYS[:1]))
    ((_, _, _, ask),) = world.step()
    world.answer(ask, Status.OK, Flags((True, False)))
    assert isinstance(world.attempt.error, ProtocolError)


def test_nothing_asked_is_done() -> None:
    assert world_of(GetOp(())).attempt.is_done


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ok", "retry", "shed", "stale", "unknown", "lost", "found", "down", "up"]),
        st.integers(0, 5),
        st.floats(0.0, 0.2),
    ),
    max_size=25,
)


@given(EVENTS)
@settings(max_examples=150)
def test_no_write_is_applied_twice_by_a_node_that_remembers_ids(events: Any) -> None:
    """Whatever happens, a store is sent to one incarnation of a node under one id until that node
    said that it did not apply it; and the call ends by its deadline."""
    operation = StoreOp(Mode.SET, KEYS, [b"v"] * len(KEYS), b"\1" * len(KEYS), None)
    world = world_of(operation)
    version = 10
    down: set[str] = set()
    open_ids: dict[tuple[int, str], int] = {}  # (key, node): id that may have been applied
    outstanding: list[Asking] = []
    for what, number, passed in events:
        for node, rid, is_retry, ask in world.step(world.now + passed):
            for index in ask.part:
                known = open_ids.get((index, node))
                assert known is None or (known == rid and is_retry)
                open_ids[index, node] = rid
            outstanding.append(ask)
        if what in ("down", "up"):
            node = f"n{number % 3 + 1}"
            down ^= {node}
            version += 1
            world.router = Router(map_of(*down, version=version, incarnation=f"v{version}"))
            open_ids.clear()  # new incarnations all round
        elif what in ("lost", "found"):
            node = f"n{number % 3 + 1}"
            world.epochs.pop(node, None)
            if what == "found":
                world.epochs[node] = version * 1000 + len(world.sent)
        elif outstanding and not world.attempt.is_done:
            ask = outstanding.pop(number % len(outstanding))
            if ask not in world.attempt.asks or ask.node is None:
                continue
            node = ask.node
            if what == "ok":
                world.answer(ask, Status.OK, Stored((1,) * len(ask.part)))
                continue
            status = {"retry": Status.RETRY, "shed": Status.SHED, "stale": Status.STALE_MAP}.get(
                what, Status.UNKNOWN_OUTCOME
            )
            fields = MapUpdate(0, b"") if what == "stale" else Refusal("no")
            world.answer(ask, status, fields)
            for index in ask.part:
                open_ids.pop((index, node), None)
    world.step(max(world.now, 1.0))
    assert world.attempt.is_done


@given(st.lists(st.integers(0, 3 * 2**20), min_size=1, max_size=60))
@settings(max_examples=50)
def test_pieces_are_small_enough_and_lose_nothing(sizes: list[int]) -> None:
    class Sized(GetOp):
        def size(self, index: int) -> int:
            return sizes[index]

    operation = Sized(tuple(b"\0k%d" % i for i in range(len(sizes))))
    part = tuple(range(len(sizes)))
    pieces = list(split(operation, part))
    assert tuple(i for piece in pieces for i in piece) == part
    assert all(sum(sizes[i] for i in piece) <= 16 * 2**20 for piece in pieces)


def test_no_piece_has_more_keys_than_a_message() -> None:
    operation = GetOp([b"\0k"] * (2 * MAX_KEYS + 1))
    pieces = list(split(operation, tuple(range(2 * MAX_KEYS + 1))))
    assert [len(piece) for piece in pieces] == [MAX_KEYS, MAX_KEYS, 1]


def update(tier_map: TierMap) -> MapUpdate:
    return MapUpdate(0, encode_map(tier_map))


def test_the_feed_takes_newer_maps_of_the_same_cluster_only() -> None:
    feed = Feed()
    old, new = map_of(version=10), map_of("n1", version=11)
    assert feed.take(update(old), 10)
    assert feed.take(MapUpdate(10, encode_delta(diff(old, new))), 11)
    assert feed.router is not None
    assert feed.router.tier_map == new
    assert feed.take(update(old), 10)
    assert feed.version == 11
    assert not feed.take(update(replace(new, cluster="other", version=99)), 99)
    assert feed.version == 11
    assert not feed.take(update(TierMap("c", 12)), 12)  # without members


def test_a_delta_that_does_not_fit_asks_for_a_snapshot() -> None:
    feed = Feed()
    delta = MapUpdate(10, encode_delta(diff(map_of(version=10), map_of("n1", version=12))))
    assert not feed.take(delta, 12)
    assert feed.take(update(map_of(version=11)), 11)
    assert not feed.take(delta, 12)
    assert feed.version == 11


@pytest.mark.parametrize("base", [0, 10])
def test_bytes_that_are_no_map_are_a_protocol_error(base: int) -> None:
    feed = Feed(Router(map_of(version=10)))
    with pytest.raises(ProtocolError):
        feed.take(MapUpdate(base, b"\xff"), 11)


def test_kinds_of_operations_are_those_of_their_requests() -> None:
    for operation, kind in ((GetOp(KEYS), Kind.GET), (incr(), Kind.INCR)):
        assert operation.kind is kind
