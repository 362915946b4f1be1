"""What the clients of a simulated world ask for, and what its operators do."""

from __future__ import annotations

from collections.abc import Callable

from tiercluster.cluster.keys import Space
from tiercluster.cluster.plan import (
    DeleteOp,
    GetOp,
    IncrOp,
    NodeOp,
    OnceStoreOp,
    Operation,
    StoreOp,
    TouchOp,
)
from tiercluster.cluster.wire import Fault, Incr, Kind, Mode, Propose
from tiercluster.node.admin import DECIDE_S
from tiercluster.node.tiers.faults import FAULT_KINDS
from tiercluster.tiermap import (
    TIERS,
    Command,
    Drain,
    RemoveNode,
    Restore,
    encode_command,
    outcome_of,
)

from .checkers import Checkers
from .clearing import Clearing
from .client_model import SimClient
from .consensus_model import Consensus
from .loop import Loop
from .plan import NAMESPACES, PAUSES_S, Plan
from .promises import FIRST, Call

ADMIN_S = 1.0  # for a request of an operator
AGAIN_S = 0.5  # until an operator tries again what failed, for up to PATIENCE_S
PATIENCE_S = 4.0
MOST_BUSY = 4  # calls of one client under way
TIMEOUTS_S = (0.3, 1.0, 1.0, 3.0)
PROPOSED_S = DECIDE_S + 0.5  # for so long a node may go on proposing what it was just asked for
COUNTERS = 4  # each so many-th key is a counter
CLEARS = 0.008  # of all calls
KINDS = ("get", "get_many", "set", "set_many", "delete", "add", "replace", "cas")
WEIGHTS = (40, 10, 25, 5, 6, 4, 4, 6)
TOUCHES = ("touch", "delete_version")  # where the plan has them
THEIR_WEIGHTS = (30, 15)


class Workload:
    """Keeps the clients busy until `stop`."""

    def __init__(self, loop: Loop, plan: Plan, clients: list[SimClient],
                 checkers: Checkers) -> None:  # fmt: skip
        self._loop = loop
        self._plan = plan
        self._clients = clients
        self._checkers = checkers
        self._counters = plan.keys[::COUNTERS]
        self._fillers = plan.fillers
        self._plain = tuple(k for k in plan.keys if k not in self._counters)
        self._count = 0
        self._seen: dict[bytes, int] = {}  # a version that was read lately, for cas
        self._is_on = True
        self._kinds, self._weights = KINDS, WEIGHTS
        if plan.touches:
            self._kinds, self._weights = KINDS + TOUCHES, WEIGHTS + THEIR_WEIGHTS
        for client in clients:
            self._later(client)

    def stop(self) -> None:
        self._is_on = False

    def _later(self, client: SimClient) -> None:
        delay_s = self._loop.random.expovariate(1 / self._plan.call_every_s)
        self._loop.after(delay_s, self._next, client)

    def _next(self, client: SimClient) -> None:
        if not self._is_on:
            return
        if client.busy < MOST_BUSY and client.is_running:
            self.call(client)
        self._later(client)

    def call(self, client: SimClient) -> None:
        """One call of any kind."""
        random = self._loop.random
        timeout_s = random.choice(TIMEOUTS_S)
        operation: Operation
        if random.random() < CLEARS:
            self._clear(client)
            return
        if random.random() < 0.3:
            operation, call = self._filler_call(client)
        elif random.random() < self._plan.counts:
            key = random.choice(self._counters)
            if random.random() < 0.05:
                operation = DeleteOp([key])
                call = Call(client.name, "delete", key)
            else:
                operation = IncrOp(Incr(key, 1, FIRST, None))
                call = Call(client.name, "incr", key)
        else:
            operation, call = self._plain_call(
                client, random.choices(self._kinds, self._weights)[0]
            )
        client.begin(operation, call, timeout_s, self._ended)

    def _clear(self, client: SimClient) -> None:
        space = Space(self._loop.random.choice(NAMESPACES))
        keys = [key for key in self._plan.keys if key.startswith(space.prefix)]
        if keys:
            Clearing(client, self._checkers, space, keys).begin()

    def _filler_call(self, client: SimClient) -> tuple[Operation, Call]:
        """Many keys at once, so that the memory of the nodes is full."""
        random, name = self._loop.random, client.name
        keys = random.sample(self._fillers, 12)
        if random.random() < 0.5:
            return GetOp(keys, meta=True), _batch(name, "get", keys)
        call = _batch(name, "set", keys)
        for part in call.parts:
            part.value = self._value() + random.randbytes(700)
        return _store(keys, call), call

    def _ended(self, call: Call) -> None:
        if call.kind == "get" and call.version and not call.parts:
            self._seen[call.key] = call.version

    def _plain_call(self, client: SimClient, kind: str) -> tuple[Operation, Call]:
        random, name = self._loop.random, client.name
        key = random.choice(self._plain)
        match kind:
            case "get":
                # Without meta the node takes its shortest way; the answer then has no version.
                return GetOp([key], meta=random.random() < 0.6), Call(name, "get", key)
            case "get_many":
                keys = random.sample(self._plan.keys, min(5, len(self._plan.keys)))
                return GetOp(keys, meta=True), _batch(name, "get", keys)
            case "delete":
                return DeleteOp([key]), Call(name, "delete", key)
            case "delete_version":
                version = self._seen.get(key, 1)
                return DeleteOp([key], version), Call(name, kind, key, expected=version)
            case "touch":
                ttl = random.uniform(0.05, 1.5) if random.random() < 0.7 else None
                return TouchOp([key], ttl), Call(name, kind, key, ttl=ttl)
            case "set_many":
                keys = random.sample(self._plain, min(4, len(self._plain)))
                call = _batch(name, "set", keys)
                for part in call.parts:
                    part.value = self._value()
                return _store(keys, call), call
            case "cas":
                call = Call(name, "cas", key, self._value(), None, self._seen.get(key, 0))
                cas = OnceStoreOp(Mode.CAS, [key], [call.value], b"\1", None, call.expected)
                return cas, call
            case _:
                ttl = random.uniform(0.05, 1.5) if random.random() < 0.25 else None
                call = Call(name, kind, key, self._value(), ttl)
                mode, once = Mode[kind.upper()], OnceStoreOp if kind != "set" else StoreOp
                return once(mode, [key], [call.value], b"\1", ttl), call

    def _value(self) -> bytes:
        """Unlike any other; of any length."""
        self._count += 1
        return b"#%d;" % self._count + self._loop.random.randbytes(
            self._loop.random.choice((3, 100, 400, 900))
        )


