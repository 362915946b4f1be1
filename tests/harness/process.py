"""One process under test: started, killed, frozen and thawed by its own pid, never left behind."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

POLL_S = 0.02
_live: weakref.WeakSet[NodeProcess] = weakref.WeakSet()


class NotReady(AssertionError):
    """A process ended or stayed silent; the text holds the end of what it wrote."""


class NodeProcess:
    """Writes stdout to LOG.out and stderr to LOG.err, appending over restarts."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        self.out, self.err = log.with_suffix(".out"), log.with_suffix(".err")
        self.out.touch()
        self._offset = self.out.stat().st_size
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self._popen = subprocess.Popen(
                [*_die_with_parent(), *command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=dict(env),
            )  # fmt: skip
        self.frozen = False
        _live.add(self)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def is_alive(self) -> bool:
        return self._popen.poll() is None

    @property
    def code(self) -> int | None:
        return self._popen.poll()

    def said(self) -> str:
        """What this incarnation wrote to stdout."""
        with self.out.open("rb") as f:
            f.seek(self._offset)
            return f.read().decode(errors="replace")

    def wait_ready(self, timeout_s: float) -> None:
        """Until it printed a line that starts with `ready`; NotReady otherwise."""
        deadline = time.monotonic() + timeout_s
        while not any(line.startswith("ready") for line in self.said().splitlines()):
            if not self.is_alive:
                raise NotReady(f"ended with {self.code} before it was ready:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise NotReady(f"not ready after {timeout_s} s:\n{self.tail()}")
            time.sleep(POLL_S)

    def tail(self, lines: int = 30) -> str:
        text = self.err.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([*self.said().splitlines()[-lines:], *text])

    def send(self, number: signal.Signals) -> None:
        if self.is_alive:
            self._popen.send_signal(number)
            self.frozen = number == signal.SIGSTOP

    def wait(self, timeout_s: float = 10) -> int:
        return self._popen.wait(timeout_s)

    def kill(self) -> None:
        """kill -9, and reaped."""
        self.send(signal.SIGKILL)
        self.wait()

    def stop(self, timeout_s: float = 10) -> int:
        """SIGTERM, as an operator stops it; killed when it does not end. Its exit code."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        try:
            return self.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


def _die_with_parent() -> list[str]:
    """A prefix by which the kernel kills the process when the thread that started it ends: nothing
    survives a killed test run. Start processes from the main thread only."""
    tool = shutil.which("setpriv")
    return [tool, "--pdeathsig", "KILL", "--"] if tool else []


@atexit.register
def _kill_the_rest() -> None:
    for process in list(_live):
        process.kill()


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without the settings of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TIERCLUSTER_")}
    return kept | {"PYTHONUNBUFFERED": "1"} | extra
