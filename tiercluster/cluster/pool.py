"""The sessions of one client: as many as calls run at once, each used by one thread at a time.

A thread takes an idle session, the one used last, and gives it back. Taking and giving are single
operations of a deque, which are atomic; the lock guards only making and closing. After a fork the
child leaves all it inherited alone and starts with nothing.
"""

from __future__ import annotations

import os
import threading
from collections import deque

from .errors import Unavailable
from .forks import fork_lock
from .link import Context, CurveKeys, end_with, new_context
from .routing import Router
from .session import Counts, Session

MAX_IDLE = 64  # sessions kept for the next call


class Pool:
    """Safe to share between threads and across forks."""

    def __init__(self, seeds: tuple[str, ...], keys: CurveKeys | None) -> None:
        self.seeds = seeds
        self.keys = keys
        self.is_closed = False
        self._retired = Counts()
        # What a child must not touch, kept so that it is not collected there either.
        self._inherited: list[object] = []
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._idle: deque[Session] = deque()
        self._live: set[Session] = set()
        self._context: Context | None = None
        self._router: Router | None = None
        self._pid = os.getpid()  # last: from now on all of this is taken for ours

    def _leave_parent(self) -> None:
        with fork_lock():
            if os.getpid() != self._pid:
                self._inherited.extend((self._idle, self._live, self._context, self._lock))
                self._start()

    def take(self) -> Session:
        """An idle session, or a new one. Unavailable once closed."""
        if os.getpid() != self._pid:
            self._leave_parent()
        try:
            return self._idle.pop()
        except IndexError:
            return self._make()

    def give(self, session: Session) -> None:
        """Back to the others."""
        self._router = session.feed.router
        self._idle.append(session)
        if self.is_closed or len(self._idle) > MAX_IDLE:
            self._close_idle()

    def discard(self, session: Session) -> None:
        """Close one that is in a state nobody knows."""
        with self._lock:
            self._close(session)

    def close(self) -> None:
        """Close all that are idle; those in use are closed when they are given back."""
        self.is_closed = True
        if os.getpid() == self._pid:
            self._close_idle()

    def sessions(self) -> list[Session]:
        with self._lock:
            return list(self._live)

    @property
    def retired(self) -> Counts:
        """What closed sessions had counted."""
        return self._retired

    def _make(self) -> Session:
        with self._lock:
            if self.is_closed:
                raise Unavailable("the client is closed")
            if self._context is None:
                self._context = new_context(has_many=True)
                end_with(self, self._context)
            session = Session(self._context, self.seeds, self.keys, self._router)
            self._live.add(session)
            return session

    def _close_idle(self) -> None:
        with self._lock:
            keep = 0 if self.is_closed else MAX_IDLE
            while len(self._idle) > keep:
                try:
                    self._close(self._idle.popleft())
                except IndexError:
                    break
            if self.is_closed and not self._live and self._context is not None:
                self._context.term()
                self._context = None

    def _close(self, session: Session) -> None:
        session.close()
        self._live.discard(session)
        self._retired = self._retired + session.counts
