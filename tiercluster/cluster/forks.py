"""A lock that a child of a fork finds open, whatever threads of its parent held at that moment."""

from __future__ import annotations

import os
import threading

_locks = [threading.Lock()]


def _renew() -> None:
    _locks[0] = threading.Lock()


def fork_lock() -> threading.Lock:
    """The lock of this process: to be held for an instant, and never asked for twice."""
    return _locks[0]


os.register_at_fork(after_in_child=_renew)
