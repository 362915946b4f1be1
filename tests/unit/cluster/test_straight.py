"""The straight path: every owner is asked before any answer is awaited, and who leaves it loses
nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import zmq

from tiercluster.cluster.codec import decode_reply, decode_request, encode_reply
from tiercluster.cluster.errors import ProtocolError
from tiercluster.cluster.plan import GetOp, Operation, StoreOp
from tiercluster.cluster.routing import Router
from tiercluster.cluster.session import Session
from tiercluster.cluster.wire import (
    LEFT_OUT,
    Get,
    Kind,
    MapUpdate,
    Mode,
    Refusal,
    Reply,
    Request,
    Status,
    Store,
    Stored,
    Values,
)
from tiercluster.tiermap import Member, TierMap, encode_map

NODES = ("n1", "n2", "n3")
KEYS = [b"\0key%d" % i for i in range(30)]


def map_of(version: int = 5) -> TierMap:
    members = tuple(Member(node, f"{node}:1", incarnation=f"{node}#1") for node in NODES)
    return TierMap("c", version, 5, members)


class OneLink:
    """A connection to one node. ``answers`` makes of a request the replies that arrive at once."""

    def __init__(self, node: str, log: list[str]) -> None:
        self.node, self.address, self.log = node, f"{node}:1", log
        self.protocol = 2
        self.epoch, self.is_up, self.is_ready, self.cluster = 1, True, True, "c"
        self.offset_ms: float | None = 0.0
        self.silent_since = self.greeted_at = self.failed_at = 0.0
        self.refusal = None
        self.takes = True
        self.answers: Callable[[Request], list[list[bytes]]] = answer
        self.sent: list[Request] = []
        self.socket = cast(Any, self)
        self._arrived: deque[list[bytes]] = deque()
        self._rest: deque[bytes] = deque()

    def stamp(self, deadline: float) -> int:
        return int(deadline * 1000)

    def send(self, frames: list[bytes]) -> bool:
        if self.takes:
            request = decode_request(frames)
            self.log.append(f"ask {self.node}")
            self.sent.append(request)
            self._arrived.extend(self.answers(request))
        return self.takes

    def recv(self, flags: int = 0) -> bytes:
        if not self._rest:
            if not self._arrived:
                raise zmq.Again
            self.log.append(f"hear {self.node}")
            self._rest.extend(self._arrived.popleft())
        return self._rest.popleft()

    def get(self, option: int) -> int:
        return len(self._rest)

    def arrive(self, *messages: list[bytes]) -> None:
        self._arrived.extend(messages)

    def receive(self, now: float) -> Reply | None:
        if not self._arrived:
            return None
        return decode_reply(self._arrived.popleft())

    def heard(self, clock_ms: int, now: float) -> None:
        self.silent_since = 0.0

    def read_monitor(self, now: float) -> bool:
        return False


def answer(request: Request) -> list[list[bytes]]:
    return [encode_reply(ok(request))]


def ok(request: Request) -> Reply:
    """Each key is its own value; each store makes version 9."""
    fields = request.fields
    said: Any
    body = b""
    match fields:
        case Get():
            said = Values(tuple(map(len, fields.keys)), b"\1" * len(fields.keys))
            body = b"".join(fields.keys)
        case Store():
            said = Stored((9,) * len(fields.keys))
        case _:  # the subscription to map changes
            said = MapUpdate(0, encode_map(map_of()))
    return Reply(request.kind, request.rid, 5, 0, Status.OK, said, body)


class World:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.router = Router(map_of())
        self.session = Session(cast(Any, None), (), None, self.router)
        members = self.session._members
        self.links = {node: OneLink(node, self.log) for node in NODES}
        for node, link in self.links.items():
            members.links[link.address] = members.by_node[node] = cast(Any, link)
        members.routed = self.router
        self.session.pump(10.0)  # subscribes; from now on single calls need no chores
        self.session.pump(10.0)
        self.log.clear()
        for link in self.links.values():
            link.sent.clear()

    def quick(self, operation: Operation, now: float = 10.01) -> Any:
        return self.session.quick(operation, now, now + 1.0, lambda: now)

    def finish(self, attempt: Any, now: float) -> None:
        """Pump until the call is done."""
        for step in range(400):
            if attempt.is_done:
                break
            self.session.pump(now + step * 0.01)
        self.session.end(attempt)
        assert attempt.is_done

    def sent(self) -> Iterator[tuple[str, Request]]:
        for node, link in self.links.items():
            for request in link.sent:
                if request.kind is not Kind.SUBSCRIBE:
                    yield node, request


def get_all() -> GetOp:
    return GetOp(KEYS)


def test_all_owners_are_asked_before_an_answer_is_awaited() -> None:
    world, operation = World(), get_all()
    assert world.quick(operation) is None
    assert sorted(world.log[:3]) == ["ask n1", "ask n2", "ask n3"]
    assert sorted(world.log[3:]) == ["hear n1", "hear n2", "hear n3"]
    assert operation.datas == KEYS
    counts = world.session.counts
    assert (counts.calls, counts.hits, counts.misses, counts.retries) == (1, 30, 0, 0)
    for node, request in world.sent():
        assert isinstance(request.fields, Get)
        assert {world.router.owner_of(key) for key in request.fields.keys} == {node}


def test_keys_of_one_owner_are_one_message() -> None:
    world = World()
    mine = [key for key in KEYS if world.router.owner_of(key) == "n2"]
    operation = StoreOp(Mode.SET, mine, [b"v"] * len(mine), b"\1" * len(mine), None)
    assert world.quick(operation) is None
    assert world.log == ["ask n2", "hear n2"]
    assert set(operation.versions) == {9}


@pytest.mark.parametrize("node", NODES)
def test_an_answer_that_does_not_come_at_once_is_waited_for(node: str) -> None:
    world, operation = World(), get_all()
    link = world.links[node]
    link.answers = lambda request: []
    attempt = world.quick(operation)
    assert not attempt.is_done
    (late,) = link.sent
    link.arrive(encode_reply(ok(late)))
    world.finish(attempt, 10.02)
    assert operation.datas == KEYS
    assert len(list(world.sent())) == 3  # nothing was asked twice


@pytest.mark.parametrize("node", NODES)
def test_a_refusal_is_planned_anew_and_the_other_parts_are_kept(node: str) -> None:
    world, operation = World(), get_all()
    link = world.links[node]

    def refuse_once(request: Request) -> list[list[bytes]]:
        link.answers = answer
        refusal = Refusal("settling")
        return [encode_reply(Reply(request.kind, request.rid, 5, 0, Status.RETRY, refusal))]

    link.answers = refuse_once
    attempt = world.quick(operation)
    world.finish(attempt, 10.02)
    assert attempt.error is None
    assert operation.datas == KEYS
    assert [name for name, _ in world.sent()].count(node) == 2
    assert len(list(world.sent())) == 4


def test_a_late_answer_to_an_earlier_call_is_passed_over() -> None:
    world, operation = World(), get_all()
    stray = Request(Kind.GET, 10_000, 5, 0, b"12345678", False, Get((b"\0other",)))
    world.links["n1"].arrive(encode_reply(ok(stray)))
    attempt = world.quick(operation)
    world.finish(attempt, 10.02)
    assert operation.datas == KEYS
    assert world.session.counts.late_answers == 1


@pytest.mark.parametrize("node", NODES)
def test_a_connection_that_takes_nothing_is_tried_again(node: str) -> None:
    world, operation = World(), get_all()
    world.links[node].takes = False
    attempt = world.quick(operation)
    assert not attempt.is_done
    world.links[node].takes = True
    world.finish(attempt, 10.02)
    assert operation.datas == KEYS
    assert len(list(world.sent())) == 3


def test_without_a_connection_to_an_owner_nobody_is_asked_by_the_straight_path() -> None:
    world = World()
    world.links["n3"].offset_ms = None
    world.links["n3"].is_ready = False
    attempt = world.quick(get_all())
    assert attempt is not None
    world.session.end(attempt)


def test_what_a_node_left_out_is_asked_again() -> None:
    world, operation = World(), get_all()
    link = world.links["n2"]

    def leave_out(request: Request) -> list[list[bytes]]:
        link.answers = answer
        assert isinstance(request.fields, Get)
        first, *others = request.fields.keys
        said = Values((len(first), *[LEFT_OUT] * len(others)), b"\1" + bytes(len(others)))
        return [encode_reply(Reply(request.kind, request.rid, 5, 0, Status.OK, said, first))]

    link.answers = leave_out
    attempt = world.quick(operation)
    world.finish(attempt, 10.02)
    assert operation.datas == KEYS
    assert [node for node, _ in world.sent()].count("n2") == 2
    assert len(list(world.sent())) == 4


def test_an_answer_that_does_not_fit_its_question_is_a_protocol_error() -> None:
    world = World()
    short = Values((1,), b"\1")
    world.links["n1"].answers = lambda r: [
        encode_reply(Reply(r.kind, r.rid, 5, 0, Status.OK, short, b"x"))
    ]
    with pytest.raises(ProtocolError, match="does not fit"):
        world.quick(get_all())
    assert (world.session.counts.calls, world.session.counts.bad_answers) == (1, 1)


def stored(request: Request) -> list[list[bytes]]:
    return [encode_reply(Reply(Kind.STORE, request.rid, 5, 0, Status.OK, Stored((1,) * 30)))]


def test_an_answer_of_another_kind_is_a_protocol_error_on_any_path() -> None:
    world = World()
    link = world.links["n2"]
    link.answers = stored
    attempt = world.quick(get_all())
    assert isinstance(attempt.error, ProtocolError)
    world.session.end(attempt)

    link.answers = lambda request: []
    attempt = world.quick(get_all(), 10.02)
    late = link.sent[-1]
    link.arrive(*stored(late))
    world.finish(attempt, 10.03)
    assert isinstance(attempt.error, ProtocolError)


def test_bytes_that_are_no_answer_fail_the_call_and_not_the_session() -> None:
    world = World()
    world.links["n2"].answers = lambda request: [[b"junk", b""]]
    attempt = world.quick(get_all())
    assert isinstance(attempt.error, ProtocolError)
    world.session.end(attempt)
    world.links["n2"].answers = answer
    world.session.pump(10.05)
    operation = get_all()
    assert world.quick(operation, 10.06) is None
    assert operation.datas == KEYS


def test_without_time_to_wait_for_each_owner_the_path_is_not_tried() -> None:
    """Each of three answers may be waited for 5 ms; a call of 20 ms could end too late."""
    world = World()
    attempt = world.session.quick(get_all(), 10.01, 10.03, lambda: 10.01)
    assert attempt is not None
    world.session.end(attempt)
    assert World().session.quick(get_all(), 10.01, 10.05, lambda: 10.01) is None
