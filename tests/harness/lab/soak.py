"""A long run inside the sandbox: load near capacity, a fault each minute, memory and files watched.

python -m tests.harness.lab.soak MINUTES SEED DIRECTORY

Faults that end a process strike the last node only, so that the others' processes live from the
first minute to the last and can be judged: what they take in the last quarter of the time is
compared with the second quarter.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from tests.harness.growth import memory_bytes

from . import disk_faults as disk
from . import network_faults as net
from . import process_faults as process
from .cluster import LabCluster
from .network import Bridge
from .sandbox import settle_in
from .stage import Clients, Fault, Load, Stage, complaints, last_look
from .verdict import CutOff, Verdict, judge

OUTCOME = "soak.json"
SAMPLE_S, BACK_S, ROUND_S, HOLD_S = 1.0, 60.0, 60.0, (2.0, 12.0)
WARM_SHARE, LAST_SHARE = 0.25, 0.75  # of the time: the second quarter begins, the last one does
# three clients write 108 MB, three nodes hold 72: something is evicted all the time
NEAR_CAPACITY = Load(
    keys=4500, value_bytes=8000, pause_s=0.02,
    sizes=(("hot", "4MiB"), ("warm", "4MiB"), ("cold", "16MiB")),
)  # fmt: skip
FENCE = ("--on-quorum-loss=fence",)
# else the hold-down doubles with each fault, and latches the tier after ten, as it should
PATIENT = {
    "TIERCLUSTER_RECOVERY_HOLD_DOWN_MAX_S": "2",
    "TIERCLUSTER_RECOVERY_LATCH_RELAPSES": "1000",
}
OF_ANY: tuple[Fault, ...] = (
    net.one_alone,
    net.unheard,
    net.deaf,
    net.one_pair,
    net.flapping,
    net.leader_alone,
    process.frozen,
    *(disk.sick(spoil) for spoil in (disk.errors, disk.full, disk.flipped, disk.torn, disk.slow)),
)
OF_THE_LAST: tuple[Fault, ...] = (process.killed, process.wiped)


@dataclass(frozen=True, slots=True)
class Sample:
    """Of one process at one time, in seconds since the start."""

    at: float
    resident_bytes: int
    files: int


@dataclass(slots=True)
class SoakOutcome:
    """``memory`` and ``files`` by node: the median of the second quarter of the time and of the
    last one. Nodes that were restarted have none."""

    minutes: float
    seed: int
    verdict: Verdict
    faults: list[str] = field(default_factory=list)
    memory: dict[str, tuple[float, float]] = field(default_factory=dict)
    files: dict[str, tuple[float, float]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


class Watch(threading.Thread):
    """Samples the nodes that live through it all."""

    def __init__(self, cluster: LabCluster, nodes: list[str]) -> None:
        super().__init__(daemon=True)
        self.samples: dict[str, list[Sample]] = {node: [] for node in nodes}
        self._pids = {node: cluster.processes[node].pid for node in nodes}
        self._began, self._stopping = time.monotonic(), threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(SAMPLE_S):
            at = time.monotonic() - self._began
            for node, pid in self._pids.items():
                self.samples[node].append(sample(pid, at))

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def quarters(self, node: str, what: str) -> tuple[float, float]:
        samples = self.samples[node]
        end = samples[-1].at
        second = [s for s in samples if WARM_SHARE * end <= s.at < 2 * WARM_SHARE * end]
        last = [s for s in samples if s.at >= LAST_SHARE * end]
        return (median(getattr(s, what) for s in second), median(getattr(s, what) for s in last))


def sample(pid: int, at: float) -> Sample:
    return Sample(at, memory_bytes(pid), len(os.listdir(f"/proc/{pid}/fd")))


def soak(minutes: float, seed: int, directory: Path) -> SoakOutcome:
    nodes = ["n1", "n2", "n3"]
    network = Bridge([*nodes, "c1", "c2", "c3"], seed)
    sizes = dict(NEAR_CAPACITY.sizes)
    cluster = LabCluster(directory, network, sizes=sizes, flags=FENCE, env=PATIENT)
    stage = Stage(cluster, network, random.Random(f"soak/{seed}"), directory)
    for node in nodes:
        disk.make_sick(stage, node)
    with cluster:
        cluster.wait_whole(BACK_S)
        clients = Clients(stage, NEAR_CAPACITY, seed)
        watch = Watch(cluster, nodes[:-1])
        watch.start()
        rounds = [_round(stage) for _ in range(round(minutes * 60 / ROUND_S))]
        watch.stop()
        histories = clients.stop()
        histories.append(last_look(stage, clients.all_own))
        broken = complaints(cluster)
    verdict = judge(histories, [cut for _, cut in rounds])
    outcome = SoakOutcome(minutes, seed, verdict, [text for text, _ in rounds], broken=broken)
    for node in watch.samples:
        outcome.memory[node] = watch.quarters(node, "resident_bytes")
        outcome.files[node] = watch.quarters(node, "files")
    return outcome


def _round(stage: Stage) -> tuple[str, CutOff]:
    """One fault and the way back, in ROUND_S; what and where it was, and who was cut off by it."""
    began, rng, last = time.monotonic(), stage.rng, stage.cluster.ids[-1]
    fault = rng.choice([*OF_ANY, *OF_THE_LAST])
    stage.victim = last if fault in OF_THE_LAST else rng.choice(stage.cluster.ids)
    with fault(stage) as away:
        time.sleep(rng.uniform(*HOLD_S))
    back_s = stage.cluster.wait_whole(BACK_S)
    text = f"{fault.__name__} of {stage.victim}: back after {back_s:.1f} s"
    cut = CutOff(away, began, time.monotonic())
    print(f"{time.monotonic() - began:.1f} s {text}", flush=True)
    time.sleep(max(0.0, began + ROUND_S - time.monotonic()))
    return text, cut


def main(minutes: str, seed: str, directory: str) -> None:
    settle_in()
    outcome = soak(float(minutes), int(seed), Path(directory))
    Path(directory, OUTCOME).write_text(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main(*sys.argv[1:])
