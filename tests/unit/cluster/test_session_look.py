"""A look at the map: what it takes for an answer."""

from __future__ import annotations

from typing import Any, cast

from tiercluster.cluster.codec import decode_request
from tiercluster.cluster.plan import LookOp
from tiercluster.cluster.routing import Router
from tiercluster.cluster.session import Session
from tiercluster.cluster.wire import Kind, MapUpdate, Reply, Request, Status, Welcome
from tiercluster.tiermap import Member, TierMap, encode_map

MEMBERS = (Member("n1", "a:1", incarnation="x#1"),)
OLD, NEW = TierMap("c", 5, 5, MEMBERS), TierMap("c", 6, 5, MEMBERS)


class OneLink:
    """A connection to n1 that keeps what is sent."""

    node, address, epoch, silent_since, cluster = "n1", "a:1", 1, 0.0, "c"
    protocol = 1
    is_ready, is_up, offset_ms, greeted_at, refusal = True, True, 0.0, 0.0, None

    def __init__(self) -> None:
        self.sent: list[Request] = []

    def send(self, frames: list[bytes]) -> bool:
        self.sent.append(decode_request(frames))
        return True

    def read_monitor(self, now: float) -> bool:
        return False

    def receive(self, now: float) -> None:
        return None


def test_the_answer_to_an_earlier_question_ends_no_look() -> None:
    """The member may have applied a newer map since it answered."""
    session = Session(cast(Any, None), (), None, Router(OLD))
    link = OneLink()
    session._members.links["a:1"] = cast(Any, link)
    session._members._greet(cast(Any, link), 9.0)
    attempt = session.begin(LookOp(), 10.0, 15.0)
    greeted, asked = link.sent
    assert (greeted.kind, asked.kind) == (Kind.HELLO, Kind.SUBSCRIBE)

    late = Welcome("n1", "x#1", 1, encode_map(OLD))
    session._dispatch(cast(Any, link), Reply(Kind.HELLO, greeted.rid, 5, 0, Status.OK, late), 10.1)
    assert not attempt.is_done
    answer = Reply(Kind.SUBSCRIBE, asked.rid, 6, 0, Status.OK, MapUpdate(0, encode_map(NEW)))
    session._dispatch(cast(Any, link), answer, 10.2)
    assert attempt.is_done
    router = attempt.operation.router
    assert router is not None
    assert router.version == 6
    session.end(attempt)


def test_a_member_that_had_no_map_when_it_was_greeted_is_greeted_again() -> None:
    """A cluster is set up anew at its old addresses. Its members listen before they have agreed on
    their first map, whose version is far below the one that this client knows."""
    session = Session(cast(Any, None), (), None, Router(OLD))
    link = OneLink()
    members = session._members
    members.links["a:1"] = cast(Any, link)
    members._greet(cast(Any, link), 9.0)

    def welcome(tier_map: TierMap, now: float) -> None:
        asked = [request for request in link.sent if request.kind is Kind.HELLO][-1]
        said = Welcome("n1", "z#1", 1, encode_map(tier_map))
        reply = Reply(Kind.HELLO, asked.rid, tier_map.version, 0, Status.OK, said)
        session._dispatch(cast(Any, link), reply, now)

    welcome(TierMap(), 9.1)
    members.look_after(cast(Any, link), 9.5)
    anew = TierMap("c", 1, 1, MEMBERS, founded="z#1")
    welcome(anew, 9.6)
    assert session.feed.router is not None
    assert session.feed.router.tier_map == anew
    greetings = len(link.sent)
    members.look_after(cast(Any, link), 10.5)
    assert len(link.sent) == greetings
