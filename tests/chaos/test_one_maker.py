"""At most one maker of a key and one holder of a lock, while the owner of its lease is killed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.harness.cluster import ClusterUnderTest
from tests.harness.crew import Crew
from tests.harness.figures import report
from tests.harness.traffic import owned_by
from tiercluster import Client
from tiercluster.cluster.leases import Lease
from tiercluster.errors import TierclusterError

LEASE_S = 3.0  # of makers and locks here: how long they wait after a crash
MAKING_S = 0.7
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Span:
    """Somebody made a value, or held a lock; monotonic seconds of this machine."""

    name: str
    began: float
    ended: float
    fence: int = 0


class Contenders(Crew):
    """Threads that all want the same few keys and locks, each with a client of its own."""

    def __init__(self, addresses: str, names: list[str]) -> None:
        self.spans: list[Span] = []
        self.errors = 0
        self._addresses, self._names = addresses, names
        works = [self._make, self._make, self._make, self._lock, self._lock, self._lock]
        super().__init__(*[partial(self._run, work) for work in works])

    def _run(self, work: Callable[[Client, str], object]) -> None:
        with Client(self._addresses, timeout=5.0) as client:
            number = 0
            while not self.over.is_set():
                number += 1
                try:
                    work(client, self._names[number % len(self._names)])
                except TierclusterError:  # of an owner that went: its outcome is not known
                    self.errors += 1

    def _make(self, client: Client, name: str) -> None:
        def make() -> float:
            began = time.monotonic()
            time.sleep(MAKING_S)
            self.spans.append(Span(f"make {name}", began, time.monotonic()))
            return began

        client.get_or_set(name, make, 0.4, lock=LEASE_S)  # gone again soon

    def _lock(self, client: Client, name: str) -> None:
        lock = client.lock(name, ttl=LEASE_S, wait=0.5)
        if not lock.acquire():
            return
        began, fence = time.monotonic(), lock.fence
        time.sleep(MAKING_S / 2)
        ended = time.monotonic()
        self.spans.append(Span(f"lock {name}", began, ended, fence))
        lock.release()


def overlaps(spans: list[Span]) -> list[tuple[Span, Span]]:
    """Two of one name at one time."""
    found = []
    for name in {span.name for span in spans}:
        mine = sorted((s for s in spans if s.name == name), key=lambda s: s.began)
        found += [(a, b) for a, b in itertools.pairwise(mine) if b.began < a.ended]
    return found


def lock_keys(client: Client, node: str, count: int) -> list[str]:
    """Names whose locks this node owns."""
    names, number = list[str](), 0
    while len(names) < count:
        lease = Lease(client._api, f"l{number}", 1.0)
        router = client._run(client._api.look())
        if router.owner_of(lease.wire) == node:
            names.append(f"l{number}")
        number += 1
    return names


def test_there_is_one_maker_and_one_holder_while_owners_are_killed(tmp_path: Path) -> None:
    waits = list[float]()
    with ClusterUnderTest(tmp_path) as cluster, Client(cluster.addresses) as client:
        names = lock_keys(client, "n2", 2) + owned_by(client, "n2", 1, prefix="m")
        with Contenders(cluster.addresses, names) as contenders:
            time.sleep(3.0)
            for _ in range(ROUNDS):
                killed = time.monotonic()
                cluster.kill("n2")
                time.sleep(LEASE_S + 2.5)
                after = [s.began for s in list(contenders.spans) if s.began > killed + 1.0]
                waits.append(min(after, default=killed) - killed)
                cluster.restart("n2")
                cluster.wait_state("n2", "UP")
                time.sleep(1.5)
            assert cluster.cli("tier", "drain", "n1/*", "--wait").code == 0
            time.sleep(2.0)
            assert cluster.cli("tier", "restore", "n1/*", "--wait").code == 0
            time.sleep(LEASE_S)
    fences = [s for s in contenders.spans if s.fence]
    report("one_maker", kills=ROUNDS, lease_s=LEASE_S, spans=len(contenders.spans),
           made=sum(s.name.startswith("make") for s in contenders.spans), locked=len(fences),
           overlaps=len(overlaps(contenders.spans)), raised=contenders.errors,
           first_after_kill_s=waits)  # fmt: skip
    assert not overlaps(contenders.spans)
    for name in {s.name for s in fences}:
        mine = [s.fence for s in sorted(fences, key=lambda s: s.began) if s.name == name]
        assert mine == sorted(set(mine)), f"the fences of {name} do not grow"
    assert len(contenders.spans) > 20
