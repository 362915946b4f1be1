"""Carries out one operation on a session by blocking: what `Client` and `Admin` share."""

from __future__ import annotations

import time

import zmq

from .errors import TierclusterError, Unavailable
from .plan import Operation
from .pool import Pool
from .session import Session

EVENTS_LOST_S = 0.5  # a wait is never longer, whatever the session says


def call(pool: Pool, operation: Operation, timeout: float) -> None:
    """Carry it out within ``timeout`` seconds; raises what the call came to."""
    session = pool.take()
    try:
        call_on(session, operation, timeout)
    except TierclusterError:
        pool.give(session)
        raise
    except BaseException:  # interrupted at a place that nobody knows
        pool.discard(session)
        raise
    pool.give(session)


def call_on(session: Session, operation: Operation, timeout: float) -> None:
    """The same on a session that the caller holds."""
    now = time.monotonic()
    try:
        attempt = session.quick(operation, now, now + timeout, time.monotonic)
        if attempt is None:
            return
        try:
            while not attempt.is_done:
                wait(session)
                session.pump(time.monotonic())
        finally:
            session.end(attempt)
    except zmq.ZMQError as error:
        raise Unavailable(f"the connection failed: {error}") from error
    if attempt.error is not None:
        raise attempt.error


def wait(session: Session, until: float | None = None) -> None:
    """Block until something arrived on the session's sockets, or it wants to be pumped."""
    poller = zmq.Poller()
    for link in session.links():
        poller.register(link.socket, zmq.POLLIN)
        poller.register(link.monitor, zmq.POLLIN)
    now = time.monotonic()
    wake = min(session.wake_at(), now + EVENTS_LOST_S, until or now + EVENTS_LOST_S)
    poller.poll(max(0, int((wake - now) * 1000)) + 1)


def watch(session: Session, version: int, until: float) -> bool:
    """Wait for a map newer than ``version``; whether it came before ``until`` (monotonic)."""
    while session.feed.version <= version:
        now = time.monotonic()
        if now >= until:
            return False
        session.pump(now)
        if session.feed.version <= version:
            wait(session, until)
    return True
