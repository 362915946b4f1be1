"""A bounded inbox: many threads write, one reads, and a descriptor wakes its poll."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

M = TypeVar("M")


class Inbox(Generic[M]):
    """Holds at most ``limit`` messages; past that `tell` answers False and drops the message.

    A wake byte is written only if the reader has not been woken since it last drained, so a burst
    costs one system call.
    """

    def __init__(self, limit: int) -> None:
        self._messages: deque[M] = deque()
        self._limit = limit
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)
        self._woken = False
        self._closed = False

    def fileno(self) -> int:
        """Readable when there may be messages."""
        return self._read_fd

    def __len__(self) -> int:
        return len(self._messages)

    def tell(self, message: M) -> bool:
        """Enqueue; False when full or closed. Any thread."""
        if self._closed or len(self._messages) >= self._limit:
            return False
        self._messages.append(message)
        # The reader clears the flag before it drains, so a message appended before a set flag was
        # seen is always taken by that drain.
        if not self._woken:
            self._wake()
        return True

    def _wake(self) -> None:
        self._woken = True
        # A full pipe means that the reader is awake already.
        with contextlib.suppress(BlockingIOError):
            os.write(self._write_fd, b"\0")

    def drain(self, most: int = 1000) -> list[M]:
        """The waiting messages, oldest first, at most ``most``. The reader only."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read_fd, 4096)
        self._woken = False
        taken: list[M] = []
        while self._messages and len(taken) < most:
            taken.append(self._messages.popleft())
        if self._messages:
            self._wake()
        return taken

    def take(self, timeout_s: float | None = None) -> M | None:
        """The oldest message, waited for if there is none; None after ``timeout_s``. The reader
        only."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self._read_fd, select.POLLIN)
        while True:
            left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            poll.poll(None if left_s is None else 1000 * left_s)
            taken = self.drain(most=1)
            if taken:
                return taken[0]
            if left_s == 0.0:
                return None

    @contextlib.contextmanager
    def woken_by_signals(self) -> Iterator[None]:
        """Every signal wakes the reader, which is the main thread. Python runs a signal's handler
        in that thread only, but the system may give the signal to another one, or just before the
        main thread falls asleep: what the handler tells would wait until something else comes."""
        before = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)

    def close(self) -> None:
        """The reader is gone: later messages are refused."""
        self._closed = True

    def __del__(self) -> None:
        # Not in close(): a writer between its check and its write must not hit a reused descriptor.
        os.close(self._read_fd)
        os.close(self._write_fd)
