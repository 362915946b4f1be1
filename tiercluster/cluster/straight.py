"""The straight path of a call: each owner is sent its part, then the answers are taken in turn.

Nothing is polled, planned or repeated here. What is out of the ordinary (no connection, a newer
map, an answer that is not OK or does not come at once) ends the path, and `session` goes on from
there with an `Attempt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import zmq

from .codec import decode_reply, encode_request
from .link import QUICK_WAIT_MS, Link, receive_frames
from .plan import Operation, Part, fits_one_message
from .routing import Router
from .wire import Kind, Reply, Request, WireError

# Time left for each owner that may be waited for, so that the path can be left before the deadline.
_LEAST_TIME_S = 2 * QUICK_WAIT_MS / 1000
_ONE: Part = (0,)


class Question(NamedTuple):
    """A part that was sent. ``epoch``: the connection it went by; ``stamp``: its deadline there."""

    link: Link
    part: Part
    rid: int
    epoch: int
    stamp: int


class Answer(NamedTuple):
    """What came. ``bad``: why it cannot be read; ``left``: what of the part must be asked again."""

    reply: Reply | None = None
    bad: str = ""
    left: Part = ()


NOTHING = Answer()


def is_straight(operation: Operation) -> bool:
    """Whether the path may be tried: keys that fit one message."""
    keys = operation.keys
    return (
        len(keys) > 0
        and operation.kind is not Kind.SUBSCRIBE
        and (len(keys) == 1 or fits_one_message(operation))
    )


def ways_of(
    operation: Operation, router: Router, links: Mapping[str, Link], time_left_s: float
) -> list[tuple[Link, Part]]:
    """The part of each owner with the connection to it; empty if one of them has none, or if there
    is no time to wait for each of them in turn."""
    ways: list[tuple[Link, Part]] = []
    for node, part in _parts_of(operation, router):
        link = links.get(node) if node else None
        if link is None or link.offset_ms is None:
            return []
        ways.append((link, part))
    return ways if time_left_s >= len(ways) * _LEAST_TIME_S else []


def _parts_of(operation: Operation, router: Router) -> list[tuple[str | None, Part]]:
    keys = operation.keys
    node = operation.node or router.sole_owner(keys)
    if node:
        return [(node, _ONE if len(keys) == 1 else tuple(range(len(keys))))]
    return [(node, tuple(part)) for node, part in router.by_owner(keys, range(len(keys))).items()]


def ask(link: Link, operation: Operation, part: Part, rid: int, map_version: int, client: bytes,
        deadline: float) -> Question | None:  # fmt: skip
    """Send one part; None if it was not taken."""
    epoch, stamp = link.epoch, link.stamp(deadline)
    asked, body = operation.ask(part)
    request = Request(operation.kind, rid, map_version, stamp, client, False, asked, body,
                      link.protocol)  # fmt: skip
    if not link.send(encode_request(request)):
        return None
    return Question(link, part, rid, epoch, stamp)


def await_answer(link: Link) -> Answer:
    """The next message of this connection, if it comes within QUICK_WAIT_MS."""
    try:
        return Answer(decode_reply(receive_frames(link.socket)))
    except zmq.Again:
        return NOTHING
    except WireError as error:
        return Answer(bad=str(error))
