"""One simulated world: made from a plan, made rough for a while, healed, and looked at.

join --> rough: faults, clients, operators --> healed: all must be well again after a while
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import tiercluster.cluster.ring
import tiercluster.cluster.session
import tiercluster.node.keeping
from tiercluster.cluster.plan import GetOp, StoreOp
from tiercluster.cluster.wire import Mode
from tiercluster.tiermap import NodeState, TierState

from .checkers import Call, Checkers, Violation
from .client_model import SimClient
from .consensus_model import Consensus
from .loop import Loop
from .nemesis import Nemesis
from .network import Network
from .node_model import SimNode
from .plan import RECOVERY, Plan, plan_of, settings_of
from .workload import TIMEOUTS_S, Operators, Workload

SLOTS = 64  # instead of 16384: nothing depends on it but the time that a new ring takes
JOIN_S = 12.0
WELL_S = 9.0  # until all must be well after everything is healed
DECIDED_S = 9.0  # until it is certain what became of each thing that operators asked for
CALM_S = 0.5
AGREE_S = 3.0  # until all copies are there after the last change
APART_S = 2.5  # until nobody waits for a node that its owner does not reach


@contextmanager
def small_ring(seed: int) -> Iterator[None]:
    """Fewer slots, calls that ask no longer than any here does, the client's jitter from the
    seed."""
    changed: list[tuple[Any, str, object]] = []
    for name in sorted(sys.modules):
        if name.startswith("tiercluster."):
            module = sys.modules[name]
            for constant, value in (("SLOTS", SLOTS), ("SLOT_MASK", SLOTS - 1)):
                if hasattr(module, constant):
                    changed.append((module, constant, getattr(module, constant)))
                    setattr(module, constant, value)
    ring: Any = tiercluster.cluster.ring
    changed.append((ring, "_SLOT_BYTES", ring._SLOT_BYTES))
    ring._SLOT_BYTES = ring._SLOT_BYTES[:SLOTS]
    keeping: Any = tiercluster.node.keeping
    changed.append((keeping, "NEW_S", keeping.NEW_S))
    keeping.NEW_S = max(TIMEOUTS_S) + 0.5
    session: Any = tiercluster.cluster.session
    changed.append((session, "random", session.random))
    session.random = Random(f"jitter {seed}")
    try:
        yield
    finally:
        for module, constant, value in reversed(changed):
            setattr(module, constant, value)


FORGOTTEN_S = 3.0  # after which no figure of a sick disk is held against it


class World:
    """``run`` raises Violation, or returns when all is well."""

    def __init__(self, seed: int, keeps_trace: bool = False, plan: Plan | None = None) -> None:
        self.plan = plan or plan_of(seed)
        self.loop = Loop(seed, keeps_trace)
        with small_ring(seed):
            self._make()

    def _make(self) -> None:
        self.network = Network(self.loop)
        plan = self.plan
        self.checkers = Checkers(self.loop, plan.keys + plan.fillers, RECOVERY, plan.write_ack,
                                 plan.is_roomy)  # fmt: skip
        self.consensus = Consensus(self.loop, self.network, self.checkers.committed)
        self.consensus.lags = self.plan.lags
        self.nodes = [self._node(name) for name in self.plan.names]
        self.checkers.nodes = self.checkers.copies.nodes = self.nodes
        self.clients = [self._client(i) for i in range(self.plan.clients)]

    def _node(self, name: str) -> SimNode:
        node = SimNode(self.loop, self.network, self.consensus, self.checkers,
                       settings_of(self.plan, name), self.plan.uses_wire,
                       self.plan.slow_close_s)  # fmt: skip
        self.consensus.seat(node)
        return node

    def _client(self, index: int) -> SimClient:
        seeds = tuple(f"sim:{name}" for name in self.plan.names)
        return SimClient(self.loop, self.network, self.checkers, f"c{index + 1}", seeds)

    def run(self) -> None:
        with small_ring(self.plan.seed):
            self._join()
            workload = Workload(self.loop, self.plan, self.clients, self.checkers)
            operators = Operators(self.loop, self.plan, self.clients)
            nemesis = Nemesis(self.loop, self.plan, self.network, self.consensus, self.nodes,
                              self.clients, operators, self.checkers)  # fmt: skip
            nemesis.start()
            self.loop.run(self.loop.now + self.plan.rough_s)
            nemesis.stop()
            workload.stop()
            self._get_well(operators)
            self._prove()
            if self.plan.ends_apart:
                self._prove_apart()

    def _join(self) -> None:
        self.consensus.start()
        for node in self.nodes:
            self.loop.after(self.loop.uniform(0.0, 0.3), node.start)
        self._wait(self._has_begun, JOIN_S, "joining")

    def _has_begun(self) -> bool:
        """What can be missed in no world with room for all is kept from the start: a cluster may
        begin without copies, at the lowest level."""
        is_copied = self.consensus.state.map.copies > 1
        return self._is_well() and (is_copied or not self.plan.is_roomy)

    def _wait(self, is_so: Any, longest_s: float, what: str) -> None:
        until = self.loop.now + longest_s
        while not is_so():
            if self.loop.now >= until:
                raise Violation("gets well", f"{what}: {self._why_not()}")
            self.loop.run(self.loop.now + 0.1)

    def _get_well(self, operators: Operators) -> None:
        """Operators wait for what they asked for last, restart what was removed, and put
        everything back in service."""
        healed_at = self.loop.now
        self.loop.run(healed_at + (FORGOTTEN_S if self.plan.compares else 0.6))
        self._wait(
            lambda: not operators.is_waiting(self.consensus, healed_at), DECIDED_S, "operators"
        )
        tier_map = self.consensus.state.map
        for node in self.nodes:
            member = tier_map.member(node.name)
            if not node.is_up or member is None or member.state is NodeState.LEFT:
                node.crash()
                node.start()
            operators.restore(node.name)
        # A clean stop that was asked for just before may still be under way.
        self.loop.run(self.loop.now + (3.0 if self.plan.slow_close_s else 0.8))
        for node in self.nodes:
            if not node.is_up:
                node.start()
            operators.restore(node.name)
        self._wait(self._is_well, WELL_S, "after everything was healed")
        self.loop.run(self.loop.now + CALM_S)

    # --- being well -----------------------------------------------------------------------------

    def _is_well(self) -> bool:
        return not self._why_not()

    def _why_not(self) -> str:
        state = self.consensus.state
        for node in self.nodes:
            member = state.map.member(node.name)
            if not node.is_up or member is None or member.state is not NodeState.UP:
                return f"{node.name} is {member.state if member else 'no member'}"
            for record in member.tiers:
                if record.state is not TierState.UP or record.suspect:
                    return f"{node.name}/{record.tier} is {record.state} {record.reason}"
            front: Any = node.front
            if front._map is not state.map:
                return f"{node.name} uses map {front._map.version} of {state.map.version}"
            serving, why = front._serving(node.clock())
            if not serving or not front._ownership.is_settled:
                return f"{node.name} does not serve: {why}"
        return self.checkers.copies.why_not_whole()

    def _prove(self) -> None:
        """Every client writes and reads every key, without an error."""
        self._call_all()
        self.loop.run(self.loop.now + CALM_S)
        # The last of what was decided may have come just now, and copies follow.
        self._wait(self._is_well, AGREE_S, "and stays so")
        self.checkers.promises.judge_counts()
        self.checkers.copies.compare(self.plan.is_roomy)

    def _call_all(self) -> None:
        self._proofs: list[Call] = []
        for round_ in range(2):
            for client in self.clients:
                for index, key in enumerate(self.plan.keys):
                    self.loop.after(0.01 * index, self._prove_one, client, key, round_)
            self.loop.run(self.loop.now + 0.1 + 0.01 * len(self.plan.keys))
            until = self.loop.now + 1.1
            while any(client.busy for client in self.clients) and self.loop.now < until:
                self.loop.run(self.loop.now + 0.05)
        failed = [str(call) for call in self._proofs if call.outcome != "ok"]
        if failed:
            raise Violation("gets well", f"but calls fail: {failed}")

    def _prove_apart(self) -> None:
        """Two nodes do not reach each other, and all others do: after a while nobody waits. Not
        the leader: who does not hear it follows another member, by a worker that is not here."""
        followers = [name for name in self.plan.names if name != self.consensus.leader]
        names = self.loop.random.sample(followers, 2)
        for source, target in names, names[::-1]:
            self.network.cut(source, target)
        self.loop.note("-", f"{names} do not reach each other")
        self.loop.run(self.loop.now + APART_S)
        self._call_all()

    def _prove_one(self, client: SimClient, key: bytes, round_: int) -> None:
        call = Call(client.name, "get" if round_ else "set", key)
        self._proofs.append(call)
        if round_:
            client.begin(GetOp([key], meta=True), call, 1.0)
        else:
            call.value = b"=%s %s" % (client.name.encode(), key)
            client.begin(StoreOp(Mode.SET, [key], [call.value], b"\1", None), call, 1.0)
