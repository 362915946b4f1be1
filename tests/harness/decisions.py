"""Operators at work, and what must be true of their acknowledged decisions afterwards."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tiercluster.cluster.admin import Admin

from .cluster import ClusterUnderTest, wait_until

IN, OUT = "restored", "drained"
STATES = {IN: ("UP", "RECOVERING"), OUT: ("DRAINING", "DRAINED")}


@dataclass(slots=True)
class Operator:
    """Drains and restores one tier, over and over. ``acknowledged`` is what the last command that
    exited 0 asked for; ``unsure`` is what one asked for that ended otherwise since."""

    ref: str
    decisions: int = 0
    acknowledged: str | None = None
    unsure: list[str] = field(default_factory=list)

    def step(self, cluster: ClusterUnderTest, at: str) -> None:
        wish = IN if self.acknowledged == OUT else OUT
        verb = "drain" if wish == OUT else "restore"
        self.unsure.append(wish)
        if (
            cluster.cli(
                "tier", verb, self.ref, "--force" if wish == OUT else "--timeout=5", at=at
            ).code
            == 0
        ):
            self.decisions += 1
            self.acknowledged, self.unsure = wish, []

    def allows(self, state: str) -> bool:
        """Whether this state of the tier is explained by what was acknowledged or in flight."""
        wishes = {self.acknowledged or IN, *self.unsure}
        return any(state in STATES[wish] for wish in wishes)


class Operators:
    """One thread for each tier ref; every command goes to a member chosen at random."""

    def __init__(self, cluster: ClusterUnderTest, operators: Sequence[Operator], seed: int) -> None:
        self.operators = operators
        self._cluster, self._stop = cluster, threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(o, random.Random(f"{seed}/{o.ref}")))
            for o in operators
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, operator: Operator, rng: random.Random) -> None:
        while not self._stop.is_set():
            operator.step(self._cluster, rng.choice(self._cluster.ids))

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@dataclass(frozen=True, slots=True)
class Agreement:
    """What one member holds."""

    version: int
    digest: str


def agreements(cluster: ClusterUnderTest, nodes: Sequence[str]) -> list[Agreement]:
    """The map of each of these members, asked of itself."""
    found = []
    for node in nodes:
        admin = Admin((cluster.address(node),))
        try:
            seen = admin.hello()
            found.append(Agreement(seen.version, seen.digest))
        finally:
            admin.close()
    return found


def wait_agreed(cluster: ClusterUnderTest, timeout_s: float = 20) -> Agreement:
    """Until all members hold one map, twice in a row; that map's version and digest."""
    last: list[Agreement] = []

    def agreed() -> bool:
        nonlocal last
        before, last = last, agreements(cluster, cluster.ids)
        time.sleep(0.2)
        return len(set(last)) == 1 and set(before) == set(last)

    wait_until(agreed, timeout_s, f"all members hold one map: {last}")
    return last[0]
