"""Whom a follower stays with, and what it believes of whom it follows through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cbor2
import pytest
import zmq

from tiercluster.cluster.codec import decode_request, encode_reply
from tiercluster.cluster.wire import (
    Decided,
    Hello,
    Kind,
    MapUpdate,
    Refusal,
    Reply,
    Report,
    Request,
    Result,
    Status,
    Welcome,
)
from tiercluster.node.follower import Follower
from tiercluster.tiermap import (
    Barrier,
    MapState,
    Member,
    NodeState,
    OutcomeCode,
    ReportUnreachable,
    TierMap,
    encode_command,
    encode_map,
)
from tiercluster.tiermap.raft import NO_CUT, Applied, Cut, Standing

MEMBERS = (Member("n1", "127.0.0.1:1"), Member("n2", "127.0.0.1:2"), Member("n3", "127.0.0.1:3"))
OURS = TierMap("c", 50, 9, MEMBERS, founded="n1#1")
NEWER = replace(OURS, version=51)
FOREIGN = replace(OURS, version=80, founded="z#1")


class World:
    """n1, whose replica is out, with what it is told and what it sends; no thread, no network."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.sent: list[list[bytes]] = []
        self.follower = Follower("n1", "", self.told.append, state=MapState(OURS))
        self.now = 100.0
        self.connect()

    def connect(self) -> None:
        self.follower._connect(self.now)
        self.follower._heard = self.now
        assert self.follower._outlet is not None
        self.follower._outlet.close()
        self.follower._outlet = self  # type: ignore[assignment]
        self.arrived: list[list[bytes]] = []
        self.told.clear()

    closed = False  # as a socket

    def send(self, frames: list[bytes]) -> bool:
        self.sent.append(frames)
        return True

    def recv_multipart(self, flags: int) -> list[bytes]:
        if not self.arrived:
            raise zmq.Again
        return self.arrived.pop(0)

    def hear(self, kind: Kind, *said: Result) -> None:
        self.arrived += [encode_reply(Reply(kind, 1, 0, 0, Status.OK, one)) for one in said]
        self.follower._receive(self)  # type: ignore[arg-type]

    def hear_map(self, tier_map: TierMap) -> None:
        self.hear(Kind.SUBSCRIBE, MapUpdate(0, encode_map(tier_map)))

    def hear_status(self, **said: object) -> None:
        self.hear(Kind.STATUS, Report(cbor2.dumps({"leader": "n3", **said})))

    @property
    def stays(self) -> bool:
        """Whether what was said counts as a word of a member that is worth following."""
        return self.follower._heard != self.now

    def proposes(self) -> bool:
        before = len(self.sent)
        self.follower._send_proposal(encode_command(Barrier(id="barrier:t", by="n1")))
        kinds = [decode_request(frames).kind for frames in self.sent[before:]]
        return kinds == [Kind.PROPOSE]


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.follower._context.destroy(0)


def test_it_stays_with_a_voter_that_has_a_quorum(world: World) -> None:
    world.hear_map(NEWER)
    assert world.told == [Applied(MapState(NEWER))]
    world.hear_status(quorum=True, voting=True)
    assert world.told[1:] == [Standing("n3", False, True, 0)]
    assert world.stays
    assert world.proposes()


@pytest.mark.parametrize(("quorum", "voting"), [(False, True), (True, False)])
def test_it_leaves_a_member_that_may_not_know_what_is_decided(
    world: World, quorum: bool, voting: bool
) -> None:
    """One in a minority keeps its old map, and two that do not vote may follow each other."""
    world.hear_map(OURS)
    world.hear_status(quorum=quorum, voting=voting)
    assert not world.stays


def test_it_leaves_a_member_of_another_cluster_and_believes_nothing_of_it(world: World) -> None:
    world.hear_map(FOREIGN)
    world.hear_status(quorum=True, voting=True)
    assert world.told == []
    assert not world.stays
    assert not world.proposes()


def test_it_leaves_a_member_that_has_no_map(world: World) -> None:
    world.hear_map(TierMap())
    world.hear_status(quorum=True, voting=True)
    assert not world.stays


@pytest.mark.parametrize("data", [b"", b"\x82\x01", cbor2.dumps([1]), cbor2.dumps(7)])
def test_a_status_that_is_none_is_passed_over(world: World, data: bytes) -> None:
    world.hear_map(OURS)
    world.hear(Kind.STATUS, Report(data))
    assert world.told == []
    assert not world.stays


# --- versions -------------------------------------------------------------------------------------


