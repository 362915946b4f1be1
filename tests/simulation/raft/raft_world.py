"""Whole members under a virtual clock in bad weather: the real code from journal to links.

Only the sockets, the clock and the threads are stood in for. Messages travel as bytes, on links
that keep their order and lose what is in flight when they break. A crash is a power cut: of what
was written to the journal without a sync, any part may be missing afterwards. A wiped disk is an
empty directory. Invariants are checked after every tick of every member:

- never two leaders in one term;
- all members apply one and the same sequence of commands, for ever (so nothing that was applied
  anywhere, which is what a proposer takes for acknowledged, is ever lost or changed);
- a member's vote is never given twice in a term, wipes included.
"""

from __future__ import annotations

import collections
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pysyncobj.syncobj
import pytest

from tiercluster.tiermap.raft.member import Member
from tiercluster.tiermap.raft.messages import Raft, decode
from tiercluster.tiermap.raft.settings import MAX_FRAME_BYTES, ReplicaSettings

from .raft_directed import MACHINE, Clock, Commands, NullPoller

STEP_S = 0.05
MAX_WIPED = 1  # at a time: more would be a majority of three


@dataclass(slots=True)
class SimWire:
    name: str
    world: World
    deliver: Callable[[str, bytes], None] = lambda sender, data: None

    def send(self, peer: str, data: bytes) -> bool:
        return self.world.send(self.name, peer, data)

    def poll(self, timeout_s: float) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Weather:
    """Odds for each step (or each message, for ``drop``)."""

    crash: float = 0.02
    blackout: float = 0.0  # a power cut of all members at once
    wipe: float = 0.0
    compact: float = 0.03
    blip: float = 0.03
    usurp: float = 0.02  # a member stands without having asked whether it would be voted for
    drop: float = 0.0
    storm: float = 0.65  # of a change of weather being for the worse
    batch_bytes: int = MAX_FRAME_BYTES + 1


