"""A client between nodes of older and newer versions than its own."""

from __future__ import annotations

import time

import pytest

from tiercluster import Client, errors
from tiercluster.cluster.wire import OLDEST_VERSION, VERSION, Hello, Kind, Refusal, Status, Welcome
from tiercluster.tiermap import encode_map

from .fake_cluster import Answer, FakeCluster, FakeNode


def welcome(node: FakeNode, protocol: int) -> Answer:
    return Status.OK, Welcome(node.id, f"{node.id}-1", protocol, encode_map(node.map)), b""


@pytest.mark.parametrize(
    ("theirs", "spoken"), [(OLDEST_VERSION, OLDEST_VERSION), (VERSION, VERSION), (9, VERSION)]
)
def test_a_client_greets_in_the_oldest_version_and_goes_on_in_the_newest_that_both_speak(
    single: FakeCluster, theirs: int, spoken: int
) -> None:
    node = single["n1"]
    node.script(Kind.HELLO, lambda _: welcome(node, theirs))
    with Client(single.address, timeout=2.0) as client:
        client.set("k", 1)
        client.set_many({"a": 1, "b": 2})
        assert client.get("k") == 1
    greeted, *others = node.asked(Kind.HELLO, Kind.STORE, Kind.GET)
    assert (greeted.protocol, greeted.fields) == (OLDEST_VERSION, Hello(OLDEST_VERSION, VERSION))
    assert {request.protocol for request in others} == {spoken}


def test_a_node_that_has_no_version_in_common_is_an_error_that_says_who_is_to_be_upgraded(
    single: FakeCluster,
) -> None:
    text = "this node speaks protocol version 3 to 4, the client 1 to 2: upgrade the client"
    single["n1"].script(Kind.HELLO, lambda _: (Status.BAD_REQUEST, Refusal(text), b""))
    with Client(single.address, timeout=2.0) as client:
        began = time.monotonic()
        with pytest.raises(errors.ProtocolError, match="upgrade the client"):
            client.get("k")
        assert time.monotonic() - began < 1.0, "at once, not at the deadline"
    assert single["n1"].asked(Kind.GET) == []


def test_a_kind_that_the_node_does_not_know_fails_that_call_and_no_other(
    single: FakeCluster,
) -> None:
    node = single["n1"]

    with Client(single.address, timeout=2.0) as client:
        client.set("k", 1)
        node.unknown.add(Kind.TOUCH)
        with pytest.raises(errors.ProtocolError, match="no request of kind 5"):
            client.touch("k", 10)
        node.unknown.clear()
        assert client.touch("k", 10) is True
        assert client.get("k") == 1
        assert client.stats().bad_answers == 0
