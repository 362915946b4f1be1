"""Us beside Redis and memcached, on this machine, in one run: `python benchmarks/peers.py`.

Starts one server of each kind, pins all servers to one CPU and this client to another (as over a
network; `--placement`), and takes turns in rounds, so that a slow minute of the machine hits all
alike. Values of 1 KiB; single get and set, get and set of 100 keys in one call. What counts are the
ratios: the absolute figures are this machine's.

With `--servers 3` a cluster of three nodes stands beside three memcached behind pymemcache's
HashClient, which is how that peer spreads keys over servers (Redis is left out: redis-py gets many
keys from a Redis Cluster only if they share a slot).

Needs redis-server and memcached on the PATH, and `pip install 'tiercluster[bench]'`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers import READY_S, free_port, server

KEYS = 2000
BULK = 100
VALUE_BYTES = 1024
VERBS = ("get", "set", "get 100", "set 100")
OURS, REDIS, MEMCACHED = "tiercluster", "redis-py", "pymemcache"
PROGRAMS = {REDIS: "redis-server", MEMCACHED: "memcached"}
MODULES = {REDIS: "redis", MEMCACHED: "pymemcache"}
INSTALL = "apt-get install redis-server memcached && pip install 'redis[hiredis]' pymemcache"
AIMS = (("get 100", MEMCACHED, 2.0), ("get", REDIS, 0.5))  # their median over ours, at least

Call = Callable[[list[str]], Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """One client library: what it does with one key, or with BULK of them."""

    name: str
    calls: dict[str, Call]


@dataclass(frozen=True, slots=True)
class Figure:
    """Microseconds a call: medians over the rounds."""

    verb: str
    subject: str
    p50_us: float
    p99_us: float


# --- servers ------------------------------------------------------------------------------------


def redis_subject(stack: ExitStack, directory: Path, cpu: int | None, count: int) -> Subject:
    import redis

    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    stack.enter_context(
        server([*command, "--appendonly", "no", "--dir", str(directory)], port, cpu)
    )
    client = redis.Redis(port=port)
    stack.callback(client.close)
    value = os.urandom(VALUE_BYTES)
    return Subject(
        REDIS,
        {
            "get": lambda keys: client.get(keys[0]),
            "set": lambda keys: client.set(keys[0], value),
            "get 100": client.mget,
            "set 100": lambda keys: client.mset(dict.fromkeys(keys, value)),
        },
    )


def memcached_subject(stack: ExitStack, directory: Path, cpu: int | None, count: int) -> Subject:
    from pymemcache.client.base import Client
    from pymemcache.client.hash import HashClient

    ports = [free_port() for _ in range(count)]
    for port in ports:
        command = ["memcached", "-l", "127.0.0.1", "-p", str(port), "-m", "64"]
        command += ["-u", "nobody"] if os.geteuid() == 0 else []
        stack.enter_context(server(command, port, cpu))
    servers = [("127.0.0.1", port) for port in ports]
    made = HashClient if count > 1 else Client
    client = made(servers if count > 1 else servers[0], no_delay=True, default_noreply=False)
    stack.callback(client.close)
    value = os.urandom(VALUE_BYTES)
    return Subject(
        MEMCACHED,
        {
            "get": lambda keys: client.get(keys[0]),
            "set": lambda keys: client.set(keys[0], value),
            "get 100": client.get_many,
            "set 100": lambda keys: client.set_many(dict.fromkeys(keys, value)),
        },
    )


def our_subject(stack: ExitStack, directory: Path, cpu: int | None, count: int) -> Subject:
    from tiercluster import Client

    nodes = {f"n{i + 1}": (free_port(), free_port()) for i in range(count)}
    for node, (port, raft) in nodes.items():
        command = [sys.executable, "-m", "tiercluster", "start", "--id", node]
        command += ["--data", str(directory / node)]
        command += ["--listen", f"127.0.0.1:{port}", "--raft", f"127.0.0.1:{raft}"]
        for other, (_, other_raft) in nodes.items():
            command += ["--peer", f"{other}=127.0.0.1:{other_raft}"] if other != node else []
        stack.enter_context(server(command, port, cpu))
    ports = [port for port, _ in nodes.values()]
    seeds = [f"127.0.0.1:{port}" for port in ports]
    client = Client(seeds, serializer="bytes", timeout=READY_S)
    stack.callback(client.close)
    _wait_for_members(client, count)
    value = os.urandom(VALUE_BYTES)
    return Subject(
        OURS,
        {
            "get": lambda keys: client.get(keys[0]),
            "set": lambda keys: client.set(keys[0], value),
            "get 100": client.get_many,
            "set 100": lambda keys: client.set_many(dict.fromkeys(keys, value)),
        },
    )


def _wait_for_members(client: Any, count: int) -> None:
    """Until all of them serve."""
    until = time.monotonic() + READY_S
    while len({tier.ref for tier in client.tiers() if tier.state == "UP"}) < 3 * count:
        if time.monotonic() > until:
            raise SystemExit("the nodes did not form a cluster")
        time.sleep(0.1)


MAKERS = {REDIS: redis_subject, MEMCACHED: memcached_subject, OURS: our_subject}


def available(servers: int) -> list[str]:
    """The peers that can run here, and us; says how to get the others."""
    missing = [
        name
        for name in PROGRAMS
        if shutil.which(PROGRAMS[name]) is None or importlib.util.find_spec(MODULES[name]) is None
    ]
    if missing:
        print(f"not here: {', '.join(missing)}; to compare with all: {INSTALL}", file=sys.stderr)
    return [name for name in MAKERS if name not in missing and (servers == 1 or name != REDIS)]


# --- measuring ----------------------------------------------------------------------------------


def fill(subject: Subject) -> None:
    keys = [f"key{i}" for i in range(KEYS)]
    for start in range(0, KEYS, BULK):
        subject.calls["set 100"](keys[start : start + BULK])
    if not subject.calls["get"](keys[:1]):
        raise SystemExit(f"{subject.name} does not hold what it was given")


def timed(call: Call, size: int, seconds: float, rng: random.Random) -> list[float]:
    """Seconds of each call, for this long."""
    keys = [f"key{i}" for i in range(KEYS)]
    took: list[float] = []
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        chosen = rng.sample(keys, size)
        began = time.perf_counter()
        call(chosen)
        took.append(time.perf_counter() - began)
    return took


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measure(subjects: list[Subject], rounds: int, seconds: float) -> list[Figure]:
    """Rounds in which all take turns, in an order that rotates."""
    seen: dict[tuple[str, str], list[tuple[float, float]]] = {}
    rng = random.Random(1)
    for number in range(rounds):
        turn = number % len(subjects)
        for verb in VERBS:
            for subject in subjects[turn:] + subjects[:turn]:
                size = BULK if verb.endswith("100") else 1
                took = timed(subject.calls[verb], size, seconds, rng)
                pair = (percentile(took, 0.5) * 1e6, percentile(took, 0.99) * 1e6)
                seen.setdefault((verb, subject.name), []).append(pair)
    return [
        Figure(verb, name, *(statistics.median(column) for column in zip(*pairs, strict=True)))
        for (verb, name), pairs in seen.items()
    ]


# --- telling ------------------------------------------------------------------------------------


def ratios(figures: list[Figure]) -> dict[str, dict[str, float]]:
    """For each verb and peer: its median over ours (above 1: we are faster)."""
    ours = {f.verb: f.p50_us for f in figures if f.subject == OURS}
    found: dict[str, dict[str, float]] = {verb: {} for verb in VERBS}
    for f in figures:
        if f.subject != OURS and f.verb in ours:
            found[f.verb][f.subject] = round(f.p50_us / ours[f.verb], 3)
    return found


def aims(found: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    return [
        {"verb": verb, "peer": peer, "at_least": least, "is": found[verb][peer],
         "met": found[verb][peer] >= least}
        for verb, peer, least in AIMS
        if peer in found[verb]
    ]  # fmt: skip


def table(figures: list[Figure], found: dict[str, dict[str, float]]) -> str:
    rows = ["call       client        p50 us    p99 us   its p50 / ours"]
    for f in sorted(figures, key=lambda f: (VERBS.index(f.verb), f.subject)):
        ratio = found[f.verb].get(f.subject)
        shown = f"{ratio:.2f}" if ratio is not None else ""
        rows.append(f"{f.verb:10} {f.subject:12} {f.p50_us:8.1f}  {f.p99_us:8.1f}   {shown:>14}")
    for aim in aims(found):
        word = "met" if aim["met"] else "MISSED"
        rows.append(
            f"aim: {aim['verb']}: {aim['peer']} / ours >= {aim['at_least']}: "
            f"{aim['is']:.2f}, {word}"
        )
    return "\n".join(rows)


def placed(placement: str) -> int | None:
    """The servers' CPU, this process being moved to its own; None: nothing is pinned."""
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if placement == "free" or shutil.which("taskset") is None or not cpus:
        return None
    os.sched_setaffinity(0, {cpus[-1]})
    return cpus[0] if placement == "split" else cpus[-1]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each verb in a round")
    parser.add_argument(
        "--placement", choices=("split", "same", "free"), default="split",
        help="servers on a CPU of their own (default), on the client's, or where they like",
    )  # fmt: skip
    parser.add_argument("--servers", type=int, choices=(1, 3), default=1, help="of each kind")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    cpu = placed(asked.placement)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        names = available(asked.servers)
        subjects = [MAKERS[name](stack, directory, cpu, asked.servers) for name in names]
        for subject in subjects:
            fill(subject)
        figures = measure(subjects, asked.rounds, asked.seconds)
    found = ratios(figures)
    if asked.json:
        rows = [{"verb": f.verb, "client": f.subject, "p50_us": round(f.p50_us, 1), "p99_us": round(f.p99_us, 1)} for f in figures]  # fmt: skip # noqa: E501
        document = {"placement": asked.placement, "servers": asked.servers}
        document |= {"rounds": asked.rounds, "figures": rows}
        print(json.dumps(document | {"ratios": found, "aims": aims(found)}, indent=2))
    else:
        what = f"{asked.servers} server(s) each, placement {asked.placement}, {asked.rounds} rounds"
        print(f"{what}, values of {VALUE_BYTES} bytes")
        print(table(figures, found))


if __name__ == "__main__":
    main()
