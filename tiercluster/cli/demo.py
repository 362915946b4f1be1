"""`tiercluster demo`: real traffic on a real cluster, which loses a real tier and gets it back."""

from __future__ import annotations

import gzip
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

import click

from tiercluster.cluster.admin import Admin
from tiercluster.cluster.client import Client
from tiercluster.tiermap import Health, TierMap, TierRecord, TierRef, TierState

from . import dev
from .demo_disk import Disk, Injected, real_disk
from .demo_ledger import PHASES, Database, Findings, Moments, shares, total
from .demo_traffic import Auditor, Player, Stage, Worker
from .demo_view import Teller, account
from .exits import Code, Stop
from .options import json_flag
from .ports import port_problem
from .processes import Ended, NodePlan, Nodes, Ready, how_it_ended, last_line
from .rendering import print_json

REF = TierRef.parse("n2/cold")
PLAYERS = 3
# Small memory tiers: most of the trace's 26 MB must live in the cold tiers.
SIZES = ("--hot", "1MiB", "--warm", "1MiB", "--cold", "64MiB", "--allow-faults")
LOWEST_PORT, HIGHEST_PORT = 15_000, 32_000  # below the ephemeral range
READY_S, FAILOVER_S, RETURN_S = 20.0, 15.0, 30.0
WARM_UP_S, STEADY_S, DURING_S = 12.0, 4.0, 4.0  # the first ends with the trace, if sooner
REQUESTS = 10_000  # of the trace, then from its start again
NOTICE_S = 2.0  # for the last client to route around


@click.command()
@click.option(
    "--inject", is_flag=True, help="Use the fault hook even where a disk can be broken for real."
)
@json_flag
@click.pass_context
def demo(ctx: click.Context, inject: bool, as_json: bool) -> None:
    """Start three nodes, play a real key trace, break a disk, watch it fail over and recover.

    Everything is below a temporary directory, on free ports of this machine, and is cleaned up.
    Exits 0 if no read failed, none was stale, and the tier failed over and came back.

    \b
    Example:
      tiercluster demo
      tiercluster demo --json
    """
    teller = Teller(to_stderr=as_json)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tiercluster-")))
        # First of all: user namespaces are given only to a process without threads.
        disk = None if inject else real_disk(directory / REF.node / REF.tier, directory)
        if disk is not None:
            stack.callback(disk.close)
        cluster = dev.plans(3, free_base_port(), directory, SIZES)
        _start(cluster, stack, teller)
        findings = Show(cluster, disk, teller).run()
    if as_json:
        print_json(findings.document())
    else:
        account(findings)
    ctx.exit(Code.DONE if findings.is_good else Code.FAILED)


def free_base_port() -> int:
    """A port from which on all that a local cluster of three takes are free."""
    offsets = [o + i for o in (0, dev.RAFT_OFFSET, dev.HTTP_OFFSET) for i in range(3)]
    for base in random.sample(range(LOWEST_PORT, HIGHEST_PORT), 200):
        if not any(port_problem(f"{dev.HOST}:{base + offset}") for offset in offsets):
            return base
    raise Stop(Code.FAILED, "found no free ports for three nodes")


def _start(cluster: Sequence[NodePlan], stack: ExitStack, teller: Teller) -> None:
    nodes = Nodes()
    stack.callback(nodes.stop_all)
    for plan in cluster:
        nodes.start(plan)
        teller.say(f"$ tiercluster start {' '.join(plan.arguments)}")
    waiting, deadline = {plan.id: plan for plan in cluster}, time.monotonic() + READY_S
    while waiting:
        match nodes.news.take(deadline - time.monotonic()):
            case Ready(node):
                waiting.pop(node, None)
            case Ended(node, code):
                why = last_line(next(p.log for p in cluster if p.id == node))
                raise Stop(Code.FAILED, f"{node} {how_it_ended(code)}: {why}")
            case None:
                raise Stop(Code.FAILED, f"not ready in {READY_S:g} s: {', '.join(waiting)}")
    teller.say("all three serve")


def trace() -> list[str]:
    """The key trace that comes with the package; its README says where it is from."""
    packed = resources.files(__package__).joinpath("traces/web07.keys.gz").read_bytes()
    return gzip.decompress(packed).decode("ascii").split()


