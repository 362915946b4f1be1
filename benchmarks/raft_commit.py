"""Commit latency and leader failover of the consensus, with real processes on loopback.

    python benchmarks/raft_commit.py [--commits 300] [--failovers 10] [--keys] [--data DIR]

Each member is a process of its own with the default settings and a journal that is synced to the
disk at DATA (a temporary directory by default). A commit is measured from the proposal to the
moment the proposer sees it applied. A failover is measured from ``kill -9`` of the leader to the
next command that a survivor, which proposes again every 20 ms, sees applied.
"""

from __future__ import annotations

import argparse
import json
import queue
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from servers import free_port

from tiercluster.tiermap.raft import (
    Applied,
    BarrierDone,
    Machine,
    RaftKeys,
    Replica,
    ReplicaSettings,
    Standing,
)

NAMES = ("n1", "n2", "n3")
REPROPOSE_S = 0.02

COUNTER: Machine[tuple[int, str]] = Machine(
    initial=(0, ""),
    apply=lambda state, frame: (state[0] + 1, frame.decode()),
    encode=lambda state: json.dumps(state).encode(),
    decode=lambda data: tuple(json.loads(data)),
    digest=lambda state: state[1],
    version=lambda state: state[0],
)


def say(**news: object) -> None:
    print(json.dumps(news), flush=True)


# --- one member -----------------------------------------------------------------------------------


def member(config: dict[str, object]) -> None:
    name, ports = str(config["name"]), dict(config["ports"])  # type: ignore[call-overload]
    sys.setswitchinterval(1e-4)  # as a node does
    events: queue.SimpleQueue[object] = queue.SimpleQueue()
    raw_keys = config["keys"]
    keys = None
    if raw_keys:
        pairs = {n: (p.encode(), s.encode()) for n, (p, s) in raw_keys.items()}  # type: ignore[attr-defined]
        keys = RaftKeys(*pairs[name], tuple((n, pairs[n][0]) for n in NAMES if n != name))
    settings = ReplicaSettings(
        node_id=name,
        raft_address=f"127.0.0.1:{ports[name]}",
        peers=tuple((n, f"127.0.0.1:{ports[n]}") for n in NAMES if n != name),
        directory=Path(str(config["data"])) / name,
        cluster="bench",
        keys=keys,
    )
    replica = Replica(settings, COUNTER, events.put)
    replica.start()
    orders: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=lambda: [orders.put(line) for line in sys.stdin], daemon=True).start()
    while True:
        _report(events)
        try:
            verb, _, rest = orders.get(timeout=0.01).strip().partition(" ")
        except queue.Empty:
            continue
        if verb == "stop":
            replica.stop()
            return
        if verb == "barrier":
            replica.barrier(rest)
        if verb == "commit":
            say(took_ms=[_commit(replica, events, f"{name}/{i}") for i in range(int(rest))])
        if verb == "until":
            _commit(replica, events, rest)
            say(committed=rest)


def _report(events: queue.SimpleQueue[object]) -> None:
    while not events.empty():
        match events.get():
            case Standing(is_leader=True, quorum=True, term=term):
                say(leads=term)
            case BarrierDone(token=token, ok=ok):
                say(barrier=token, ok=ok)


def _commit(
    replica: Replica[tuple[int, str]], events: queue.SimpleQueue[object], command: str
) -> float:
    """Propose until it is applied; ms."""
    began = time.perf_counter()
    propose_at = began
    while True:
        now = time.perf_counter()
        if now >= propose_at:
            replica.propose(command.encode())
            propose_at = now + (REPROPOSE_S if command.startswith("failover") else 2.0)
        try:
            event = events.get(timeout=max(0.0, propose_at - time.perf_counter()))
        except queue.Empty:
            continue
        match event:
            case Applied(state=(_, last)) if last == command:
                return (time.perf_counter() - began) * 1e3
            case Standing(is_leader=True, quorum=True, term=term):
                say(leads=term)


# --- all of them ----------------------------------------------------------------------------------


class Cluster:
    def __init__(self, data: Path, with_keys: bool) -> None:
        self.news: queue.SimpleQueue[tuple[str, dict[str, object]]] = queue.SimpleQueue()
        self.leader, self.term = "", 0
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self._config: dict[str, object] = {
            "ports": {name: free_port() for name in NAMES},
            "data": str(data),
            "keys": _keys() if with_keys else None,
        }
        for name in NAMES:
            self.start(name)

    def start(self, name: str) -> None:
        process = subprocess.Popen(
            [sys.executable, __file__, "member", json.dumps({**self._config, "name": name})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes[name] = process
        threading.Thread(target=self._listen, args=(name, process), daemon=True).start()

    def _listen(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.news.put((name, json.loads(line)))

    def tell(self, name: str, order: str) -> None:
        stdin = self.processes[name].stdin
        assert stdin is not None
        stdin.write(order + "\n")
        stdin.flush()

    def hear(self, name: str, key: str) -> dict[str, object]:
        while True:
            sender, said = self.news.get(timeout=60)
            if "leads" in said and int(str(said["leads"])) > self.term:
                self.leader, self.term = sender, int(str(said["leads"]))
            if sender == name and key in said:
                return said

    def ready(self, name: str) -> None:
        while True:
            self.tell(name, "barrier ready")
            if self.hear(name, "barrier")["ok"]:
                return

    def stop(self) -> None:
        for name in self.processes:
            self.tell(name, "stop")
        for process in self.processes.values():
            process.wait(10)


def _keys() -> dict[str, tuple[str, str]]:
    import zmq

    pairs = {name: zmq.curve_keypair() for name in NAMES}
    return {name: (public.decode(), secret.decode()) for name, (public, secret) in pairs.items()}


def measure(data: Path, commits: int, failovers: int, with_keys: bool) -> None:
    cluster = Cluster(data, with_keys)
    for name in NAMES:
        cluster.ready(name)
    follower = next(name for name in NAMES if name != cluster.leader)
    for role, name in (("leader", cluster.leader), ("follower", follower)):
        cluster.tell(name, f"commit {commits}")
        took = sorted(cluster.hear(name, "took_ms")["took_ms"])  # type: ignore[call-overload]
        p99 = took[int(len(took) * 0.99)]
        print(f"commit at the {role}: p50 {statistics.median(took):.2f} ms, p99 {p99:.2f} ms")
    times = [_failover(cluster, run) for run in range(failovers)]
    if times:
        print(
            f"failover ({failovers} runs): median {statistics.median(times):.2f} s, "
            f"min {min(times):.2f} s, max {max(times):.2f} s"
        )
    cluster.stop()


def _failover(cluster: Cluster, run: int) -> float:
    time.sleep(random.uniform(1.0, 1.5))  # a quiet time
    killed = cluster.leader
    witness = next(name for name in NAMES if name != killed)
    cluster.processes[killed].kill()
    began = time.perf_counter()
    cluster.tell(witness, f"until failover{run}")
    cluster.hear(witness, "committed")
    took = time.perf_counter() - began
    cluster.processes[killed].wait()
    cluster.start(killed)
    cluster.ready(killed)
    return took


def main() -> None:
    if sys.argv[1:2] == ["member"]:
        member(json.loads(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--commits", type=int, default=300)
    parser.add_argument("--failovers", type=int, default=10)
    parser.add_argument("--keys", action="store_true", help="CURVE between the members")
    parser.add_argument("--data", type=Path, help="where the journals are (its disk is measured)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.data) as data:
        measure(Path(data), options.commits, options.failovers, options.keys)


if __name__ == "__main__":
    main()
