"""Who is told of map changes, and until when."""

from __future__ import annotations

from tiercluster.node.subscribers import LEASE_S, Subscribers


def test_each_is_told_in_the_version_that_it_speaks() -> None:
    subscribers = Subscribers()
    subscribers.add(b"a", 1.0, 1)
    subscribers.add(b"b", 1.0, 2)
    subscribers.add(b"c", 1.0, 2)
    assert subscribers.by_protocol() == {1: [b"a"], 2: [b"b", b"c"]}


def test_who_does_not_renew_is_told_no_more() -> None:
    subscribers = Subscribers()
    subscribers.add(b"a", 1.0, 1)
    subscribers.add(b"b", 1.0, 1)
    subscribers.add(b"b", 10.0, 1)
    subscribers.expire(1.5 + LEASE_S)
    assert subscribers.by_protocol() == {1: [b"b"]}


def test_who_is_dropped_is_told_nothing_from_then_on() -> None:
    subscribers = Subscribers()
    subscribers.add(b"a", 1.0, 1)
    subscribers.drop(b"a")
    subscribers.drop(b"unknown")
    assert subscribers.by_protocol() == {}


def test_where_too_many_are_told_one_more_must_ask_but_those_renew() -> None:
    subscribers = Subscribers(limit=1)
    assert subscribers.add(b"a", 1.0, 1)
    assert not subscribers.add(b"b", 1.0, 1)
    assert subscribers.add(b"a", 2.0, 1)
