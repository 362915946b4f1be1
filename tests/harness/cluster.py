"""A cluster of real `python -m tiercluster start` processes on loopback.

with ClusterUnderTest(tmp_path) as cluster:
    cluster.kill("n2")
    cluster.restart("n2")
    assert cluster.cli("status", "--json").json["quorum"]
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tiercluster.cluster.admin import Admin
from tiercluster.tiermap import Member

from .ports import free_ports
from .process import NodeProcess, environment

READY_S = 30.0
CALM_S = 1.5  # longer than a node that reported another waits before it takes that back
SIZES = {"hot": "8MiB", "warm": "8MiB", "cold": "64MiB"}
PROGRAM = (sys.executable, "-m", "tiercluster")


@dataclass(frozen=True, slots=True)
class NodePorts:
    client: int
    raft: int
    http: int


@dataclass(frozen=True, slots=True)
class CliResult:
    """What one command printed and how it ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> Any:
        """The document; AssertionError with the command's words if it printed none."""
        assert self.out, f"exit {self.code}: {self.err}"
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class ClusterUnderTest:
    """Nodes n1..nN, all voters. ``sizes`` by tier; ``flags`` and ``env`` go to each."""

    def __init__(
        self,
        directory: Path,
        *,
        nodes: int = 3,
        sizes: Mapping[str, str] = SIZES,
        faults: bool = True,
        flags: Sequence[str] = (),
        env: dict[str, str] | None = None,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.directory = directory
        self.ids = [f"n{i + 1}" for i in range(nodes)]
        self.ports = self._choose_ports()
        self.processes: dict[str, NodeProcess] = {}
        self._sizes = [f"--{tier}={size}" for tier, size in {**SIZES, **sizes}.items()]
        self._flags = (*(("--allow-faults",) if faults else ()), *flags)
        self._env = environment(**(env or {}))
        self._program = tuple(program)

    def _choose_ports(self) -> dict[str, NodePorts]:
        ports = free_ports(3 * len(self.ids))
        return {node: NodePorts(*ports[3 * i : 3 * i + 3]) for i, node in enumerate(self.ids)}

    # --- where a node runs: on this host, unless a laboratory says otherwise ----------------------

    def host(self, node: str) -> str:
        """The address that it listens on."""
        return "127.0.0.1"

    def launcher(self, node: str) -> list[str]:
        """A prefix of its command that keeps the pid."""
        return []

    def environment(self, node: str) -> dict[str, str]:
        return self._env

    # --- lifetime -------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self.start_all()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kills what is left; a failing test wants its logs, not a clean stop."""
        for process in self.processes.values():
            process.kill()

    def start_all(self) -> None:
        self.launch(*self.ids)
        self.wait_ready(*self.ids)

    def launch(self, *nodes: str) -> None:
        """Starts without waiting."""
        for node in nodes:
            log = self.directory / node
            self.data(node).mkdir(parents=True, exist_ok=True)
            command = [*self.launcher(node), *self.command(node)]
            self.processes[node] = NodeProcess(command, log, self.environment(node))

    def wait_ready(self, *nodes: str, timeout_s: float = READY_S) -> None:
        for node in nodes:
            self.processes[node].wait_ready(timeout_s)

    def command(self, node: str) -> list[str]:
        mine, host = self.ports[node], self.host(node)
        peers = [f"--peer={n}={self.host(n)}:{p.raft}" for n, p in self.ports.items() if n != node]
        return [
            *self._program, "start", "--id", node, "--listen", f"{host}:{mine.client}",
            "--raft", f"{host}:{mine.raft}", "--http", f"{host}:{mine.http}",
            "--data", str(self.data(node)), *self._sizes, *peers, *self._flags,
        ]  # fmt: skip

    # --- faults ---------------------------------------------------------------------------------

    def kill(self, *nodes: str) -> None:
        """kill -9, all signals sent before the first is waited for."""
        for node in nodes:
            self.processes[node].send(signal.SIGKILL)
        for node in nodes:
            self.processes[node].wait()

    def stop(self, node: str) -> int:
        return self.processes[node].stop()

    def freeze(self, node: str) -> None:
        self.processes[node].send(signal.SIGSTOP)

    def thaw(self, node: str) -> None:
        self.processes[node].send(signal.SIGCONT)

    def restart(self, node: str) -> None:
        """Starts a node that is not running and waits until it is ready."""
        self.launch(node)
        self.wait_ready(node)

    def wipe(self, node: str) -> None:
        """Empties the data directory of a node that is not running."""
        shutil.rmtree(self.data(node))

    # --- looking --------------------------------------------------------------------------------

    def data(self, node: str) -> Path:
        return self.directory / "data" / node

    def address(self, node: str) -> str:
        return f"{self.host(node)}:{self.ports[node].client}"

    @property
    def addresses(self) -> str:
        return ",".join(map(self.address, self.ids))

    def admin(self, *nodes: str) -> Admin:
        """Asks these members only; all of them by default."""
        chosen = nodes or self.ids
        return Admin(map(self.address, chosen), keys=self._env.get("TIERCLUSTER_KEYS"))

    def log(self, node: str) -> str:
        return self.processes[node].err.read_text(errors="replace")

    def is_alive(self, node: str) -> bool:
        return self.processes[node].is_alive

    def cli(self, *arguments: str, at: str | None = None, timeout_s: float = 30) -> CliResult:
        """One command, against all members or the one named."""
        address = self.address(at) if at else self.addresses
        began = time.monotonic()
        done = subprocess.run(
            [*self._program, *arguments],
            env=self._env | {"TIERCLUSTER_CLUSTER": address},
            capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        return CliResult(done.returncode, done.stdout, done.stderr, time.monotonic() - began)

    def status(self, at: str | None = None) -> Any:
        return self.cli("status", "--json", at=at).json

    def settled(self, timeout_s: float = 30) -> Any:
        """The status once nothing has been decided for CALM_S. Nodes that start at once, on few
        cores, may find each other silent, and take that back only after they are ready."""
        with self.admin() as admin:
            seen, since = admin.hello(), time.monotonic()

            def is_calm() -> bool:
                nonlocal seen, since
                now = admin.hello()
                if now.version != seen.version or any(_is_in_doubt(m) for m in now.members):
                    seen, since = now, time.monotonic()
                return time.monotonic() - since > CALM_S

            wait_until(is_calm, timeout_s, "nothing more is decided")
        return self.status()

    def states(self, at: str | None = None) -> dict[str, str]:
        """Node ids and tier refs to their states."""
        return _states(self.status(at))

    def leader(self) -> str:
        leader = self.status()["leader"]
        assert isinstance(leader, str), "no leader"
        return leader

    def wait_state(
        self, ref: str, state: str, timeout_s: float = 30, at: str | None = None
    ) -> float:
        """Until a node or tier shows this state; the seconds it took."""

        def is_there() -> bool:
            shown = self.cli("status", "--json", at=at)  # without an answer in time: asked again
            return bool(shown.out) and _states(shown.json).get(ref) == state

        return wait_until(is_there, timeout_s, f"{ref} {state}")


@contextmanager
def with_keys(directory: Path, nodes: int = 3) -> Iterator[ClusterUnderTest]:
    """A cluster whose keys are in ``directory``/keys, with those of an application `web`."""
    keys = directory / "keys"
    cluster = ClusterUnderTest(directory, nodes=nodes, env={"TIERCLUSTER_KEYS": str(keys)})
    assert cluster.cli("keygen", "--out", str(keys), "--client", "web").code == 0
    with cluster:
        yield cluster


def _states(status: Any) -> dict[str, str]:
    nodes = status["nodes"]
    return {n["id"]: n["state"] for n in nodes} | {
        t["ref"]: t["state"] for n in nodes for t in n["tiers"]
    }


def _is_in_doubt(member: Member) -> bool:
    return member.filling or bool(member.apart or member.unreachable_by)


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Polls; the seconds it took. AssertionError when it never came true."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - began