@dataclass(slots=True)
class World:
    seed: int
    path: Path
    patch: pytest.MonkeyPatch
    names: tuple[str, ...] = ("a", "b", "c")
    weather: Weather = Weather()
    clock: Clock = field(default_factory=Clock)
    members: dict[str, Member[Commands]] = field(default_factory=dict)
    queues: dict[tuple[str, str], collections.deque[bytes]] = field(
        default_factory=lambda: collections.defaultdict(collections.deque)
    )
    cut: set[frozenset[str]] = field(default_factory=set)
    slow: set[tuple[str, str]] = field(default_factory=set)
    leaders: dict[int, str] = field(default_factory=dict)
    votes: dict[tuple[int, str], str] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)
    sessions: int = 0
    commands: int = 0
    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.patch.setattr(pysyncobj.syncobj, "monotonicTime", self.clock)
        self.patch.setattr(pysyncobj.syncobj, "random", random.Random(self.seed + 1))
        self.patch.setattr(pysyncobj.syncobj, "createPoller", lambda kind: NullPoller())
        for name in self.names:
            self.boot(name)

    # --- members ----------------------------------------------------------------------------------

    def boot(self, name: str) -> None:
        self.sessions += 1
        settings = ReplicaSettings(
            node_id=name,
            raft_address="127.0.0.1:1",
            peers=tuple((other, "127.0.0.1:1") for other in self.names if other != name),
            directory=self.path / name,
            cluster="sim",
            fsync=False,  # the power cuts here are ours, and kinder to the real disk
            batch_bytes=self.weather.batch_bytes,
            bootstrap_patience_s=1e9,
        )
        wire = SimWire(name, self)
        self.members[name] = Member(
            settings, MACHINE, lambda settings: wire, self.clock, self.sessions
        )
        self.checked[name] = 0

    def crash(self, name: str) -> None:
        """A power cut: any part of what was not synced may be missing."""
        self.counts["crash"] += 1
        member = self.members.pop(name)
        journal = member.consensus._SyncObj__raftLog
        durable, end = journal._durable, journal._end
        journal._broken = OSError("the power is gone")  # so that closing saves nothing
        member._closers.remove(journal._destroy)
        journal._close()
        member.close()
        with (self.path / name / "journal").open("r+b") as file:
            file.truncate(self.rng.randint(durable, end))
        for other in self.names:
            self._break(name, other)

    def wipe(self, name: str) -> None:
        self.counts["wipe"] += 1
        self.crash(name)
        shutil.rmtree(self.path / name)

    def close(self) -> None:
        for member in self.members.values():
            member.close()

    @property
    def wiped(self) -> int:
        """Members that have forgotten what they promised and have not caught up yet."""
        return sum(
            name not in self.members or not self.members[name].admission.may_vote
            for name in self.names
        )

    # --- links ------------------------------------------------------------------------------------

    def send(self, a: str, b: str, data: bytes) -> bool:
        if b not in self.members:
            return False
        if frozenset((a, b)) in self.cut or self.rng.random() < self.weather.drop:
            return True  # on its way, as far as the sender can tell
        self.queues[a, b].append(data)
        return True

    def deliver(self, a: str, b: str) -> bool:
        queue = self.queues[a, b]
        if not queue or b not in self.members:
            return False
        data = queue.popleft()
        self._note_vote(a, b, data)
        self.members[b].links.receive(a, data)
        self.check(b)
        return True

    def _note_vote(self, a: str, b: str, data: bytes) -> None:
        match decode(data):
            case Raft(body={"type": "response_vote", "term": int(term)}):
                given = self.votes.setdefault((term, a), b)
                assert given == b, f"{a} voted for {given} and for {b} in term {term}"

    def _break(self, a: str, b: str) -> None:
        self.queues[a, b].clear()
        self.queues[b, a].clear()

    # --- invariants -------------------------------------------------------------------------------

    def check(self, name: str) -> None:
        consensus = self.members[name].consensus
        if consensus.is_leader:
            leader = self.leaders.setdefault(consensus.raftCurrentTerm, name)
            assert leader == name, f"{leader} and {name} lead in term {consensus.raftCurrentTerm}"
        state = consensus.state
        for i in range(min(self.checked[name], len(state)), len(state)):
            if i < len(self.order):
                assert self.order[i] == state[i], f"{name} applied {state[i]} at {i}"
            else:
                self.order.append(state[i])
        self.checked[name] = len(state)

    # --- time -------------------------------------------------------------------------------------

    def tick(self, name: str) -> None:
        if name in self.members:
            self.members[name].tick(0.0)
            self.check(name)

    def run(self, steps: int) -> None:
        change_at = 0
        for step in range(steps):
            if step >= change_at:
                change_at = step + self.rng.randint(15, 50)
                self._change_weather()
            self._nemesis()
            self._step(0.85)

    def heal(self, limit_s: float = 60.0) -> None:
        """Everybody is back and hears everybody; then all agree on one more command."""
        self.cut.clear()
        self.slow.clear()
        self.weather = Weather(crash=0, compact=0, blip=0, usurp=0)
        for name in self.names:
            if name not in self.members:
                self.boot(name)
        last = f"last{self.seed}"
        end = self.clock.now + limit_s
        while last not in self.order or not self._all_hold_the_order():
            assert self.clock.now < end, f"no agreement in {limit_s} s: {self._standing()}"
            proposer = self.rng.choice(self.names)
            if last not in self.order and self.members[proposer].can_propose:
                self.members[proposer].propose(last.encode())
            for _ in range(10):
                self._step(1.0)

    def _all_hold_the_order(self) -> bool:
        return all(list(m.consensus.state) == self.order for m in self.members.values())

    def _standing(self) -> dict[str, tuple[object, ...]]:
        return {
            name: (m.consensus.leader_id, m.consensus.raftCurrentTerm, m.admission.phase)
            for name, m in self.members.items()
        }

    def _step(self, diligence: float) -> None:
        rng = self.rng
        self.clock.now += STEP_S
        for name in rng.sample(self.names, len(self.names)):
            if rng.random() < diligence:
                self.tick(name)
        links = [(a, b) for a in self.names for b in self.names if a != b]
        rng.shuffle(links)
        for a, b in links:
            if rng.random() < (0.03 if (a, b) in self.slow else diligence):
                for _ in range(rng.choice((1, 2, 5, 50))):
                    if not self.deliver(a, b):
                        break

    def _change_weather(self) -> None:
        rng = self.rng
        storm = rng.random() < self.weather.storm
        self.slow.clear()
        for a in self.names:
            for b in self.names:
                if a < b:
                    self.cut.discard(frozenset((a, b)))
                    if storm and rng.random() < 0.25:
                        self.cut.add(frozenset((a, b)))
                        self._break(a, b)
                if a != b and storm and rng.random() < 0.15:
                    self.slow.add((a, b))

    def _usurp(self, name: str) -> None:
        """The pre-vote makes elections rare; what it protects must hold without it."""
        consensus = self.members[name].consensus
        if consensus._admission.may_vote and not consensus.is_leader:
            consensus._prevote._asked_at = self.clock.now
            consensus._prevote._granted = set(self.names)
            consensus._SyncObj__raftElectionDeadline = 0.0

    def _nemesis(self) -> None:
        rng, weather = self.rng, self.weather
        for away in self.names:
            if away not in self.members and rng.random() < 0.08:
                self.boot(away)
        name = rng.choice(self.names)
        if rng.random() < 0.3 and name in self.members:
            for _ in range(rng.choice((1, 1, 5))):
                self.commands += 1
                self.members[name].propose(f"c{self.commands}".encode())
        if rng.random() < weather.blip:
            self._break(*rng.sample(self.names, 2))
        if rng.random() < weather.compact and name in self.members:
            self.members[name].consensus.forceLogCompaction()
        if rng.random() < weather.usurp and name in self.members:
            self._usurp(name)
        if rng.random() < weather.crash and name in self.members:
            self.crash(name)
        if rng.random() < weather.blackout:
            for each in list(self.members):
                self.crash(each)
        if rng.random() < weather.wipe and name in self.members and self.wiped < MAX_WIPED:
            self.wipe(name)
