"""A thread that tells callbacks of committed tier-map events."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from tiercluster.tiermap import Event, decode_event

from .errors import ProtocolError, TierclusterError
from .plan import LookOp, NodeOp
from .pool import Pool
from .run import call_on, watch
from .session import Session
from .wire import EventList, EventsQuery, Kind, Result

WATCH_S = 0.25  # between looks at whether to stop
AGAIN_S = 1.0  # after a failure

_log = logging.getLogger("tiercluster")
Callback = Callable[[Event], object]


def events_of(result: Result | None, since: int) -> list[Event]:
    """The events after version ``since`` in an answer; ProtocolError for anything else."""
    if not isinstance(result, EventList):
        raise ProtocolError("a list of events was expected")
    try:
        events = [decode_event(event) for event in result.events]
    except ValueError as error:
        raise ProtocolError(f"an event that cannot be read: {error}") from None
    return [event for event in events if event.version > since]


class Watcher:
    """Owns one session of the pool. Each event is told once, in order; a callback that raises is
    logged and stays."""

    def __init__(self, pool: Pool, since: int | None, timeout: float) -> None:
        """``since``: the version after which events are told; None: the first map seen."""
        self._pool = pool
        self._since = since
        self._timeout = timeout
        self._callbacks: tuple[Callback, ...] = ()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tiercluster-events", daemon=True)

    def add(self, callback: Callback) -> None:
        self._callbacks = (*self._callbacks, callback)
        if not self._thread.ident:
            self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended, unless called from it."""
        self._stop.set()
        if self._thread.ident and threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        try:
            session = self._pool.take()
        except TierclusterError:
            return  # closed meanwhile
        try:
            self._follow(session)
        finally:
            self._pool.give(session)

    def _follow(self, session: Session) -> None:
        seen, again = -1, True
        while not self._stop.is_set():
            try:
                is_newer = watch(session, seen, time.monotonic() + WATCH_S)
                # Once more after the last change: the member asked may have been behind.
                if is_newer or again:
                    self._tell(self._fetch(session))
                    seen, again = session.feed.version, is_newer
            except TierclusterError as error:
                _log.info("following events: %s: %s", type(error).__name__, error)
                self._stop.wait(AGAIN_S)

    def _fetch(self, session: Session) -> list[Event]:
        look = LookOp()
        call_on(session, look, self._timeout)
        if self._since is None:
            self._since = session.feed.version
        ask = NodeOp(Kind.EVENTS, look.answered_by, EventsQuery(self._since))
        call_on(session, ask, self._timeout)
        return events_of(ask.result, self._since)

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            for callback in self._callbacks:
                try:
                    callback(event)
                except Exception:  # noqa: BLE001 - it is the user's, and reported
                    _log.exception("a callback of on_event failed")
        self._since = max([self._since or 0, *(event.version for event in events)])
