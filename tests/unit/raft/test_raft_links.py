"""Sessions: what counts between two members, and what is left over from earlier lives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from pysyncobj.node import Node

from tiercluster.tiermap.raft.links import Links, Status
from tiercluster.tiermap.raft.messages import Hello, decode, encode_hello, encode_raft

VOTE = {"type": "response_vote", "term": 1}


@dataclass
class End:
    """One member's links, and what they did."""

    name: str
    peer: str
    session: int = 100
    cluster: str = "c"
    now: float = 0.0
    sent: list[bytes] = field(default_factory=list)
    log: list[Any] = field(default_factory=list)
    is_broken: bool = False

    def __post_init__(self) -> None:
        self.links = Links(
            self.name,
            frozenset({self.peer}),
            self.cluster,
            self,
            lambda: self.now,
            self.session,
            keep_warm_s=0.25,
            link_timeout_s=2.0,
        )
        self.links.status = lambda: Status(3, 9, 8, "d")
        self.links.on_hello = lambda peer, hello: self.log.append(("hello", hello.session))
        self.links.on_new_session = lambda: self.log.append("new session")
        self.links.setOnNodeConnectedCallback(lambda node: self.log.append("up"))
        self.links.setOnNodeDisconnectedCallback(lambda node: self.log.append("down"))
        self.links.setOnMessageReceivedCallback(lambda node, body: self.log.append(body["type"]))

    def send(self, peer: str, data: bytes) -> bool:
        if self.is_broken:
            return False
        self.sent.append(data)
        return True


def talk(a: End, b: End) -> None:
    """Until neither has anything more to say."""
    for _ in range(20):
        if not a.sent and not b.sent:
            return
        for one, other in ((a, b), (b, a)):
            sent, one.sent = one.sent, []
            for data in sent:
                other.links.receive(one.name, data)
    raise AssertionError("they never stop")


@pytest.fixture
def a() -> End:
    return End("a", "b")


@pytest.fixture
def b() -> End:
    return End("b", "a", session=200)


def met(a: End, b: End) -> None:
    a.links.tick()
    talk(a, b)
    a.log.clear()
    b.log.clear()


def test_a_link_is_up_when_both_know_each_other(a: End, b: End) -> None:
    a.links.tick()
    talk(a, b)
    assert "up" in a.log
    assert "up" in b.log


def test_messages_pass_between_the_present_sessions(a: End, b: End) -> None:
    met(a, b)
    assert a.links.send(Node("b"), VOTE)
    talk(a, b)
    assert b.log == ["response_vote"]


def test_nothing_is_sent_before_the_link_is_up(a: End) -> None:
    assert not a.links.send(Node("b"), VOTE)


def test_what_an_earlier_life_sent_is_dropped(a: End, b: End) -> None:
    met(a, b)
    a.links.send(Node("b"), VOTE)
    late = a.sent.pop()
    reborn = End("a", "b", session=101)
    reborn.links.tick()
    talk(reborn, b)
    b.log.clear()
    b.links.receive("a", late)
    assert b.log == []


def test_what_was_meant_for_an_earlier_life_is_dropped(a: End, b: End) -> None:
    met(a, b)
    a.links.send(Node("b"), VOTE)
    reborn = End("b", "a", session=201)
    reborn.links.receive("a", a.sent.pop())
    assert reborn.log == []


def test_a_new_life_takes_the_link_down_and_up_again(a: End, b: End) -> None:
    met(a, b)
    reborn = End("a", "b", session=101)
    reborn.links.tick()
    talk(reborn, b)
    assert [entry for entry in b.log if entry in ("up", "down")] == ["down", "up"]


def test_a_life_whose_clock_was_set_back_takes_a_later_session(a: End, b: End) -> None:
    met(a, b)
    reborn = End("a", "b", session=50)
    reborn.links.tick()
    talk(reborn, b)
    assert "new session" in reborn.log
    assert "up" in reborn.log
    assert reborn.links.send(Node("b"), VOTE)
    b.log.clear()
    talk(reborn, b)
    assert b.log == ["response_vote"]


def test_other_clusters_and_other_names_are_refused(b: End) -> None:
    for hello in (Hello("other", "a", 1, 200, 0, 1), Hello("c", "x", 1, 200, 0, 1)):
        b.links.receive("a", encode_hello(hello))
    b.links.receive("x", encode_hello(Hello("c", "x", 1, 200, 0, 1)))
    assert b.links.refused == 3
    assert b.log == []
    assert b.sent == []


def test_garbage_is_counted_and_nothing_else(b: End) -> None:
    b.links.receive("a", b"\x81" * 1000)
    b.links.receive("a", encode_raft(1, 200, VOTE))  # of a session nobody has heard of
    assert b.links.refused == 2
    assert b.log == []


def test_a_quiet_link_is_kept_warm(a: End, b: End) -> None:
    met(a, b)
    for _ in range(16):
        a.now += 0.125
        a.links.tick()
    assert len(a.sent) == 8
    assert all(isinstance(decode(data), Hello) for data in a.sent)


@pytest.mark.parametrize("is_warm", [True, False])
def test_h17_the_first_vote_after_a_quiet_time_is_heard(a: End, b: End, is_warm: bool) -> None:
    """The library closes a link that was idle at the first send, so the first election is lost."""
    met(a, b)
    for _ in range(960):  # two minutes
        a.now = b.now = a.now + 0.125
        for end in (a, b) if is_warm else ():
            end.links.tick()
        talk(a, b)
    a.links.tick()
    assert ("down" in a.log + b.log) == (not is_warm)
    assert a.links.send(Node("b"), VOTE) == is_warm
    talk(a, b)
    assert ("response_vote" in b.log) == is_warm


def test_a_silent_link_goes_down(a: End, b: End) -> None:
    met(a, b)
    a.now += 2.1
    a.links.tick()
    assert a.log == ["down"]


def test_a_wire_that_refuses_takes_the_link_down(a: End, b: End) -> None:
    met(a, b)
    a.is_broken = True
    assert not a.links.send(Node("b"), VOTE)
    assert a.log == ["down"]
