"""What goes wrong in a simulated world: one fault after the other, each over after a while."""

from __future__ import annotations

from collections.abc import Callable

from tiercluster.node.tiers.faults import FAULT_KINDS, FaultPlan

from .checkers import Checkers
from .client_model import SimClient
from .consensus_model import Consensus
from .loop import Loop
from .network import Network
from .node_model import SimNode
from .plan import PAUSES_S, Plan
from .workload import Operators

VOTED_OUT_S = (0.6, 0.8)  # cut off for so long, a node is voted out
MOMENTS = ("taken", "taken", "answered", "told")  # of a write
KILL_S = 0.002  # after that
JOINED_S = (0.7, 1.8)  # from its return until it serves again, filled


class Nemesis:
    """Injects until `stop`, which also heals everything."""

    def __init__(self, loop: Loop, plan: Plan, network: Network, consensus: Consensus,
                 nodes: list[SimNode], clients: list[SimClient], operators: Operators,
                 checkers: Checkers) -> None:  # fmt: skip
        self._loop, self._plan = loop, plan
        self._network, self._consensus = network, consensus
        self._nodes, self._clients, self._operators = nodes, clients, operators
        self._checkers = checkers
        self._is_on = True

    def start(self) -> None:
        self._network.spikes = self._plan.spikes
        self._later()

    def stop(self) -> None:
        """No more faults; the network and the disks are well, every process runs."""
        self._is_on = False
        self._loop.note("-", "everything is healed")
        self._network.heal_all()
        for node in self._nodes:
            node.disk.plan = None
            node.thaw()
            if not node.is_up:
                node.start()
        for client in self._clients:
            client.thaw()
        self._network.look()

    def _later(self) -> None:
        delay_s = self._loop.random.expovariate(1 / self._plan.fault_every_s)
        self._loop.after(delay_s, self._next)

    def _next(self) -> None:
        if not self._is_on:
            return
        names, weights = zip(*self._plan.faults, strict=True)
        name = self._loop.random.choices(names, weights)[0]
        if name == "operator" or self._may_strike():
            if name != "operator":
                self._loop.note("-", f"fault: {name}")
            getattr(self, f"_{name}")()
        self._later()

    def _may_strike(self) -> bool:
        """In a roomy world nothing is lost: not while what a victim has is nowhere else."""
        return not self._plan.is_roomy or self._checkers.copies.are_kept_beside(self._plan.victims)

    def _heal_after(self, action: Callable[[], None], longest_s: float = 3.0) -> None:
        """``action`` later, unless everything is healed by then anyway."""
        loop = self._loop
        delay_s = min(loop.random.expovariate(1 / 0.8), longest_s)
        loop.after(delay_s, lambda: action() if self._is_on else None)

    def _node(self) -> SimNode:
        nodes = [n for n in self._nodes if n.name in self._plan.victims] or self._nodes
        return self._loop.random.choice(nodes)

    # --- processes ------------------------------------------------------------------------------

    def _crash(self) -> None:
        node = self._node()
        node.crash()
        self._heal_after(lambda: None if node.is_up else node.start())

    def _kill(self) -> None:
        """Around a write: it was taken, or answered, or its client has been told."""
        moment = self._loop.random.choice(MOMENTS)
        self._checkers.at_next_write(moment, self._kill_soon)

    def _kill_soon(self, name: str) -> None:
        node = next(node for node in self._nodes if node.name == name)
        if not self._is_on or (self._plan.victims and name not in self._plan.victims):
            return
        if not self._may_strike():
            return
        boot = node.boot
        self._loop.after(
            self._loop.uniform(0.0, KILL_S), lambda: node.crash() if node.boot == boot else None
        )
        self._heal_after(lambda: None if node.is_up else node.start())

    def _two(self) -> None:
        """The second goes while the cluster gets over the first."""
        for node in self._loop.random.sample(self._nodes, min(2, len(self._nodes))):
            boot, delay_s = node.boot, self._loop.uniform(0.0, 1.2)
            self._loop.after(
                delay_s,
                lambda node=node, boot=boot: (
                    node.crash() if self._is_on and node.boot == boot else None
                ),
            )
            self._heal_after(lambda node=node: None if node.is_up else node.start())

    def _kill_all(self) -> None:
        for node in self._nodes:
            node.crash()
            self._heal_after(lambda node=node: None if node.is_up else node.start(), 1.0)

    def _stop(self) -> None:
        node = self._node()
        node.stop()
        self._loop.after(
            self._loop.uniform(0.5, 2.0),
            lambda: node.start() if self._is_on and not node.is_up else None,
        )

    def _stop_all(self) -> None:
        """One after the other, as a whole cluster is shut down, and started again."""
        for node in self._nodes:
            at_s, boot = self._loop.uniform(0.0, 1.5), node.boot
            self._loop.after(at_s, self._stop_one, node, boot)
            self._loop.after(
                at_s + self._loop.uniform(0.5, 2.5),
                lambda node=node: node.start() if self._is_on and not node.is_up else None,
            )

    def _stop_one(self, node: SimNode, boot: int) -> None:
        if self._is_on and node.boot == boot:
            node.stop()

    def _pause(self) -> None:
        node = self._node()
        node.pause()
        self._loop.after(self._loop.random.choice(PAUSES_S), node.thaw)

    def _pause_many(self) -> None:
        for node in self._nodes:
            if self._loop.chance(0.6):
                node.pause()
                self._loop.after(self._loop.uniform(0.3, 2.0), node.thaw)

    def _pause_client(self) -> None:
        client = self._loop.random.choice(self._clients)
        client.pause()
        self._network.look()
        self._loop.after(self._loop.uniform(0.1, 2.0), client.thaw)

    # --- network --------------------------------------------------------------------------------

    def _cut_all(self, paths: list[tuple[str, str]]) -> None:
        for source, target in paths:
            self._network.cut(source, target)
        self._heal_after(lambda: [self._network.heal(a, b) for a, b in paths] and None)

    def _isolate(self) -> None:
        name = self._node().name
        others = [n.name for n in self._nodes if n.name != name]
        if self._loop.chance(0.4):
            others += [c.name for c in self._clients]
        self._cut_all([(name, o) for o in others] + [(o, name) for o in others])

    def _pair(self) -> tuple[str, str]:
        names = [n.name for n in self._nodes]
        a, b = self._loop.random.sample(names, 2) if len(names) > 1 else (names[0], "c1")
        return a, b

    def _cut(self) -> None:
        a, b = self._pair()
        self._cut_all([(a, b), (b, a)])

    def _flap(self) -> None:
        """A link that is cut and heals, and is cut again."""
        a, b = self._pair()
        at = 0.0
        for turn in range(self._loop.random.randint(3, 9)):
            change = self._network.heal if turn % 2 else self._network.cut
            self._loop.after(at, self._flip, change, a, b)
            at += self._loop.uniform(0.03, 0.7)
        self._loop.after(at, self._flip, self._network.heal, a, b)

    def _flip(self, change: Callable[[str, str], None], a: str, b: str) -> None:
        if self._is_on:
            change(a, b)
            change(b, a)

    def _one_way(self) -> None:
        a, b = self._pair()
        paths = [(a, b)]
        if self._loop.chance(0.5):  # nobody hears it, or it hears nobody
            others = [n.name for n in self._nodes if n.name != a]
            outward = self._loop.chance(0.5)
            paths = [(a, o) if outward else (o, a) for o in others]
        self._cut_all(paths)

    def _halves(self) -> None:
        hosts = [n.name for n in self._nodes] + [c.name for c in self._clients]
        left = [h for h in hosts if self._loop.chance(0.5)]
        right = [h for h in hosts if h not in left]
        self._cut_all([p for a in left for b in right for p in ((a, b), (b, a))])

    def _cut_client(self) -> None:
        client, node = self._loop.random.choice(self._clients).name, self._node().name
        one_way = self._loop.random.choice(([(client, node)], [(node, client)]))
        self._cut_all(one_way if self._loop.chance(0.5) else [(client, node), (node, client)])

    def _past(self) -> None:
        """A node is voted out and comes back while what clients have sent it is under way."""
        loop, network, name = self._loop, self._network, self._node().name
        others = [n.name for n in self._nodes if n.name != name]
        around = [(name, o) for o in others] + [(o, name) for o in others]
        before = [(client.name, name) for client in self._clients]
        for source, target in around + before:
            network.cut(source, target)
        back_s = loop.uniform(*VOTED_OUT_S)
        loop.after(back_s, lambda: [network.heal(a, b) for a, b in around] and None)
        back_s += loop.uniform(*JOINED_S)
        loop.after(back_s, lambda: [network.heal(a, b) for a, b in before] and None)

    def _slow(self) -> None:
        a, b = self._pair()
        self._network.slow(a, b, self._loop.uniform(0.02, 0.6))
        self._heal_after(lambda: self._network.slow(a, b, 0.0))

    # --- the rest -------------------------------------------------------------------------------

    def _depose(self) -> None:
        self._consensus.depose()

    def _disk(self) -> None:
        node = self._node()
        kind = self._loop.random.choice(FAULT_KINDS)
        ms = self._loop.uniform(50.0, 1500.0)
        node.disk.plan = FaultPlan(kind, ms, self._loop.random.choice((0.2, 0.5, 1.0)))
        self._loop.note(node.name, f"has a disk that is sick: {node.disk.plan}")

        def well() -> None:
            node.disk.plan = None

        self._heal_after(well, 2.0)

    def _operator(self) -> None:
        self._operators.act()
