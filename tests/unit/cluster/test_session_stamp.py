"""The deadline that a request carries: on the node's clock, and the same in every copy."""

from __future__ import annotations

from typing import Any, cast

from tiercluster.cluster.codec import decode_request
from tiercluster.cluster.plan import IncrOp
from tiercluster.cluster.routing import Router
from tiercluster.cluster.session import Session
from tiercluster.cluster.wire import Incr, Request
from tiercluster.tiermap import Member, TierMap


class OneLink:
    """A connection to n1 that keeps what is sent. ``offset_ms`` is what its last answer made of the
    node's clock."""

    node, epoch, is_ready, silent_since, protocol = "n1", 1, True, 0.0, 2

    def __init__(self) -> None:
        self.offset_ms = 0.0
        self.sent: list[Request] = []

    def stamp(self, deadline: float) -> int:
        return int(self.offset_ms + deadline * 1000)

    def send(self, frames: list[bytes]) -> bool:
        self.sent.append(decode_request(frames))
        return True


def test_a_retry_is_never_later_than_the_request_that_it_repeats() -> None:
    """A client that was stopped for two seconds reads an answer late and takes the node's clock to
    be two seconds behind. The node forgets the write at that early deadline; a retry that told the
    true one would be counted again."""
    tier_map = TierMap("c", 5, 5, (Member("n1", "a:1", incarnation="x#1"),))
    session = Session(cast(Any, None), (), None, Router(tier_map))
    link = OneLink()
    session._members.links["a:1"] = session._members.by_node["n1"] = cast(Any, link)
    session._members.routed = session.feed.router
    link.offset_ms = -2000.0
    attempt = session.begin(IncrOp(Incr(b"\0k", 1, None, None)), 10.0, 15.0, pumps=False)
    session._step(10.0)
    link.offset_ms, link.epoch = 0.0, 2
    session._members.happened = True
    session._step(13.5)
    first, retry = link.sent
    assert (first.rid, retry.rid, retry.retry) == (first.rid, first.rid, True)
    assert retry.deadline_ms == first.deadline_ms == 13_000
    session.end(attempt)


def test_a_call_that_was_given_up_before_it_was_sent_is_not_sent() -> None:
    """Its task was cancelled in the very turn of the loop in which it began."""
    members = (Member("n1", "a:1", incarnation="x#1"),)
    session = Session(cast(Any, None), (), None, Router(TierMap("c", 5, 5, members)))
    link = OneLink()
    session._members.links["a:1"] = session._members.by_node["n1"] = cast(Any, link)
    session._members.routed = session.feed.router
    session._members.happened, session._step_at = False, 100.0
    attempt = session.begin(IncrOp(Incr(b"\0k", 1, None, None)), 10.0, 11.0, pumps=False)
    session.end(attempt)
    session._step(10.01)
    assert not link.sent
