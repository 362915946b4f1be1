"""Operators at work, and what must be true of their acknowledged decisions afterwards."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from tiercluster.cluster.admin import Admin
from tiercluster.cluster.errors import TierclusterError
from tiercluster.tiermap import Command, Drain, Event, OutcomeCode, Restore, TierRef

from .cluster import ClusterUnderTest, wait_until
from .crew import Crew

PAUSE_S, STEPS_AT_ONE_MEMBER = 0.02, 10
IN, OUT = "restored", "drained"
STATES = {IN: ("UP", "RECOVERING"), OUT: ("DRAINING", "DRAINED")}


@dataclass(slots=True)
class Operator:
    """Drains and restores one tier, over and over. ``acknowledged`` is what the last command that
    was answered as done asked for; ``unsure`` is what later ones asked for that were not;
    ``versions`` are the versions of the map that acknowledged commands made."""

    ref: str
    versions: list[int] = field(default_factory=list)
    acknowledged: str | None = None
    unsure: list[str] = field(default_factory=list)

    def step(self, admin: Admin) -> None:
        wish = IN if self.acknowledged == OUT else OUT
        self.unsure.append(wish)
        try:
            decided = admin.propose(self._command(wish))
        except TierclusterError:
            return
        if decided.code in (OutcomeCode.DONE, OutcomeCode.NOOP):
            self.acknowledged, self.unsure = wish, []
            if decided.code == OutcomeCode.DONE:
                self.versions.append(decided.version)

    def _command(self, wish: str) -> Command:
        ref = TierRef.parse(self.ref)
        name, now = f"test-{uuid.uuid4().hex}", time.time()
        if wish == OUT:
            return Drain(id=name, by="test", time=now, node=ref.node, tiers=(ref.tier,), force=True)
        return Restore(id=name, by="test", time=now, node=ref.node, tiers=(ref.tier,))

    @property
    def decisions(self) -> int:
        return len(self.versions)

    def missing(self, events: Iterable[Event]) -> list[int]:
        """Versions that were acknowledged and that the committed history, as far back as it goes,
        does not have for this tier."""
        seen = {e.version: e.ref for e in events}
        oldest = min(seen, default=0)
        return [v for v in self.versions if v >= oldest and seen.get(v) != self.ref]

    def allows(self, state: str) -> bool:
        """Whether this state of the tier is explained by what was acknowledged or in flight."""
        wishes = {self.acknowledged or IN, *self.unsure}
        return any(state in STATES[wish] for wish in wishes)


class Operators(Crew):
    """One thread for each tier ref; every command goes to a member chosen at random."""

    def __init__(self, cluster: ClusterUnderTest, operators: Sequence[Operator], seed: int) -> None:
        self.operators = operators
        self._cluster = cluster
        super().__init__(
            *[partial(self._run, o, random.Random(f"{seed}/{o.ref}")) for o in operators]
        )

    def _run(self, operator: Operator, rng: random.Random) -> None:
        while not self.over.is_set():
            with self._cluster.admin(rng.choice(self._cluster.ids)) as admin:
                for _ in range(STEPS_AT_ONE_MEMBER):
                    operator.step(admin)
                    self.over.wait(PAUSE_S)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What one member holds."""

    version: int
    digest: str


def agreements(cluster: ClusterUnderTest, nodes: Sequence[str]) -> list[Agreement]:
    """The map of each of these members, asked of itself."""
    found = []
    for node in nodes:
        with cluster.admin(node) as admin:
            seen = admin.hello()
        found.append(Agreement(seen.version, seen.digest))
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
