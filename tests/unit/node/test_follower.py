"""Whom a follower stays with, and what it believes of whom it follows through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cbor2
import pytest
import zmq

from tiercluster.cluster.codec import decode_request, encode_reply
from tiercluster.cluster.wire import Kind, MapUpdate, Reply, Report, Result, Status
from tiercluster.node.follower import Follower
from tiercluster.tiermap import (
    Barrier,
    MapState,
    Member,
    TierMap,
    encode_command,
    encode_map,
)
from tiercluster.tiermap.raft import Applied, Standing

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
        self.follower._connect(zmq.Poller(), self.now)
        self.follower._heard = self.now
        assert self.follower._socket is not None
        self.follower._socket.close(0)
        self.follower._socket = self  # type: ignore[assignment]
        self.arrived: list[list[bytes]] = []
        self.told.clear()

    def send_multipart(self, frames: list[bytes], flags: int) -> None:
        self.sent.append(frames)

    def recv_multipart(self, flags: int) -> list[bytes]:
        if not self.arrived:
            raise zmq.Again
        return self.arrived.pop(0)

    def close(self, linger: int = 0) -> None:
        pass

    def hear(self, kind: Kind, *said: Result) -> None:
        self.arrived += [encode_reply(Reply(kind, 1, 0, 0, Status.OK, one)) for one in said]
        self.follower._receive()

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
