"""The processes of a local cluster: started with flags anybody could type, watched, stopped.

Each child is a session of its own, so ctrl-c reaches only us and we stop them in order; and each
reads our pipe (`start --until-eof`), so when we are killed they stop by themselves.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tiercluster.node.inbox import Inbox

MAX_NEWS = 1000  # that wait to be read; a node has two to tell
STOP_S = 15.0  # for a clean stop; then the process is killed
LOG = "log"
COMMAND = (sys.executable, "-m", "tiercluster", "start")


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node to be started. ``arguments`` are those of `tiercluster start`."""

    id: str
    listen: str
    http: str
    data: Path
    arguments: tuple[str, ...]

    @property
    def log(self) -> Path:
        return self.data / LOG


@dataclass(frozen=True, slots=True)
class Ready:
    """The node serves."""

    node: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The node's process is over; a negative code is the signal that ended it."""

    node: str
    code: int


@dataclass(frozen=True, slots=True)
class StopAsked:
    """By a signal to us."""


News = Ready | Ended | StopAsked


@dataclass(slots=True)
class Nodes:
    """The running children. What happens to them arrives in ``news``. ``command`` runs a node, if
    it is not COMMAND."""

    command: Sequence[str] = ()
    news: Inbox[News] = field(default_factory=lambda: Inbox(MAX_NEWS))
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def start(self, plan: NodePlan) -> int:
        """Start the node's process and return its id; OSError if that fails."""
        plan.data.mkdir(parents=True, exist_ok=True)
        with plan.log.open("ab") as log:
            process = subprocess.Popen(
                [*(self.command or COMMAND), *plan.arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.running[plan.id] = process
        threading.Thread(target=self._listen, args=(plan.id, process), daemon=True).start()
        return process.pid

    def _listen(self, node: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                if line.startswith("ready "):
                    self.news.tell(Ready(node))
        self.news.tell(Ended(node, process.wait()))

    def stop_all(self) -> list[str]:
        """Ask all to stop, wait, kill what is left; the nodes that had to be killed."""
        for process in self.running.values():
            process.terminate()
        deadline = time.monotonic() + STOP_S
        killed = [n for n, p in self.running.items() if not _ended_by(p, deadline)]
        for process in self.running.values():
            if process.stdin is not None:
                process.stdin.close()
        return killed


def _ended_by(process: subprocess.Popen[str], deadline: float) -> bool:
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True


def last_line(log: Path) -> str:
    """The last words of a node that ended; empty if it left none."""
    try:
        lines = log.read_text(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def how_it_ended(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


def common(flags: Sequence[tuple[str, str | None]]) -> tuple[str, ...]:
    """Flags that were given, as arguments."""
    return tuple(part for flag, value in flags if value is not None for part in (flag, value))
