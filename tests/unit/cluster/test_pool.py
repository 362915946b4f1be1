"""Sessions and contexts: what a child of a fork takes for its own, and what ZeroMQ refuses."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
import zmq

from tests.harness.cluster import wait_until
from tiercluster import Client
from tiercluster.cluster import near, nearfeed, pool
from tiercluster.cluster.forks import _renew, fork_lock
from tiercluster.cluster.link import new_context
from tiercluster.cluster.near import Near
from tiercluster.cluster.pool import Pool
from tiercluster.errors import Unavailable

ADDRESS = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("module", "make", "leave"),
    [
        (pool, lambda: Pool((ADDRESS,), None), Pool._leave_parent),
        (near, lambda: Near(10, (ADDRESS,), None, lambda *_: None), Near._leave_parent),
    ],
)
def test_a_child_takes_nothing_for_its_own_before_all_of_it_is(
    monkeypatch: pytest.MonkeyPatch, module: Any, make: Any, leave: Any
) -> None:
    """Another of its threads would pick up a session of the parent's."""
    one = make()
    seen: list[int] = []
    child = os.getpid() + 1
    monkeypatch.setattr(module.os, "getpid", lambda: child)
    lock = threading.Lock

    def spied() -> Any:
        seen.append(one._pid)
        return lock()

    monkeypatch.setattr(module.threading, "Lock", spied)
    leave(one)
    assert seen
    assert child not in seen
    assert one._pid == child


def test_a_lock_that_was_held_at_a_fork_is_open_in_the_child() -> None:
    held = fork_lock()
    with held:
        _renew()
        assert fork_lock() is not held
        with fork_lock():
            pass


def test_a_context_takes_more_sockets_than_many_threads_and_members_need() -> None:
    context = new_context(has_many=True)
    assert context.get(zmq.MAX_SOCKETS) == context.get(zmq.SOCKET_LIMIT) > 10_000
    context.term()


@pytest.mark.parametrize("on_error", ["raise", "miss"])
def test_a_context_that_cannot_be_made_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, on_error: str
) -> None:
    def refuse() -> None:
        raise zmq.ZMQError(24, "Too many open files")

    monkeypatch.setattr(zmq, "Context", refuse)
    client = Client(ADDRESS, on_error=on_error)
    if on_error == "miss":
        assert client.get("k") is None
    else:
        with pytest.raises(Unavailable, match="Too many open files"):
            client.get("k")
    client.close()


def test_a_near_cache_begins_once_descriptors_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    contexts, asked = zmq.Context, []

    def refuse_once() -> Any:
        asked.append(1)
        if len(asked) == 1:
            raise zmq.ZMQError(24, "Too many open files")
        return contexts()

    monkeypatch.setattr(nearfeed, "AGAIN_S", 0.01)
    monkeypatch.setattr(zmq, "Context", refuse_once)
    one = Near(10, (ADDRESS,), None, lambda *_: None)
    one.reading((b"k",))
    wait_until(lambda: len(asked) == 2, 5, "another try")
    one.close()