def _batch(name: str, kind: str, keys: list[bytes]) -> Call:
    return Call(name, kind, keys[0], parts=[Call(name, kind, key) for key in keys])


class Operators:
    """People at a keyboard, through any client."""

    def __init__(self, loop: Loop, plan: Plan, clients: list[SimClient]) -> None:
        self._loop = loop
        self._plan = plan
        self._clients = clients
        self._count = 0
        self._asked: dict[str, float] = {}  # ids of what takes something out, and when

    def act(self) -> None:
        """Something an operator may do at any time."""
        random = self._loop.random
        node = random.choice(self._plan.names)
        tiers = tuple(TIERS) if random.random() < 0.25 else (random.choice(TIERS),)
        force = random.random() < 0.2
        what = random.choices(("drain", "restore", "remove", "fault", "clear"),
                              (4, 4, 1, 4, 2))[0]  # fmt: skip
        match what:
            case "drain":
                self.propose(Drain(**self._envelope(), node=node, tiers=tiers, force=force))
            case "restore":
                self.propose(Restore(**self._envelope(), node=node, tiers=tiers))
            case "remove":
                self.propose(RemoveNode(**self._envelope(), node=node, force=force))
            case "fault":
                kind = random.choice(FAULT_KINDS)
                fault = Fault(tiers[0], kind, random.uniform(20.0, 600.0), random.choice((0.3, 1)))
                self._ask(Kind.FAULT, node, fault)
            case _:
                for tier in TIERS:
                    self._ask(Kind.FAULT, node, Fault(tier, "", 0.0, 1.0))

    def restore(self, node: str) -> None:
        """Put everything on the node back; who is told that it did not work tries again."""
        for tier in TIERS:
            self._ask(Kind.FAULT, node, Fault(tier, "", 0.0, 1.0))
        self._restore(node, self._loop.now + PATIENCE_S)

    def _restore(self, node: str, until: float) -> None:
        def ended(call: Call) -> None:
            if call.outcome != "ok" and self._loop.now < until:
                self._loop.after(AGAIN_S, self._restore, node, until)

        self.propose(Restore(**self._envelope(), node=node, tiers=tuple(TIERS)), ended)

    def _envelope(self) -> dict[str, object]:
        self._count += 1
        return {"id": f"op-{self._count}", "by": "operator", "time": self._loop.now}

    def is_waiting(self, consensus: Consensus, healed_at: float) -> bool:
        """Whether something that was asked for is undecided and may still be committed. A node
        that was stopped may hold it, and propose it when everything is healed."""
        self._asked = {
            id: at for id, at in self._asked.items() if not outcome_of(consensus.state, id)
        }
        return any(
            consensus.is_under_way(id) or self._may_be_proposed(at, healed_at)
            for id, at in self._asked.items()
        )

    def _may_be_proposed(self, asked_at: float, healed_at: float) -> bool:
        answered_at = asked_at + ADMIN_S
        if answered_at + max(PAUSES_S) > healed_at:
            answered_at = max(answered_at, healed_at)
        return self._loop.now < answered_at + PROPOSED_S

    def propose(self, command: Command, done: Callable[[Call], None] | None = None) -> None:
        """Through any node that a client reaches."""
        if not isinstance(command, Restore):
            self._asked[command.id] = self._loop.now
        node = self._loop.random.choice(self._plan.names)
        self._ask(Kind.PROPOSE, node, Propose(encode_command(command)), done)

    def _ask(self, kind: Kind, node: str, fields: Fault | Propose,
             done: Callable[[Call], None] | None = None) -> None:  # fmt: skip
        client = self._loop.random.choice(self._clients)
        said = getattr(fields, "kind", "") or ""
        tier = getattr(fields, "tier", "")
        call = Call(client.name, f"{kind.name.lower()} {node}/{tier} {said}", b"-admin")
        client.begin(NodeOp(kind, node, fields), call, ADMIN_S, done)


def _store(keys: list[bytes], call: Call) -> StoreOp:
    values = [part.value for part in call.parts]
    return StoreOp(Mode.SET, keys, values, b"\1" * len(values), None)
