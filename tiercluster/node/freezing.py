"""Stops this very process for a while, as SIGSTOP does, and has it woken for sure.

A stopped process cannot wake itself. So a small helper process is started first; only when it says
that it runs is the signal sent. It wakes us when the time is over, and again and again until we
have closed its standard input, for the signal that stops us may come late: before or after the call
that sends it has returned, as it is another thread that takes it. It ends with us.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import structlog

AGAIN_S = 0.1  # between two attempts to wake

# Its standard input becomes readable when we close it, or when we are gone.
_WAKER = """
import os, select, signal, sys
node, wait_s, again_s = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
os.write(1, b"r")
while not select.select([0], [], [], wait_s)[0] and os.getppid() == node:
    os.kill(node, signal.SIGCONT)
    wait_s = again_s
"""

log = structlog.get_logger("tiercluster.faults")


def is_freezable() -> bool:
    """The kernel keeps the first process of a container from being stopped from inside."""
    return os.getpid() != 1


def freeze(seconds: float) -> None:
    """Blocks; call it in a thread of its own. Without a helper nothing is stopped."""
    node = os.getpid()
    command = [sys.executable, "-I", "-S", "-c", _WAKER, str(node), str(seconds), str(AGAIN_S)]
    try:
        waker = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a signal to our terminal must not end it
        )
    except OSError as error:
        log.error("not_frozen", error=str(error))
        return
    with waker:  # the end of the block closes its standard input and waits for it
        assert waker.stdout is not None
        if waker.stdout.read(1) != b"r":
            log.error("not_frozen", error="the helper that would wake this process did not start")
            return
        until = time.monotonic() + seconds
        _stop_process()
        time.sleep(max(0.0, until - time.monotonic()))


def _stop_process() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
