"""Which version two members speak, and whom a member gives no link."""

from __future__ import annotations

import cbor2
import pytest
from pysyncobj.node import Node

from tiercluster.tiermap.raft import links
from tiercluster.tiermap.raft.links import Links, Status
from tiercluster.tiermap.raft.messages import Hello, decode, encode_hello, encode_raft

from .test_raft_links import VOTE, End, met, talk


class OldEnd(End):
    """A member that speaks version 1: it passes over what is of another."""

    def send(self, peer: str, data: bytes) -> bool:
        return cbor2.loads(data)[0] != 1 or super().send(peer, data)


def old(end: End) -> End:
    """What a member of version 1 would hear and say."""
    receive = end.links.receive

    def hear(sender: str, data: bytes) -> None:
        if cbor2.loads(data)[0] == 1:
            receive(sender, data)
        else:
            end.links.refused += 1

    end.links.receive = hear  # type: ignore[method-assign]
    return end


def versions(sent: list[bytes]) -> list[int]:
    return [cbor2.loads(data)[0] for data in sent]


def at_level(end: End, level: int) -> None:
    end.links.status = lambda: Status(3, 9, 8, "d", level)


@pytest.fixture
def a() -> End:
    return End("a", "b")


@pytest.fixture
def b() -> OldEnd:
    return old(OldEnd("b", "a", session=200))  # type: ignore[return-value]


def test_who_is_not_known_is_greeted_in_the_newest_and_then_in_the_oldest_version(a: End) -> None:
    a.links.tick()
    assert versions(a.sent) == [2, 1]
    assert decode(a.sent[0]) == Hello("c", "a", 100, 0, 3, 9, 8, "d", 1, 2)
    assert decode(a.sent[1]) == Hello("c", "a", 100, 0, 3, 9, 8, "d")


def test_two_new_members_speak_the_newest_version(a: End) -> None:
    b = End("b", "a", session=200)
    met(a, b)
    assert a.links.level == b.links.level == 2
    a.links.send(Node("b"), VOTE)
    a.now = 1.0
    a.links.tick()
    assert versions(a.sent) == [2, 2]


def test_a_new_and_an_old_member_speak_the_oldest(a: End, b: End) -> None:
    met(a, b)
    assert a.links.level == 1
    assert a.links.send(Node("b"), VOTE)
    assert versions(a.sent) == [1]
    talk(a, b)
    assert b.log == ["response_vote"]
    assert b.links.send(Node("a"), VOTE)
    talk(a, b)
    assert a.log == ["response_vote"]


def test_an_old_member_is_offered_the_newest_version_now_and_then(a: End, b: End) -> None:
    met(a, b)
    seen = []
    for step in range(1, 50):
        a.now = step * 0.25
        a.links.tick()
        seen += [a.now] if 2 in versions(a.sent) else []
        talk(a, b)
    assert seen == [links.OFFER_S, 2 * links.OFFER_S]


def test_an_offer_that_was_lost_is_made_up_for(a: End) -> None:
    b = End("b", "a", session=200)
    a.links.tick()
    a.sent.pop(0)
    talk(a, b)
    assert (a.links.level, b.links.level) == (2, 2), "b has made an offer, too"


def test_a_new_life_may_speak_another_version(a: End, b: End) -> None:
    met(a, End("b", "a", session=150))
    assert a.links.level == 2
    b.links.tick()
    talk(a, b)
    assert a.links.level == 1


def test_the_level_is_what_a_majority_speaks() -> None:
    wire = End("a", "b")
    five = Links("a", frozenset("bcde"), "c", wire, lambda: 0.0, 100, 0.25, 2.0)
    five.status = wire.links.status
    five.on_hello = wire.links.on_hello
    five.setOnNodeConnectedCallback(lambda node: None)
    assert five.level == 1
    for count, peer in enumerate("bcd", 2):
        five.receive(peer, encode_hello(Hello("c", peer, 200, 100, 0, 1, oldest=1, newest=2)))
        assert five.level == (2 if count >= 3 else 1)
    alone = Links("a", frozenset(), "c", wire, lambda: 0.0, 100, 0.25, 2.0)
    assert alone.level == 2


def test_who_speaks_less_than_the_level_gets_no_link_and_is_named(
    a: End, b: End, caplog: pytest.LogCaptureFixture
) -> None:
    met(a, b)
    at_level(a, 2)
    for step in range(1, 4 * links.OLD_HELLOS):
        a.now = b.now = step * 0.25
        a.links.tick()
        b.links.tick()
        talk(a, b)
    assert not a.links.send(Node("b"), VOTE)
    assert a.log[0] == "down"
    assert "up" not in a.log
    assert b.log[-1] == "down", "it hears nothing that it can read"
    assert [r.message for r in caplog.records] == [
        "b speaks version 1 to 1 of the Raft protocol, this node 2 to 2: upgrade b"
    ]


def test_what_such_a_member_sends_besides_hellos_is_not_heard(a: End, b: End) -> None:
    met(a, b)
    at_level(a, 2)
    a.links.receive("b", encode_hello(Hello("c", "b", 200, 100, 3, 9)))
    a.log.clear()
    a.links.receive("b", encode_raft(200, 100, VOTE))
    assert a.log == []


def test_a_member_that_has_been_upgraded_is_let_in_again(a: End, b: End) -> None:
    met(a, b)
    at_level(a, 2)
    b.links.tick()
    talk(a, b)
    upgraded = End("b", "a", session=300)
    upgraded.links.tick()
    talk(a, upgraded)
    assert a.links.send(Node("b"), VOTE)


def test_a_member_that_speaks_only_newer_versions_says_who_is_to_be_upgraded(
    a: End, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(links.OLD_HELLOS):
        a.links.receive("b", encode_hello(Hello("c", "b", 200, 100, 3, 9, oldest=3, newest=4)))
    assert a.log == []
    assert "upgrade this node" in caplog.text
