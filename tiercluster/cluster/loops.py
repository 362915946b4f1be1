"""The connection of an AsyncClient: one session for each event loop, pumped by its callbacks.

All calls of one turn of the loop are sent by one pump at its end. The descriptors of ZeroMQ
sockets signal edges, and any use of a socket may swallow one; so after each pump the sockets are
asked once more whether something came meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable

import zmq

from .errors import Unavailable
from .forks import fork_lock
from .link import CurveKeys, Link, Socket, end_with, new_context
from .plan import Operation
from .session import Counts, Session


class LoopSession:
    """A session within one running event loop."""

    def __init__(self, seeds: tuple[str, ...], keys: CurveKeys | None) -> None:
        self.loop = asyncio.get_running_loop()
        self.pid = os.getpid()
        self._context = new_context()
        end_with(self, self._context)
        self.session = Session(
            self._context, seeds, keys, opened=self._opened, closing=self._closing
        )
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._is_pump_due = False
        self._timer: asyncio.TimerHandle | None = None

    async def call(self, operation: Operation, timeout: float) -> None:
        """Carry it out within ``timeout`` seconds; raises what the call came to."""
        session, now = self.session, time.monotonic()
        if session.is_closed:
            raise Unavailable("the client is closed")
        attempt = session.begin(operation, now, now + timeout, pumps=False)
        if not attempt.is_done:
            future = self._waiting[id(attempt)] = self.loop.create_future()
            self._pump_soon()
            try:
                await future
            finally:
                del self._waiting[id(attempt)]
                session.end(attempt)
        if attempt.error is not None:
            raise attempt.error

    def known_version(self) -> int:
        """Of the newest map. To be asked again and again by who waits for a newer one: while no
        call waits nobody else renews the subscription, which the member forgets after a while."""
        if time.monotonic() >= self.session.wake_at():
            self._pump_soon()
        return self.session.feed.version

    def close(self) -> None:
        """Close the sockets; waiting calls raise Unavailable."""
        if self._timer is not None:
            self._timer.cancel()
        self.session.close()
        self._context.term()
        for future in self._waiting.values():
            if not future.done() and not self.loop.is_closed():
                future.set_result(None)

    def _opened(self, link: Link) -> None:
        for socket in (link.socket, link.monitor):
            self.loop.add_reader(_number(socket, zmq.FD), self._pump_soon)

    def _closing(self, link: Link) -> None:
        if not self.loop.is_closed():
            for socket in (link.socket, link.monitor):
                self.loop.remove_reader(_number(socket, zmq.FD))

    def _pump_soon(self) -> None:
        if not self._is_pump_due:
            self._is_pump_due = True
            self.loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._is_pump_due = False
        session = self.session
        if session.is_closed:
            return
        try:
            session.pump(time.monotonic())
        except Unavailable as error:  # an address that no socket can connect to
            session.fail_all(error)
        except zmq.ZMQError as error:
            session.fail_all(Unavailable(f"the connection failed: {error}"))
        self._resolve()
        if any(_has_something(link) for link in session.links()):
            self._pump_soon()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            delay = session.wake_at() - time.monotonic()
            self._timer = self.loop.call_later(max(delay, 0.001), self._pump_soon)

    def _resolve(self) -> None:
        finished, self.session.finished = self.session.finished, []
        for attempt in finished:
            future = self._waiting.get(id(attempt))
            if future is not None and not future.done():
                future.set_result(None)


def _number(socket: Socket, option: int) -> int:
    value = socket.getsockopt(option)
    assert isinstance(value, int)
    return value


def _has_something(link: Link) -> bool:
    both = _number(link.socket, zmq.EVENTS) | _number(link.monitor, zmq.EVENTS)
    return bool(both & zmq.POLLIN)


class Loops:
    """One session for each loop that runs; a loop that ran out, or that of the process that we were
    forked from, is left behind. Safe to share between threads that run loops of their own."""

    def __init__(self, seeds: tuple[str, ...], keys: CurveKeys | None) -> None:
        self.seeds = seeds
        self.keys = keys
        self.is_closed = False
        self.retired = Counts()
        self._current: LoopSession | None = None  # the one used last
        self._sessions: dict[asyncio.AbstractEventLoop, LoopSession] = {}
        self._inherited: list[LoopSession] = []

    def current(self) -> LoopSession:
        """Unavailable once closed."""
        if self.is_closed:
            raise Unavailable("the client is closed")
        current, loop = self._current, asyncio.get_running_loop()
        if current is None or current.loop is not loop or current.pid != os.getpid():
            current = self._current = self._of(loop)
        return current

    def _of(self, loop: asyncio.AbstractEventLoop) -> LoopSession:
        for other in self._taken(lambda of: of.pid != os.getpid() or not of.loop.is_running()):
            self._leave(other)
        if loop not in self._sessions:
            self._sessions[loop] = LoopSession(self.seeds, self.keys)
        return self._sessions[loop]

    def _taken(self, is_over: Callable[[LoopSession], bool]) -> list[LoopSession]:
        """These are no longer among ours; each is taken by one thread."""
        with fork_lock():
            taken = [of_loop for of_loop in list(self._sessions.values()) if is_over(of_loop)]
            for of_loop in taken:
                del self._sessions[of_loop.loop]
        return taken

    def sessions(self) -> list[Session]:
        return [of_loop.session for of_loop in list(self._sessions.values())]

    def close(self) -> None:
        self.is_closed = True
        for of_loop in self._taken(lambda of_loop: True):
            self._leave(of_loop)
        self._current = None

    def _leave(self, of_loop: LoopSession) -> None:
        if of_loop.pid != os.getpid():
            self._inherited.append(of_loop)  # not ours to touch, nor to collect
            return
        self.retired = self.retired + of_loop.session.counts
        if of_loop.loop.is_running() and of_loop.loop is not _running_loop():
            with contextlib.suppress(RuntimeError):  # it has ended: see `end_with`
                of_loop.loop.call_soon_threadsafe(of_loop.close)
        else:
            of_loop.close()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
