"""kill -9 of one node of three under load: how long its keys miss, and what the others notice."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.harness.cluster import ClusterUnderTest
from tests.harness.figures import median, percentile, report
from tests.harness.promise import Oracle
from tests.harness.traffic import Outcome, Plan, Traffic, owned_by, write
from tiercluster import Client
from tiercluster.cluster.admin import Admin

BEFORE_S, AFTER_S = 1.5, 2.0
MAX_WINDOW_S = 1.0


class Kill:
    """One kill: the victim's keys are read and written by one thread, the others' read by one."""

    def __init__(self, cluster: ClusterUnderTest, victim: str, oracle: Oracle) -> None:
        with Client(cluster.addresses) as client:
            mine = owned_by(client, victim, 40)
            others = [key for n in cluster.ids if n != victim for key in owned_by(client, n, 20)]
            for key in (*mine, *others):
                write(client, oracle, key)
        # no deletes: one that finds nothing says False, as one that was not carried out does
        probing = Traffic(cluster.addresses, mine, Plan(threads=1, writes=0.5, deletes=0), oracle)
        watching = Traffic(cluster.addresses, others, Plan(threads=1, writes=0, deletes=0), oracle)
        with probing, watching:
            began = time.monotonic()
            time.sleep(BEFORE_S)
            self.at, wall = time.monotonic(), time.time()
            cluster.kill(victim)
            time.sleep(AFTER_S)
            ended = time.monotonic()
        self.decided_s = decided_after(cluster, victim, wall)
        self.errors = probing.errors + watching.errors
        self.window_s = self._window(probing)
        self.before = watching.seconds(others, began + 0.5, self.at)
        self.during = watching.seconds(others, self.at, ended)
        self.longest_s = max(self.during)
        self.other_misses = sum(s.outcome is Outcome.MISS for s in watching.samples)

    def _window(self, probing: Traffic) -> float:
        """From the kill to the end of the first write that was stored after the last that was
        not."""
        writes = [s for s in probing.samples if not s.is_read and s.at >= self.at]
        lost = [i for i, s in enumerate(writes) if s.outcome is not Outcome.STORED]
        first = writes[(lost[-1] + 1) if lost else 0]
        return first.at + first.seconds - self.at


def decided_after(cluster: ClusterUnderTest, victim: str, wall: float) -> float:
    """Seconds from the kill to the proposal of the DOWN that was committed."""
    with Admin(cluster.addresses) as admin:
        last = [e for e in admin.events(0) if e.ref == victim and e.to_state == "DOWN"][-1]
    return last.time - wall


def kills(tmp_path: Path, rounds: int, scenario: str) -> list[Kill]:
    oracle, done, leaders = Oracle(), list[Kill](), list[bool]()
    with ClusterUnderTest(tmp_path) as cluster:
        for number in range(rounds):
            leader = cluster.leader()
            # in turn the leader and one that is not
            victim = leader if number % 2 == 0 else next(n for n in cluster.ids if n != leader)
            leaders.append(victim == leader)
            done.append(Kill(cluster, victim, oracle))
            cluster.restart(victim)
            cluster.wait_state(victim, "UP")
    before = [s for k in done for s in k.before]
    during = [s for k in done for s in k.during]
    windows = [k.window_s for k in done]
    report(
        scenario, kills=rounds, leaders=sum(leaders), windows_s=windows,
        of_leaders_median_s=median(w for w, led in zip(windows, leaders, strict=True) if led),
        of_others_median_s=median(w for w, led in zip(windows, leaders, strict=True) if not led),
        proposed_median_s=median(k.decided_s for k in done),
        window_median_s=median(windows), window_max_s=max(windows),
        raised=sum(len(k.errors) for k in done), stale=len(oracle.breaches),
        others_p50_before_ms=median(before) * 1e3, others_p50_during_ms=median(during) * 1e3,
        others_p99_before_ms=percentile(before, 0.99) * 1e3,
        others_p99_during_ms=percentile(during, 0.99) * 1e3,
        others_longest_ms=max(during) * 1e3,
    )  # fmt: skip
    assert oracle.is_kept, oracle.breaches
    assert [e for k in done for e in k.errors] == []
    assert sum(k.other_misses for k in done) == 0
    return done


def test_killing_the_leader_costs_its_keys_a_moment_and_the_others_nothing(tmp_path: Path) -> None:
    done = kills(tmp_path, 1, "kill_one_fast")
    assert done[0].window_s <= 2 * MAX_WINDOW_S


@pytest.mark.slow
def test_ten_kills_stay_within_a_second(tmp_path: Path) -> None:
    done = kills(tmp_path, 10, "kill_one")
    assert median(k.window_s for k in done) <= MAX_WINDOW_S
    before = median(s for k in done for s in k.before)
    during = median(s for k in done for s in k.during)
    assert during <= 1.1 * before
