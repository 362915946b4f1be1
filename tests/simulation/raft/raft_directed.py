"""Members under a virtual clock with links that deliver one message when told to: for step-by-step
proofs on the real code, of the plain library or of ours.

Links are first-in first-out and lose what is in flight when they are cut, as TCP does. The plain
library gets a journal that never loses anything, so what is found is its core's doing.
"""

from __future__ import annotations

import collections
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pysyncobj.journal
import pysyncobj.pickle
import pysyncobj.syncobj
import pytest
from pysyncobj import SyncObj, SyncObjConf, SyncObjConsumer, replicated
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from tiercluster.tiermap.raft.admission import Admission
from tiercluster.tiermap.raft.hardened import HardenedSyncObj
from tiercluster.tiermap.raft.journal import Journal
from tiercluster.tiermap.raft.library import COMMAND, library_conf
from tiercluster.tiermap.raft.machine import Machine
from tiercluster.tiermap.raft.snapshot import SnapshotStore

Commands = tuple[str, ...]

MACHINE: Machine[Commands] = Machine(
    initial=(),
    apply=lambda state, frame: (*state, frame.decode()),
    encode=lambda state: "\n".join(state).encode(),
    decode=lambda data: tuple(data.decode().split("\n")) if data else (),
    digest=lambda state: state[-1] if state else "",
    version=len,
)


class Clock:
    """Moves a little with every look: the library waits in loops for time to pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 2e-4
        return self.now


class NullPoller:
    def poll(self, timeout: float) -> None: ...
    def subscribe(self, *args: object) -> None: ...
    def unsubscribe(self, *args: object) -> None: ...


class PerfectJournal(pysyncobj.journal.MemoryJournal):
    """Outlives its member and loses nothing."""

    commit = 1

    def setRaftCommitIndex(self, index: int) -> None:
        self.commit = index

    def getRaftCommitIndex(self) -> int:
        return self.commit


class Net:
    def __init__(self) -> None:
        self.ends: dict[str, Link] = {}
        self.queues: dict[tuple[str, str], collections.deque[bytes]] = collections.defaultdict(
            collections.deque
        )
        self.up: set[frozenset[str]] = set()

    def connect(self, a: str, b: str) -> None:
        pair = frozenset((a, b))
        if pair in self.up or a not in self.ends or b not in self.ends:
            return
        self.up.add(pair)
        self.ends[a]._onNodeConnected(Node(b))
        self.ends[b]._onNodeConnected(Node(a))

    def disconnect(self, a: str, b: str) -> None:
        if frozenset((a, b)) not in self.up:
            return
        self.up.discard(frozenset((a, b)))
        for x, y in ((a, b), (b, a)):
            self.queues[x, y].clear()
            if x in self.ends:
                self.ends[x]._onNodeDisconnected(Node(y))

    def in_flight(self, a: str, b: str) -> list[dict[str, Any]]:
        return [pickle.loads(raw) for raw in self.queues[a, b]]


class Link(Transport):
    """One member's end of all its links."""

    def __init__(self, me: str, net: Net) -> None:
        super().__init__(None, None, ())
        self.me, self.net = me, net
        net.ends[me] = self

    def send(self, node: Node, message: Any) -> bool:
        if frozenset((self.me, node.id)) not in self.net.up:
            return False
        self.net.queues[self.me, node.id].append(pickle.dumps(message))
        return True

    def destroy(self) -> None: ...


class PlainMachine(SyncObjConsumer):
    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []

    @replicated
    def put(self, command: str) -> None:
        if command.startswith("raise"):
            raise RuntimeError("a replicated method that raises")
        self.order.append(command)


class Eager(HardenedSyncObj[Commands]):
    """Stands when told to: the directed scripts say who is elected, and what they prove does not
    hang on the pre-vote."""

    def _SyncObj__connectedToAnyone(self) -> bool:
        return True