@dataclass(slots=True)
class Show:
    """The demo itself, act by act."""

    cluster: Sequence[NodePlan]
    disk: Disk | None
    teller: Teller
    database: Database = field(default_factory=Database)
    stage: Stage = field(default_factory=Stage)
    phase_seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    entered: float = field(default_factory=time.monotonic)

    def run(self) -> Findings:
        addresses = ",".join(plan.listen for plan in self.cluster)
        admin = Admin(tuple(plan.listen for plan in self.cluster))
        requests = trace()[:REQUESTS]
        workers = self._workers(addresses, requests)
        try:
            self.entered = time.monotonic()
            for worker in workers:
                worker.start()
            moments, how = self._acts(admin, addresses, workers)
        finally:
            self.stage.stopped.set()
            for worker in workers:
                worker.join()
            admin.close()
        phases = {name: total(w.tallies[name] for w in workers) for name in PHASES}
        for error in [e for w in workers for e in w.errors]:
            self.teller.say(f"a client met: {error}")
        return Findings(
            how, str(REF), len(requests), len(workers), phases, self.phase_seconds, moments
        )

    def _workers(self, addresses: str, requests: Sequence[str]) -> list[Worker]:
        common = (addresses, self.database, self.stage)
        players = [
            Player(f"player-{i}", *common, share)
            for i, share in enumerate(shares(requests, PLAYERS))
        ]
        return [*players, Auditor("auditor", *common, requests)]

    # --- the acts -------------------------------------------------------------------------------

    def _acts(self, admin: Admin, addresses: str, workers: Sequence[Worker]) -> tuple[Moments, str]:
        self.teller.say(f"{len(workers)} clients play the trace, the cold tiers fill up")
        self._warm_up(workers)
        self._enter("before")
        time.sleep(STEADY_S)
        disk = self.disk or self._hook(admin)
        self._enter("during")
        moments = self._break(admin, addresses, workers, disk)
        time.sleep(DURING_S)
        moments = self._heal(admin, moments, disk)
        self._enter("after")
        time.sleep(STEADY_S)
        self._enter("after")
        return moments, disk.how

    def _warm_up(self, workers: Sequence[Worker]) -> None:
        """Until every player has been through its share once, so that hit ratios compare."""
        deadline = time.monotonic() + WARM_UP_S
        while time.monotonic() < deadline and not all(w.is_through for w in workers):
            time.sleep(0.1)

    def _hook(self, admin: Admin) -> Disk:
        return Injected(
            lambda: admin.fault(REF.node, str(REF.tier), "eio", 0.0, 1.0),
            lambda: admin.fault(REF.node, str(REF.tier), "", 0.0, 0.0),
        )

    def _break(
        self, admin: Admin, addresses: str, workers: Sequence[Worker], disk: Disk
    ) -> Moments:
        seen = admin.hello()
        self.stage.ref, self.stage.watched = str(REF), key_of(addresses, REF)
        broken = time.monotonic()
        disk.break_()
        self.teller.say(f"BROKEN: {REF}: {disk.how}")
        found = until(admin, seen, lambda r: r.health is not Health.UP, FAILOVER_S)
        if found is None:
            return Moments(broken)
        at, record = found
        self._wait_for_routes(workers)
        routed = tuple(w.routed_at for w in workers if w.routed_at is not None)
        evidence = ", ".join(f"{k} {v}" for k, v in record.evidence)
        self.teller.say(f"FAILED OVER: {REF} is {record.state}: {record.reason} ({evidence})")
        self.teller.say(f"{len(routed)} of {len(workers)} clients route around it")
        return Moments(broken, first_error(admin, seen.version, broken), at, routed)

    def _wait_for_routes(self, workers: Sequence[Worker]) -> None:
        until_ = time.monotonic() + NOTICE_S
        while any(w.routed_at is None for w in workers) and time.monotonic() < until_:
            time.sleep(0.01)

    def _heal(self, admin: Admin, moments: Moments, disk: Disk) -> Moments:
        healed = time.monotonic()
        disk.heal()
        self.teller.say(f"HEALED: {REF}; its node probes it")
        if moments.committed is None:
            return replace(moments, healed=healed)
        found = until(admin, None, lambda r: r.state is TierState.UP, RETURN_S)
        if found is None:
            return replace(moments, healed=healed)
        self.teller.say(f"BACK: {REF} is UP: {found[1].reason}")
        return replace(moments, healed=healed, enabled=found[0])

    def _enter(self, phase: str) -> None:
        now = time.monotonic()
        self.phase_seconds[self.stage.phase] += now - self.entered
        self.stage.phase, self.entered = phase, now


def key_of(addresses: str, ref: TierRef) -> str:
    """A key whose cold work is done by this tier now."""
    with Client(addresses) as client:
        for number in range(10_000):
            if client.explain(f"watched{number}").tiers.get(str(ref.tier)) == str(ref):
                return f"watched{number}"
    raise Stop(Code.FAILED, f"no key is served by {ref}")


def until(
    admin: Admin, seen: TierMap | None, done: Callable[[TierRecord], bool], patience_s: float
) -> tuple[float, TierRecord] | None:
    """When the map first shows the tier so, and how; None: not in time."""
    deadline = time.monotonic() + patience_s
    current = seen or admin.hello()
    while True:
        record = current.record(REF)
        if record is not None and done(record):
            return time.monotonic(), record
        if time.monotonic() > deadline:
            return None
        current = admin.watch(current.version, 1.0)


def first_error(admin: Admin, since: int, broken: float) -> float:
    """When the tier's first operation failed, monotonic seconds: the committed decision says when
    it was proposed and how long its node had counted errors by then. Never before ``broken``."""
    to_monotonic = time.monotonic() - time.time()
    for event in admin.events(since):
        if event.ref == str(REF) and event.to_state == TierState.DOWN:
            counted_s = float(dict(event.evidence).get("to_trip_ms", 0.0)) / 1000
            return max(broken, event.time + to_monotonic - counted_s)
    return broken
