"""One connection on real sockets: when it is tried again, and what is left of it by then."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.harness.ports import free_ports
from tiercluster.cluster.link import FOREVER, Context, Link, new_context

PAST = 0.0  # as a time to read the monitor: nothing is due


@pytest.fixture
def context() -> Iterator[Context]:
    made = new_context()
    yield made
    made.destroy(0)


@pytest.fixture
def refused(context: Context) -> Iterator[Link]:
    """Nobody listens where it leads."""
    link = Link(context, f"127.0.0.1:{free_ports(1)[0]}", None)
    yield link
    link.close()


def fail(link: Link) -> None:
    """Read until the attempt that is under way has failed."""
    failed_before = link.failed_at
    while link.failed_at == failed_before:
        assert link.monitor.poll(5000), "the attempt came to nothing, not even to a failure"
        link.read_monitor(PAST)


def test_nothing_piles_up_while_nobody_reads(refused: Link) -> None:
    fail(refused)
    assert refused.monitor.poll(500) == 0


def test_the_pauses_from_attempt_to_attempt_double(refused: Link) -> None:
    pauses = []
    for _ in range(7):
        fail(refused)
        pauses.append(refused.try_at - refused.failed_at)
        refused.read_monitor(refused.try_at)
    assert pauses == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5])


def test_it_is_not_tried_again_before_its_time(refused: Link) -> None:
    fail(refused)
    refused.read_monitor(refused.try_at - 0.001)
    assert refused.monitor.poll(200) == 0


def test_an_attempt_of_which_nothing_is_heard_is_given_up(context: Context) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        link = Link(context, f"127.0.0.1:{deaf.getsockname()[1]}", None)
        until = link.try_at
        link.read_monitor(until)
        assert until < link.try_at < FOREVER
        link.close()


def test_a_failure_that_is_read_late_is_none_of_now(refused: Link) -> None:
    """Who asks now is not told that the member was away a while ago."""
    assert refused.monitor.poll(5000)
    refused.read_monitor(refused.try_at + 1000)
    assert 0 < refused.failed_at < refused.try_at