class Bench:
    """Members A, B, C ... of one kind, ``plain`` or ``hardened``."""

    def __init__(
        self, kind: str, names: str, path: Path, patch: pytest.MonkeyPatch, **options: Any
    ) -> None:
        self.kind, self.names, self.path, self.options = kind, list(names), path, options
        self.clock, self.net = Clock(), Net()
        self.members: dict[str, Any] = {}
        self.machines: dict[str, PlainMachine] = {}
        self.disks: dict[str, PerfectJournal] = {}
        self.journals: dict[str, Journal] = {}
        self.outcomes: dict[str, int | None] = {}
        self.machine = MACHINE
        patch.setattr(pysyncobj.syncobj, "monotonicTime", self.clock)
        patch.setattr(pysyncobj.syncobj, "random", random.Random(7))
        patch.setattr(pysyncobj.syncobj, "createPoller", lambda kind: NullPoller())
        patch.setattr(pysyncobj.syncobj, "createJournal", self._plain_journal)
        if kind == "plain":
            patch.setattr(pysyncobj.pickle, "load", pickle.load)
            patch.setattr(pysyncobj.pickle, "loads", pickle.loads)
            patch.setattr(pysyncobj.pickle, "dumps", lambda value: pickle.dumps(value, 2))
        for name in self.names:
            self.boot(name)

    def _plain_journal(self, name: str | None) -> Any:
        if name is None:
            return pysyncobj.journal.MemoryJournal()
        return self.disks.setdefault(name, PerfectJournal())

    # --- members ----------------------------------------------------------------------------------

    def boot(self, name: str) -> None:
        make = library_conf if self.kind == "hardened" else SyncObjConf
        conf = make(
            **{
                "autoTick": False,
                "useFork": False,
                "appendEntriesUseBatch": True,
                "logCompactionMinEntries": 10**9,
                "logCompactionMinTime": 10**9,
                "raftMinTimeout": 1,
                "raftMaxTimeout": 2,
                "appendEntriesPeriod": 0.1,
                "connectionTimeout": 10,
                "leaderFallbackTimeout": 3,
                "commandsWaitLeader": False,
                **self.options,
            }
        )
        boot = self._boot_plain if self.kind == "plain" else self._boot_hardened
        self.members[name] = boot(name, conf)

    def _boot_plain(self, name: str, conf: SyncObjConf) -> SyncObj:
        conf.journalFile, conf.fullDumpFile = name, str(self.path / f"{name}.dump")
        self.machines[name] = PlainMachine()
        others = [Node(other) for other in self.names if other != name]
        link = Link(name, self.net)
        return SyncObj(Node(name), others, conf, consumers=[self.machines[name]], transport=link)

    def _boot_hardened(self, name: str, conf: SyncObjConf) -> Eager:
        directory = self.path / name
        directory.mkdir(exist_ok=True)
        peers = frozenset(self.names) - {name}
        self.journals[name] = Journal(directory, fsync=False)
        return Eager(
            name,
            peers,
            conf,
            Link(name, self.net),  # type: ignore[arg-type]
            self.journals[name],
            SnapshotStore(directory / "snapshot", fsync=False),
            Admission(peers, True, self.clock(), 1.0),
            lambda: None,
            self.machine,
            self.clock,
            first_request_id=int(self.clock.now * 1e6),
        )

    def crash(self, name: str) -> None:
        for other in self.names:
            self.net.disconnect(name, other)
        self.net.ends.pop(name, None)
        self.members.pop(name)
        if journal := self.journals.pop(name, None):
            journal._close()

    def close(self) -> None:
        for name in list(self.members):
            self.crash(name)

    def put(self, name: str, command: str, callback: Callable[..., None] | None = None) -> None:
        self.outcomes[command] = None

        def done(result: object, reason: int) -> None:
            self.outcomes[command] = reason
            if callback is not None:
                callback(result, reason)

        if self.kind == "plain":
            self.machines[name].put(command, callback=done)
        else:
            self.members[name].append(COMMAND + command.encode(), callback=done)

    # --- time and messages ------------------------------------------------------------------------

    def tick(self, *names: str) -> None:
        for name in names:
            if name in self.members:
                self.members[name].doTick(0.0)

    def step(self, seconds: float, *names: str) -> None:
        self.clock.now += seconds
        self.tick(*names)

    def deliver(self, a: str, b: str) -> bool:
        """One message from a to b; False if there is none."""
        queue = self.net.queues[a, b]
        if not queue or b not in self.members:
            return False
        self.net.ends[b]._onMessageReceived(Node(a), pickle.loads(queue.popleft()))
        return True

    def drain(self, a: str, b: str) -> None:
        while self.deliver(a, b):
            pass

    def exchange(self, a: str, b: str) -> None:
        while self.deliver(a, b) or self.deliver(b, a):
            pass

    def run(self, seconds: float, names: str | None = None) -> None:
        chosen = list(names or self.names)
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.tick(*chosen)
            for _ in range(6):
                for a in chosen:
                    for b in chosen:
                        if a != b:
                            self.drain(a, b)
            self.clock.now += 0.05

    def connect_all(self, names: str | None = None) -> None:
        chosen = list(names or self.names)
        for a in chosen:
            for b in chosen:
                if a < b:
                    self.net.connect(a, b)

    def stand(self, name: str) -> None:
        """Its election timeout passes."""
        self.members[name]._SyncObj__raftElectionDeadline = self.clock.now - 1

    def elect(self, name: str, names: str | None = None, seconds: float = 0.8) -> None:
        self.stand(name)
        self.run(seconds, names)
        assert self.leads(name)

    # --- looking ----------------------------------------------------------------------------------

    def private(self, name: str, field: str) -> Any:
        return getattr(self.members[name], f"_SyncObj__{field}")

    def leads(self, name: str) -> bool:
        return bool(self.private(name, "raftState") == 2)

    def leader(self) -> str:
        leaders = [name for name in self.members if self.leads(name)]
        return max(leaders, key=lambda name: self.private(name, "raftCurrentTerm"))

    def applied(self, name: str) -> list[str]:
        if self.kind == "plain":
            return self.machines[name].order
        return list(self.members[name].state)

    @property
    def acknowledged(self) -> list[str]:
        return sorted(command for command, reason in self.outcomes.items() if reason == 0)

    def lost(self, name: str) -> list[str]:
        """What was acknowledged and is not in this member's state."""
        return [command for command in self.acknowledged if command not in self.applied(name)]

    def settle(self, names: str | None = None) -> str:
        """Let these members agree on one more command; their leader."""
        self.run(12, names)
        leader = self.leader()
        self.put(leader, "after")
        self.run(3, names)
        return leader
