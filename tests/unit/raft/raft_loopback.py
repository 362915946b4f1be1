"""Real replicas on loopback, and a listener that waits for what they say instead of sleeping."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from tiercluster.tiermap.raft import (
    Applied,
    BarrierDone,
    Machine,
    RaftKeys,
    Replica,
    ReplicaEvent,
    ReplicaSettings,
    Standing,
)

Commands = tuple[str, ...]
PATIENCE_S = 15.0

MACHINE: Machine[Commands] = Machine(
    initial=(),
    apply=lambda state, frame: (*state, frame.decode()),
    encode=lambda state: "\n".join(state).encode(),
    decode=lambda data: tuple(data.decode().split("\n")) if data else (),
    digest=lambda state: "|".join(state)[-200:],
    version=len,
)


def free_port() -> int:
    """Below the ephemeral range, so that no outgoing connection takes it meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Ear:
    """Keeps the events of one replica."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self.events: list[ReplicaEvent[Commands]] = []

    def __call__(self, event: ReplicaEvent[Commands]) -> None:
        with self._news:
            self.events.append(event)
            self._news.notify_all()

    def wait(self, condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> None:
        with self._news:
            assert self._news.wait_for(condition, timeout_s), f"only {self.events[-20:]}"

    def has(self, kind: type[Any], **fields: Any) -> bool:
        return any(
            isinstance(event, kind) and all(getattr(event, k) == v for k, v in fields.items())
            for event in self.events
        )

    @property
    def state(self) -> Commands:
        states = [event.state for event in self.events if isinstance(event, Applied)]
        return states[-1] if states else ()

    @property
    def standing(self) -> Standing:
        standings = [event for event in self.events if isinstance(event, Standing)]
        return standings[-1] if standings else Standing(None, False, False, 0)


class Loopback:
    """A cluster of replicas in this process."""

    def __init__(self, path: Path, size: int, **options: Any) -> None:
        self.path, self.options = path, options
        self.keys: dict[str, RaftKeys] = {}
        self.names = [f"n{i + 1}" for i in range(size)]
        self.ports = {name: free_port() for name in self.names}
        self.ears: dict[str, Ear] = {}
        self.machines: dict[str, Callable[[Commands, bytes], Commands]] = {}  # other than MACHINE
        self.replicas: dict[str, Replica[Commands]] = {}

    def start(self, *names: str) -> None:
        for name in names or self.names:
            self.ears[name] = Ear()
            machine = replace(MACHINE, apply=partial(self._apply, name))
            self.replicas[name] = Replica(self.settings(name), machine, self.ears[name])
            self.replicas[name].start()

    def _apply(self, name: str, state: Commands, frame: bytes) -> Commands:
        return self.machines.get(name, MACHINE.apply)(state, frame)

    def settings(self, name: str) -> ReplicaSettings:
        return ReplicaSettings(
            **{
                "node_id": name,
                "raft_address": f"127.0.0.1:{self.ports[name]}",
                "peers": tuple(
                    (other, f"127.0.0.1:{self.ports[other]}")
                    for other in self.names
                    if other != name
                ),
                "directory": self.path / name,
                "cluster": "test",
                "keys": self.keys.get(name),
                **self.options,
            }
        )

    def stop(self, *names: str) -> None:
        for name in names or list(self.replicas):
            replica = self.replicas.pop(name)
            replica.stop(timeout_s=5.0)
            assert not replica._thread.is_alive()

    def leader(self) -> str:
        """Wait for one that leads with a quorum."""
        end = monotonic() + PATIENCE_S
        first = next(iter(self.replicas))
        while monotonic() < end:
            for name in self.replicas:
                standing = self.ears[name].standing
                if standing.is_leader and standing.quorum:
                    return name
            self.ears[first].wait(lambda: True)
            threading.Event().wait(0.01)
        raise AssertionError("no leader")

    def barrier(self, name: str, token: str) -> None:
        """Repeated until it is done: one that runs into an election is not."""
        ear = self.ears[name]
        for attempt in range(10):
            this = f"{token}/{attempt}"
            self.replicas[name].barrier(this)
            ear.wait(lambda this=this: ear.has(BarrierDone, token=this))
            if ear.has(BarrierDone, token=this, ok=True):
                return
        raise AssertionError("no barrier was passed")

    def commit(self, name: str, command: str) -> None:
        """Proposed until it is applied here, as a coordinator does it."""
        ear = self.ears[name]
        end = monotonic() + PATIENCE_S
        while command not in ear.state:
            assert monotonic() < end, f"{command} was not applied at {name}"
            self.replicas[name].propose(command.encode())
            with ear._news:
                ear._news.wait_for(lambda: command in ear.state, 0.5)
