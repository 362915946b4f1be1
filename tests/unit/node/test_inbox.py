"""The inbox: order, limit, and a reader that wakes whoever rings, a signal's handler included."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tiercluster.node.inbox import Inbox

LONG_S = 20.0


def test_messages_come_in_their_order_up_to_the_limit() -> None:
    inbox: Inbox[int] = Inbox(3)
    assert [inbox.tell(i) for i in range(4)] == [True, True, True, False]
    assert (inbox.take(0.0), inbox.drain(), inbox.take(0.0)) == (0, [1, 2], None)


@pytest.mark.parametrize("timeout_s", [-1.0, 0.0, 0.01])
def test_nothing_comes_of_an_empty_inbox(timeout_s: float) -> None:
    assert Inbox[int](1).take(timeout_s) is None


def test_a_closed_inbox_refuses() -> None:
    inbox: Inbox[int] = Inbox(1)
    inbox.close()
    assert not inbox.tell(1)


@pytest.mark.parametrize("timeout_s", [None, LONG_S])
def test_who_waits_is_woken_by_another_thread(timeout_s: float | None) -> None:
    inbox: Inbox[str] = Inbox(1)
    began = time.monotonic()
    timer = threading.Timer(0.02, inbox.tell, ["now"])
    timer.start()
    assert inbox.take(timeout_s) == "now"
    assert time.monotonic() - began < LONG_S / 2
    timer.join()


@contextmanager
def handled_by(inbox: Inbox[int]) -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, lambda number, frame: inbox.tell(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def hit_another_thread() -> None:
    """The system gives the signal to the thread that runs this."""
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)


def test_who_waits_is_woken_by_a_signal_that_another_thread_took() -> None:
    inbox: Inbox[int] = Inbox(1)
    began = time.monotonic()
    timer = threading.Timer(0.05, hit_another_thread)
    with handled_by(inbox), inbox.woken_by_signals():
        timer.start()
        assert inbox.take(LONG_S) == signal.SIGUSR1
    assert time.monotonic() - began < LONG_S / 2
    timer.join()


def test_afterwards_signals_wake_who_was_woken_before() -> None:
    outer, inner = Inbox[int](1), Inbox[int](1)
    with outer.woken_by_signals():
        with inner.woken_by_signals():
            pass
        inner.drain()
        timer = threading.Timer(0.05, hit_another_thread)
        with handled_by(outer):
            timer.start()
            assert outer.take(LONG_S) == signal.SIGUSR1
        timer.join()
