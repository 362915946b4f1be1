"""The watch worker: a thread that ends connections to the client port which send without end.

It tells the shard which connections it wants whole messages told of (`WatchConnections`), and only
of those the shard asks ZeroMQ by which connection a message came, which would cost it a microsecond
a message otherwise.
"""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable

import structlog
import zmq

from tiercluster.cluster.wire import MAX_BODY_BYTES, MAX_HEADER_BYTES
from tiercluster.tiermap.raft import LOOK_S, Limits, Watch

from .inbox import Inbox
from .messages import Checked, WatchConnections

HEARD_LIMIT = 10_000
SPARE_DESCRIPTORS = 256  # for files, other sockets, and what waits to be closed
SAY_EACH_S = 1.0  # at most: who floods us must not flood our log

log = structlog.get_logger("tiercluster.watch")


def limits() -> Limits:
    """Of the client port."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Limits(
        connections=max(soft - SPARE_DESCRIPTORS, soft // 2),
        watch_bytes=MAX_HEADER_BYTES,
        message_bytes=MAX_BODY_BYTES + 2 * MAX_HEADER_BYTES,
    )


class FloodWatch:
    """``tell`` only enqueues. The socket must not be bound yet."""

    def __init__(
        self, socket: zmq.Socket[bytes], tell: Callable[[WatchConnections], object]
    ) -> None:
        # Descriptors by which a whole message came, and what was checked.
        self.heard: Inbox[int | Checked] = Inbox(HEARD_LIMIT)
        self._tell = tell
        self._told = WatchConnections(frozenset(), 0, 0, 0)
        self._looks = 0
        self._watch = Watch(socket, limits())
        self._stopping = threading.Event()
        self._said_at = 0.0
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and closes its socket; from the thread of the watched socket."""
        self._stopping.set()
        self.heard.tell(-1)
        if self._thread.ident is not None:
            self._thread.join()
        self._watch.close()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._watch.monitor, zmq.POLLIN)
        poller.register(self.heard, zmq.POLLIN)
        look_at = 0.0
        while not self._stopping.is_set():
            poller.poll(int(LOOK_S * 1000))
            for heard in self.heard.drain():
                self._take(heard)
            self._watch.read_monitor()
            now = time.monotonic()
            if now >= look_at:
                look_at = now + LOOK_S
                self._watch.look()
                self._looks += 1
                self._report(now)

    def _take(self, heard: int | Checked) -> None:
        if not isinstance(heard, Checked):
            self._watch.heard(heard)
        elif heard.look == self._looks:
            self._watch.checked()

    def _report(self, now: float) -> None:
        watch, watched = self._watch, self._watch.watched
        look = self._looks if watched else 0
        report = WatchConnections(watched, watch.hung_up, watch.connections, look)
        if report.hung_up > self._told.hung_up and now >= self._said_at + SAY_EACH_S:
            self._said_at = now
            log.warning("hung_up", connections=report.hung_up)
        if look or (report.descriptors, report.hung_up) != (
            self._told.descriptors,
            self._told.hung_up,
        ):
            self._told = report
            self._tell(report)
