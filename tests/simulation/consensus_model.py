"""Consensus as a total order of commands: what Raft promises, and no more than that.

    proposed --reaches a leader with a majority--> committed --reaches each member--> applied there
        +-- lost, committed long after, or committed twice

A leader that loses its majority cannot commit; another is elected after a while. A member that was
away catches up late and in steps. The log outlives every process. It is the fast stand-in for the
replica of `tiermap.raft`, whose own simulation is in `tests/simulation/raft`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tiercluster.tiermap import (
    LEVEL,
    Barrier,
    Command,
    MapState,
    apply,
    decode_command,
    encode_command,
)
from tiercluster.tiermap.raft.events import Applied, BarrierDone, ReplicaEvent, Standing

from .loop import Loop
from .network import Network

TICK_S = 0.08
ELECTION_S = (0.4, 0.9)
FALLBACK_S = 0.8  # without a leader's majority for so long: no quorum
BARRIER_S = 2.0
BARRIER_AGAIN_S = 0.3
COMMIT_S = (0.001, 0.008)
LATEST_S = 3.0  # that a proposal is committed after its leader lost its majority


class Voter(Protocol):
    """A member with its replica thread."""

    name: str
    boot: int

    @property
    def is_up(self) -> bool: ...

    @property
    def is_running(self) -> bool: ...

    def replica_says(self, event: ReplicaEvent[MapState]) -> None: ...


@dataclass(slots=True)
class Seat:
    """What one member has applied."""

    voter: Voter
    applied: int = 0
    told: Standing | None = None
    heard_at: float = 0.0  # when a leader with a majority was last heard
    barriers: list[tuple[str, int]] = field(default_factory=list)  # committed: token and index
    waiting: dict[str, None] = field(default_factory=dict)  # tokens not yet answered
    lags_until: float = 0.0


class Consensus:
    """``committed`` is called with each new state, at the moment of its commit."""

    def __init__(self, loop: Loop, network: Network,
                 committed: Callable[[Command, MapState], None]) -> None:  # fmt: skip
        self._loop = loop
        self._network = network
        self._committed = committed
        self.seats: dict[str, Seat] = {}
        self.log: list[Command] = []
        self.states: list[MapState] = [MapState()]  # states[k]: after k commands
        self.leader: str | None = None
        self.term = 0
        self._under_way: Counter[str] = Counter()  # command ids
        self._election_at = 0.0
        self.level = LEVEL  # what a majority of the voters speaks
        self.losses = 0.02  # of proposals on their way
        self.late = 0.3  # of those whose leader lost its majority: committed later all the same
        self.doubles = 0.05
        self.lags = 0.03  # that a member is late with a command

    def seat(self, voter: Voter) -> None:
        self.seats[voter.name] = Seat(voter)

    def start(self) -> None:
        self._loop.after(self._loop.uniform(0.05, 0.3), self._tick)

    @property
    def state(self) -> MapState:
        """The newest committed."""
        return self.states[-1]

    # --- leadership -----------------------------------------------------------------------------

    def _is_running(self, name: str) -> bool:
        voter = self.seats[name].voter
        return voter.is_up and voter.is_running

    def _hears(self, source: str, target: str) -> bool:
        if source == target:
            return True
        return self._is_running(target) and not self._network.is_cut(source, target)

    def has_majority(self, name: str) -> bool:
        if not self._is_running(name):
            return False
        near = sum(self._hears(name, other) and self._hears(other, name) for other in self.seats)
        return 2 * near > len(self.seats)

    def depose(self) -> None:
        """The leader steps down for no visible reason."""
        self.leader = None
        self._election_at = self._loop.now + self._loop.uniform(*ELECTION_S)

    def _tick(self) -> None:
        loop = self._loop
        if self.leader is not None and not self.has_majority(self.leader):
            loop.note(self.leader, "has no majority any more")
            self.depose()
        if self.leader is None and loop.now >= self._election_at:
            able = [name for name in self.seats if self.has_majority(name)]
            if able:
                self.leader, self.term = loop.random.choice(able), self.term + 1
                loop.note(self.leader, f"leads, term {self.term}")
            self._election_at = loop.now + loop.uniform(*ELECTION_S)
        for seat in self.seats.values():
            self._stand(seat)
            self._sync(seat)
        loop.after(TICK_S, self._tick)

    def _stand(self, seat: Seat) -> None:
        voter, leader = seat.voter, self.leader
        if not self._is_running(voter.name):
            return
        if leader is not None and self._hears(leader, voter.name):
            seat.heard_at = self._loop.now
            standing = Standing(leader, leader == voter.name, True, self.term, self.level)
        elif self._loop.now - seat.heard_at < FALLBACK_S:
            return
        else:
            standing = Standing(None, False, False, self.term, self.level)
        if standing != seat.told:
            seat.told = standing
            voter.replica_says(standing)

    # --- proposals ------------------------------------------------------------------------------

    def propose(self, node: str, frame: bytes) -> None:
        """Nothing is said about what becomes of it; the applied state tells."""
        command = decode_command(frame)
        assert encode_command(command) == frame
        self._send(node, command, None)

    def barrier(self, node: str, token: str) -> None:
        """Ends in BarrierDone."""
        seat = self.seats[node]
        boot = seat.voter.boot
        seat.waiting[token] = None
        self._try_barrier(seat, boot, token)
        self._loop.after(BARRIER_S, self._barrier_late, seat, boot, token)

    def _try_barrier(self, seat: Seat, boot: int, token: str) -> None:
        if seat.voter.boot != boot or token not in seat.waiting:
            return
        if self._is_running(seat.voter.name):
            name = seat.voter.name
            self._send(name, Barrier(id=f"barrier:{token}", by=name), token)
        self._loop.after(BARRIER_AGAIN_S, self._try_barrier, seat, boot, token)

    def _send(self, node: str, command: Command, token: str | None) -> None:
        leader = self.leader
        if leader is None or not self._hears(node, leader) or self._loop.chance(self.losses):
            self._loop.note(node, f"proposes in vain: {type(command).__name__}")
            return
        delay_s = 0.001 if leader == node else self._network.delay(node, leader)
        self._later(delay_s, self._arrive, node, command, token, self.term)

    def _later(self, delay_s: float, action: Callable[..., None], node: str, command: Command,
               *args: object) -> None:  # fmt: skip
        self._under_way[command.id] += 1
        self._loop.after(delay_s, action, node, command, *args)

    def _came(self, command: Command) -> None:
        self._under_way[command.id] -= 1

    def is_under_way(self, command_id: str) -> bool:
        """Whether a copy of the command may still be committed, as far as it was proposed."""
        return self._under_way[command_id] > 0

    def _arrive(self, node: str, command: Command, token: str | None, term: int) -> None:
        loop = self._loop
        self._came(command)
        if self.leader is None or self.term != term or not self.has_majority(self.leader):
            if loop.chance(self.late):
                self._later(loop.uniform(0.05, LATEST_S), self._commit_late, node, command)
            return
        self._later(loop.uniform(*COMMIT_S), self._commit, node, command, token)
        if loop.chance(self.doubles):
            self._later(loop.uniform(0.0, 1.0), self._commit_late, node, command)

    def _commit_late(self, node: str, command: Command) -> None:
        self._came(command)
        if self.leader is None or not self.has_majority(self.leader):
            self._later(0.5, self._commit_late, node, command)
        else:
            self._append(node, command, None)

    def _commit(self, node: str, command: Command, token: str | None) -> None:
        self._came(command)
        self._append(node, command, token)

    def _append(self, node: str, command: Command, token: str | None) -> None:
        if self.leader is None or not self.has_majority(self.leader):
            return
        before = self.state
        after = apply(before, command)
        self.log.append(command)
        self.states.append(after)
        self._committed(command, after)
        if token is not None:
            self.seats[node].barriers.append((token, len(self.log)))
        for seat in self.seats.values():
            if self._hears(self.leader, seat.voter.name):
                delay_s = self._network.delay(self.leader, seat.voter.name)
                if self._loop.chance(
                    self.lags
                ):  # this member's replica is busy with something else
                    seat.lags_until = self._loop.now + self._loop.uniform(0.05, 0.8)
                self._loop.after(delay_s, self._sync, seat)

    # --- applying -------------------------------------------------------------------------------

    def _sync(self, seat: Seat) -> None:
        """What the leader has told this member by now."""
        loop, name = self._loop, seat.voter.name
        if self.leader is None or not self._is_running(name) or loop.now < seat.lags_until:
            return
        if not self._hears(self.leader, name):
            return
        last = len(self.log)
        if seat.applied < last:
            target = last
            if last - seat.applied > 1 and loop.chance(0.3):
                target = loop.random.randint(seat.applied + 1, last)
                loop.after(loop.uniform(0.001, 0.2), self._sync, seat)
            before = self.states[seat.applied]
            seat.applied = target
            if self.states[target] is not before:
                seat.voter.replica_says(Applied(self.states[target]))
        while seat.barriers and seat.barriers[0][1] <= seat.applied:
            token, _ = seat.barriers.pop(0)
            if token in seat.waiting:
                del seat.waiting[token]
                seat.voter.replica_says(BarrierDone(token, ok=True))

    def _barrier_late(self, seat: Seat, boot: int, token: str) -> None:
        if seat.voter.boot == boot and token in seat.waiting:
            del seat.waiting[token]
            seat.voter.replica_says(BarrierDone(token, ok=False))

    def restarted(self, name: str) -> None:
        """A process starts: it knows its snapshot and a part of its journal, then catches up."""
        seat = self.seats[name]
        seat.applied = self._loop.random.randint(0, seat.applied)
        seat.told, seat.heard_at, seat.lags_until = None, self._loop.now, 0.0
        seat.barriers, seat.waiting = [], {}
        if seat.applied:
            seat.voter.replica_says(Applied(self.states[seat.applied]))
