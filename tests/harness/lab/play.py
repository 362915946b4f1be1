"""Plays one scenario, once, inside the sandbox: a cluster, clients, a fault, and the judgement."""

from __future__ import annotations

import random
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .cluster import LabCluster
from .stage import Clients, Scenario, Stage, complaints, last_look
from .verdict import CutOff, Verdict, judge

WARM_S, AFTER_S, START_S = 1.5, 2.0, 30.0


@dataclass(slots=True)
class Outcome:
    """``back_s``: from the end of the fault until all members are UP and hold one map. ``broken``:
    whatever else must not be."""

    scenario: str
    seed: int
    verdict: Verdict
    violations: int = 0
    back_s: float = 0.0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def play(scenario: Scenario, seed: int, directory: Path) -> Outcome:
    began = time.monotonic()
    names = [f"n{i + 1}" for i in range(scenario.nodes)]
    network = scenario.network([*names, *(f"c{name[1:]}" for name in names)], seed)
    try:
        cluster = LabCluster(
            directory, network, nodes=scenario.nodes, sizes=dict(scenario.load.sizes),
            flags=scenario.flags, env=dict(scenario.env),
        )  # fmt: skip
        stage = Stage(cluster, network, random.Random(f"{scenario.name}/{seed}"), directory)
        scenario.prepare(stage)
        with cluster:
            outcome = _play_on(stage, scenario, seed)
    finally:
        network.close()
    outcome.violations = outcome.verdict.violations
    outcome.seconds = time.monotonic() - began
    return outcome


def _play_on(stage: Stage, scenario: Scenario, seed: int) -> Outcome:
    broken: list[str] = []
    stage.cluster.wait_whole(START_S)
    clients = Clients(stage, scenario.load, seed)
    time.sleep(WARM_S)
    since = time.monotonic()
    with scenario.fault(stage) as away:
        time.sleep(scenario.hold_s)
    back_s = 0.0
    try:
        back_s = stage.cluster.wait_whole(scenario.back_s)
    except AssertionError as error:
        broken.append(str(error))
    until = time.monotonic()
    time.sleep(AFTER_S)
    histories = clients.stop()
    histories.append(last_look(stage, clients.all_own))
    broken += complaints(stage.cluster)
    cuts = [CutOff(away, since, until)]
    verdict = judge(histories, cuts, is_excused=scenario.is_excused)
    return Outcome(scenario.name, seed, verdict, 0, back_s, 0.0, broken)
