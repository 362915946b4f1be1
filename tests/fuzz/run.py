"""The long run: every decoder and the ports of a live cluster, for as long as is wanted.

    python -m tests.fuzz.run --seconds 3600 --out fuzz.json

Prints a JSON document: runs of each target and how many raised, the slowest run, and the memory of
this process and of the nodes after the warm-up and at the end. What raised is written to `--found`,
a file for each, to be kept below `tests/fuzz/corpus` once it is repaired. Exit code 1 if anything
was found, or a process has grown.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness.cluster import ClusterUnderTest
from tests.harness.growth import MIB, grown, memory_bytes
from tiercluster.node.heap import return_free_pages, share_one_heap

from .live import Health, LivePorts
from .mutate import mutated
from .targets import TARGETS, Fuzzed

TURN_S = 0.5  # of one target, before the next one
LIVE_S = 2.0  # of the ports, after a round of all targets
WARM_UP, WARM_UP_S = 0.1, 300.0  # of the run, and at most: until buffers and corpora are there
SAMPLES = 12  # of the memory, a run
# Small, so that full tiers are what the memory starts from.
SIZES = {"hot": "1MiB", "warm": "1MiB", "cold": "4MiB"}
MAX_FOUND = 20  # different tracebacks of one target
MAX_CORPUS = 400  # inputs that were accepted, on which later ones build


@dataclass(slots=True)
class Score:
    runs: int = 0
    raised: int = 0
    slowest_ms: float = 0.0
    found: dict[str, bytes] = field(default_factory=dict)


class Fuzzer:
    """One target with its own corpus and random numbers."""

    def __init__(self, name: str, target: Fuzzed, seed: int) -> None:
        self.name, self.score = name, Score()
        self._target, self._rng = target, random.Random(f"{seed}/{name}")
        self._corpus = list(target.seeds)

    @property
    def kept_bytes(self) -> int:
        """Of the inputs that it has kept to build on."""
        return sum(map(len, self._corpus))

    def turn(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._one(mutated(self._rng, self._corpus))

    def _one(self, data: bytes) -> None:
        began = time.thread_time()
        try:
            self._target.run(data)
        except Exception:  # noqa: BLE001 - whatever it is, it is what we look for
            self.score.raised += 1
            where = "".join(traceback.format_exc().splitlines(keepends=True)[-3:])
            if len(self.score.found) < MAX_FOUND:
                self.score.found.setdefault(where, data)
        self.score.runs += 1
        took_ms = 1000 * (time.thread_time() - began)
        self.score.slowest_ms = max(self.score.slowest_ms, took_ms)
        if self._rng.random() < 0.01 and len(data) < 2000:
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        """A walk away from the seeds, which stay."""
        kept = len(self._target.seeds)
        if len(self._corpus) < MAX_CORPUS:
            self._corpus.append(data)
        elif len(self._corpus) > kept:
            self._corpus[self._rng.randrange(kept, len(self._corpus))] = data


class Memory:
    """Of this process, but for the inputs that it keeps, and of the nodes, by name: bytes after the
    warm-up and at the end, and MiB now and then between them."""

    def __init__(self, fuzzers: Sequence[Fuzzer], health: Health, seconds: float) -> None:
        self.samples: list[dict[str, float]] = []
        self._fuzzers, self._health = fuzzers, health
        self._seconds, self._began = seconds, time.monotonic()
        self.start = self.end = self._now()
        self._is_warm = False

    def look(self) -> None:
        """After each round, and when all is over."""
        passed, self.end = time.monotonic() - self._began, self._now()
        if not self._is_warm:
            self.start = self.end
            self._is_warm = passed >= min(WARM_UP_S, WARM_UP * self._seconds)
        if passed >= len(self.samples) * self._seconds / SAMPLES:
            self.samples.append({"s": round(passed), **_mib(self.end)})

    def _now(self) -> dict[str, int]:
        gc.collect()
        return_free_pages()  # as the nodes do
        kept = sum(fuzzer.kept_bytes for fuzzer in self._fuzzers)
        nodes = zip(self._health.cluster.ids, self._health.rss(), strict=True)
        return {"fuzzer": memory_bytes(os.getpid()) - kept, **dict(nodes)}


def _mib(memory: dict[str, int]) -> dict[str, float]:
    return {name: round(size_bytes / MIB, 1) for name, size_bytes in memory.items()}


def run(seconds: float, seed: int, found: Path) -> dict[str, Any]:
    """Until the time is over or a node is not well."""
    fuzzers = [Fuzzer(name, target, seed) for name, target in TARGETS.items()]
    began = time.monotonic()
    problems: list[str] = []
    with (
        tempfile.TemporaryDirectory() as directory,
        ClusterUnderTest(Path(directory), faults=False, sizes=SIZES) as cluster,
    ):
        ports, health = LivePorts(cluster, seed), Health(cluster)
        memory = Memory(fuzzers, health, seconds)
        try:
            while time.monotonic() < began + seconds:
                for fuzzer in fuzzers:
                    fuzzer.turn(min(TURN_S, seconds / 4 / len(fuzzers)))
                _live(ports, min(LIVE_S, seconds / 4))
                health.check()
                memory.look()
        except _Stopped:
            memory.look()
        except Exception as error:  # noqa: BLE001 - told with the rest
            problems.append(f"{type(error).__name__}: {error}")
        finally:
            logs, tally = health.logs(), ports.tally
            health.close()
            ports.close()
    _write_found(fuzzers, found)
    problems += grown(memory.start, memory.end)
    return {
        "seconds": round(min(seconds, time.monotonic() - began), 1),
        "targets": {
            f.name: {
                "runs": f.score.runs,
                "raised": f.score.raised,
                "slowest_ms": round(f.score.slowest_ms, 1),
            }
            for f in fuzzers
        },
        "live": {
            "requests": tally.sent_client,
            "answered": tally.answered,
            "raft_messages": tally.sent_raft,
            "raw_connections": tally.sent_raw,
            "problem": "; ".join(problems),
            "bad_log_lines": logs[:5],
        },
        "rss_mib": {
            "after_warm_up": _mib(memory.start),
            "end": _mib(memory.end),
            "samples": memory.samples,
        },
        "ok": not (problems or logs or any(f.score.raised for f in fuzzers)),
    }


def _live(ports: LivePorts, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ports.turn()


def _write_found(fuzzers: list[Fuzzer], found: Path) -> None:
    for fuzzer in fuzzers:
        for number, (where, data) in enumerate(fuzzer.score.found.items()):
            found.mkdir(parents=True, exist_ok=True)
            (found / f"{fuzzer.name}-{number}.bin").write_bytes(data)
            (found / f"{fuzzer.name}-{number}.txt").write_text(where)


class _Stopped(BaseException):
    """SIGTERM or ctrl-c: the figures of what was done are told all the same."""


def _stop(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise _Stopped


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--out", type=Path, help="the figures; default: stdout")
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"))
    given = parser.parse_args()
    share_one_heap()
    seed = time.time_ns() if given.seed is None else given.seed
    figures = {"seed": seed, **run(given.seconds, seed, given.found)}
    text = json.dumps(figures, indent=1)
    if given.out:
        given.out.write_text(text + "\n")
    print(text)
    return 0 if figures["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