def asked(world: World) -> list[Request]:
    """What was sent since it was last looked at."""
    sent, world.sent = world.sent, []
    return [decode_request(frames) for frames in sent]


def welcome(world: World, protocol: int) -> None:
    world.hear(Kind.HELLO, Welcome("n2", "n2-p#1", protocol, encode_map(OURS)))


def test_it_greets_a_member_before_it_asks_for_its_map(world: World) -> None:
    world.follower._renew(world.now)
    assert [(r.kind, r.protocol) for r in asked(world)] == [(Kind.HELLO, 1), (Kind.STATUS, 1)]
    welcome(world, 2)
    assert [(r.kind, r.protocol) for r in asked(world)] == [(Kind.SUBSCRIBE, 2)]
    world.follower._renew(world.now)
    assert [(r.kind, r.protocol) for r in asked(world)] == [(Kind.SUBSCRIBE, 2), (Kind.STATUS, 2)]


def test_it_notices_that_an_older_member_was_upgraded_behind_its_connection(world: World) -> None:
    welcome(world, 1)
    asked(world)
    world.follower._renew(world.now)
    greeting, *others = asked(world)
    assert (greeting.fields, {r.protocol for r in others}) == (Hello(1, 2), {1})
    welcome(world, 2)
    assert [(r.kind, r.protocol) for r in asked(world)] == [(Kind.SUBSCRIBE, 2)]


def test_another_member_is_greeted_anew(world: World) -> None:
    welcome(world, 2)
    world.follower._outlet = None
    world.connect()
    asked(world)
    world.follower._renew(world.now)
    assert asked(world)[0].kind is Kind.HELLO


def test_what_an_older_version_could_not_say_of_a_map_is_taken_later(world: World) -> None:
    full = replace(NEWER, replicas=2, members=tuple(replace(m, level=2) for m in MEMBERS))
    world.hear(Kind.SUBSCRIBE, MapUpdate(0, encode_map(full, newest=1)))
    assert world.told == [Applied(MapState(NEWER))]
    world.hear_map(full)
    assert world.told[1:] == [Applied(MapState(full))]
    world.hear(Kind.SUBSCRIBE, MapUpdate(0, encode_map(full, newest=1)))
    assert len(world.told) == 2, "and not given up again"


def test_a_member_without_a_common_version_is_named_and_left(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = Refusal("this node speaks protocol version 3 to 4, the client 1 to 2: upgrade it")
    reply = Reply(Kind.HELLO, 1, 0, 0, Status.BAD_REQUEST, refusal)
    world.arrived.append(encode_reply(reply))
    world.follower._receive(world)  # type: ignore[arg-type]
    assert "upgrade it" in caplog.text
    assert not world.stays


def test_cut_off_from_the_member_that_it_follows_it_hears_and_says_nothing(world: World) -> None:
    world.hear_map(OURS)
    followed = next(m.id for m in OURS.members if m.address == world.follower._address)
    world.told.clear()
    sent = len(world.sent)
    world.follower.cut_off(Cut(frozenset({followed}), float("inf")))
    world.hear_status(quorum=True, voting=True)
    world.follower._renew(world.now)
    assert (world.told, world.sent[sent:]) == ([], [])
    world.follower.cut_off(NO_CUT)
    world.hear_status(quorum=True, voting=True)
    assert world.stays


def test_what_became_of_a_report_is_told_after_the_map_that_it_made(world: World) -> None:
    """Who knows that its report is decided and still sees the member UP would grant to it again."""
    out = replace(NEWER, members=(*MEMBERS[:2], replace(MEMBERS[2], state=NodeState.DOWN)))
    world.hear_map(OURS)
    world.told.clear()
    report = ReportUnreachable(id="r1", by="n1", node="n3", incarnation="n3#1")
    world.follower._send_proposal(encode_command(report))
    rid = decode_request(world.sent[-1]).rid
    world.follower._send_proposal(encode_command(report))  # again, under the same id
    again = decode_request(world.sent[-1]).rid
    decided = Decided(OutcomeCode.DONE, "recorded", NEWER.version)
    for asked in (rid, again):
        world.arrived.append(encode_reply(Reply(Kind.PROPOSE, asked, 0, 0, Status.OK, decided)))
    world.follower._receive(world)  # type: ignore[arg-type]
    assert world.told == []
    world.hear_map(out)
    assert [t.state.map for t in world.told] == [out, out]
    assert [[o.command_id for o in t.state.outcomes] for t in world.told] == [[], ["r1"]]
