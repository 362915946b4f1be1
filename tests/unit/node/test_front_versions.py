"""The front between clients and peers of different versions: who is answered in which."""

from __future__ import annotations

from dataclasses import replace

import cbor2
import pytest

from tests.unit.node.shard_world import CLIENT
from tests.unit.node.test_front import WITH_N2, FrontWorld
from tiercluster.cluster.codec import encode_reply
from tiercluster.cluster.wire import (
    Fields,
    Hello,
    Kind,
    MapUpdate,
    Refusal,
    Reply,
    Request,
    Status,
    Subscribe,
    UnknownKind,
    Welcome,
)
from tiercluster.node.messages import LevelHeard, ShardReport
from tiercluster.tiermap import TierMap, decode_delta, decode_map, encode_map, patch

AT_2 = replace(
    WITH_N2, replicas=2, members=tuple(replace(m, level=2) for m in WITH_N2.members), digest="d2"
)


class PeerWorld(FrontWorld):
    """With what is sent to peers and told to the control worker."""

    def __init__(self, tier_map: TierMap = WITH_N2) -> None:
        self.greeted: list[str] = []
        self.told: list[ShardReport] = []
        super().__init__(tier_map)

    def send_peer(self, node: str, kind: Kind, rid: int, version: int, fields: Fields,
                  body: bytes) -> bool:  # fmt: skip
        self.greeted += [node] if kind is Kind.HELLO else []
        return True

    def tell_control(self, report: ShardReport) -> None:
        self.told.append(report)

    def say(self, kind: Kind, fields: Fields, protocol: int, connection: bytes = b"c") -> Reply:
        request = Request(kind, 5, 0, 0, CLIENT, False, fields, protocol=protocol)
        self.front.request(connection, request, self.now)
        return self.replies[connection, 5]

    def welcomed(self, node: str, incarnation: str, protocol: int) -> None:
        welcome = Welcome(node, incarnation, protocol, encode_map(self.map))
        self.front.peer_reply(node, Reply(Kind.HELLO, 0, 2, 0, Status.OK, welcome), self.now)

    @property
    def heard(self) -> list[LevelHeard]:
        return [report for report in self.told if isinstance(report, LevelHeard)]


def version_in(frame: bytes) -> int:
    version = cbor2.loads(frame)[0]
    assert isinstance(version, int)
    return version


@pytest.mark.parametrize("protocol", [1, 2])
def test_a_request_is_answered_in_its_version_and_so_is_its_map(protocol: int) -> None:
    world = PeerWorld(AT_2)
    reply = world.say(Kind.SUBSCRIBE, Subscribe(0), protocol)
    assert version_in(encode_reply(reply)[0]) == protocol
    assert isinstance(reply.fields, MapUpdate)
    assert version_in(reply.fields.data) == protocol
    assert decode_map(reply.fields.data).level == protocol


def test_a_change_is_pushed_to_each_subscriber_in_its_version() -> None:
    world = PeerWorld(AT_2)
    snapshots = {
        protocol: world.say(Kind.SUBSCRIBE, Subscribe(0), protocol, connection)
        for protocol, connection in ((1, b"old"), (2, b"new"))
    }
    first, second = AT_2.members
    newer = replace(AT_2, version=3, members=(first, replace(second, weight=2.0)), digest="d3")
    world.use(newer)
    for protocol, connection in ((1, b"old"), (2, b"new")):
        pushed, before = world.replies[connection, 0], snapshots[protocol].fields
        assert isinstance(pushed.fields, MapUpdate)
        assert isinstance(before, MapUpdate)
        assert (pushed.protocol, version_in(pushed.fields.data)) == (protocol, protocol)
        after = patch(decode_map(before.data), decode_delta(pushed.fields.data))
        assert (after.version, after.level) == (3, protocol)


@pytest.mark.parametrize(
    ("oldest", "newest", "spoken"), [(1, 1, 1), (1, 2, 2), (2, 2, 2), (1, 9, 2)]
)
def test_a_greeting_is_answered_with_the_newest_version_that_both_speak(
    oldest: int, newest: int, spoken: int
) -> None:
    reply = PeerWorld(AT_2).say(Kind.HELLO, Hello(oldest, newest), 1)
    assert isinstance(reply.fields, Welcome)
    assert (reply.fields.protocol, version_in(reply.fields.map)) == (spoken, spoken)


@pytest.mark.parametrize(
    ("oldest", "newest", "told"),
    [
        (3, 4, "the client 3 to 4: upgrade this node"),
        (0, 0, "the client 0 to 0: upgrade the client"),
    ],
)
def test_without_a_common_version_the_one_to_upgrade_is_named(
    oldest: int, newest: int, told: str
) -> None:
    reply = PeerWorld().say(Kind.HELLO, Hello(oldest, newest), 1)
    said = Refusal(f"this node speaks protocol version 1 to 2, {told}")
    assert (reply.status, reply.fields) == (Status.BAD_REQUEST, said)


def test_a_request_of_an_unknown_kind_is_refused_by_its_id() -> None:
    world = PeerWorld()
    world.front.refuse_kind(b"c", UnknownKind(99, 7, 2), world.now)
    reply = world.replies[b"c", 7]
    assert (reply.kind, reply.status, reply.protocol) == (Kind.HELLO, Status.BAD_REQUEST, 2)
    assert isinstance(reply.fields, Refusal)
    assert reply.fields.text.startswith("no request of kind 99 in protocol version 2")


# --- what peers speak -----------------------------------------------------------------------------


def test_members_of_an_older_map_are_asked_until_they_have_said_what_they_speak() -> None:
    world = PeerWorld()
    world.pass_by(1.0)
    world.pass_by(1.0)
    assert set(world.greeted) == {"n2"}
    world.greeted.clear()
    world.welcomed("n2", "x", 2)
    world.pass_by(1.0)
    assert (world.greeted, world.heard[-1]) == ([], LevelHeard(WITH_N2.digest, 2))


def test_a_member_that_speaks_one_keeps_the_level_down() -> None:
    world = PeerWorld()
    world.welcomed("n2", "x", 1)
    world.pass_by(1.0)
    assert world.heard == []


def test_at_our_own_level_nobody_is_asked() -> None:
    world = PeerWorld(AT_2)
    world.pass_by(2.0)
    assert (world.greeted, world.heard) == ([], [])
