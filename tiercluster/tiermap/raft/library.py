"""What we take from pysyncobj, checked and tamed at import: version, options, pickle, pipes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from pysyncobj import SyncObjConf
from pysyncobj.pipe_notifier import PipeNotifier
from pysyncobj.version import VERSION

from . import unpickle
from .settings import MAX_FRAME_BYTES

if VERSION != "0.3.17":
    # Every override in hardened.py was checked against the source of this release, method by
    # method; with another one the hazards may be open again without anything failing.
    raise ImportError(f"tiercluster needs pysyncobj 0.3.17 exactly, found {VERSION}")

unpickle.install()

log = logging.getLogger(__name__)

FOLLOWER, CANDIDATE, LEADER = 0, 1, 2
REGULAR, NO_OP = b"\x00", b"\x01"
COMMAND, BARRIER = b"\x00", b"\x01"  # first byte of what ``append`` is called with
MAX_COMMAND_BYTES = MAX_FRAME_BYTES + 64  # with what the library wraps around a frame


class NullNotifier:
    """In the place of the library's wake-up pipe: our own loop has one."""

    def notify(self) -> None:
        pass


def library_conf(**options: Any) -> SyncObjConf:
    """ValueError for an option that the library would silently ignore (H18)."""
    unknown = set(options) - set(vars(SyncObjConf()))
    if unknown:
        raise ValueError(f"pysyncobj knows no option {', '.join(sorted(unknown))}")
    return SyncObjConf(**options)


def close_pipe(notifier: PipeNotifier | None) -> None:
    """The library never does."""
    if notifier is None:
        return
    os.close(notifier._PipeNotifier__pipeR)
    os.close(notifier._PipeNotifier__pipeW)


def is_append(command: bytes) -> bool:
    """Whether it is a call of the one replicated method with one frame."""
    if command[:1] != REGULAR or len(command) > MAX_COMMAND_BYTES:
        return False
    try:
        call = unpickle.loads(command[1:])
    except Exception:  # noqa: BLE001  # torn pickles raise nearly anything
        return False
    match call:
        case (int(), (bytes(),)):
            return True
        case _:
            return False


def call_back(callback: Callable[..., None] | None, result: Any, reason: int) -> None:
    """A callback that raises harms nobody else (H13)."""
    if callback is None:
        return
    try:
        callback(result, reason)
    except Exception:  # whatever the caller's code does
        log.critical("a callback failed", exc_info=True)
