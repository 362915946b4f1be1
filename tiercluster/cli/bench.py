"""`tiercluster bench`: a load generator that reads through the cache as an application does."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tiercluster.cluster.errors import TierclusterError

from .clients import open_client
from .exits import Code, Stop
from .latencies import Latencies
from .load import Tally, Work, play
from .options import Number, json_flag, reach_cluster
from .rendering import print_json, print_table
from .session import ClientDoor, session_of
from .units import read_size
from .workload import batches, share, trace_keys, zipf_keys, zipf_weights

MAX_THREADS = 256
MAX_BATCH = 10_000
PERCENTILES = (50, 90, 99, 99.9)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be played."""

    seconds: float | None
    requests: int | None
    threads: int
    batch: int
    keys: int
    skew: float
    trace: Path | None
    value_size: int
    ttl: float | None
    writes: float
    seed: int

    def streams(self) -> list[Iterator[list[str]]]:
        """The batches of each worker."""
        found = [batches(keys, self.batch) for keys in self._sources()]
        if self.requests is None:
            return found
        # Worker 0 plays what does not divide evenly.
        part, rest = divmod(self.requests, self.threads)
        counts = [part + (rest if worker == 0 else 0) for worker in range(self.threads)]
        return list(map(_first, found, counts))

    def _sources(self) -> list[Iterator[str]]:
        workers = range(self.threads)
        if self.trace is not None:
            return [share(trace_keys(self.trace), worker, self.threads) for worker in workers]
        weights = zipf_weights(self.keys, self.skew)
        return [zipf_keys(weights, self.seed + worker) for worker in workers]


def _first(source: Iterator[list[str]], count: int) -> Iterator[list[str]]:
    return (batch for _, batch in zip(range(count), source, strict=False))


@click.command()
@click.option(
    "--seconds",
    type=Number(min=0, min_open=True),
    metavar="S",
    help="How long. [default: 10, or to the end of the trace]",
)
@click.option("--requests", type=click.IntRange(min=1), metavar="N", help="Stop after so many.")
@click.option("--threads", type=click.IntRange(1, MAX_THREADS), default=4, show_default=True)
@click.option(
    "--batch",
    type=click.IntRange(1, MAX_BATCH),
    default=1,
    show_default=True,
    help="Keys a request.",
)
@click.option("--trace", type=click.Path(path_type=Path), metavar="FILE",
              help="Play these keys: one a line, gzip accepted.")  # fmt: skip
@click.option("--keys-count", type=click.IntRange(min=1, max=10_000_000), default=10_000,
              show_default=True, metavar="N", help="Without a trace: how many keys.")  # fmt: skip
@click.option("--skew", type=Number(0, 5), default=0.99, show_default=True,
              help="Without a trace: Zipf's exponent; 0 is uniform.")  # fmt: skip
@click.option("--value-size", default="1KiB", show_default=True, callback=read_size,
              metavar="SIZE", help="Of each value; made from its key.")  # fmt: skip
@click.option("--ttl", type=Number(min=0, min_open=True), metavar="S",
              help="Of each value. [default: never expires]")  # fmt: skip
@click.option("--writes", type=Number(0, 1), default=0.0, show_default=True,
              metavar="P", help="Share of requests that write without reading first.")  # fmt: skip
@click.option("--timeout", type=Number(min=0, min_open=True), default=1.0,
              show_default=True, metavar="S", help="Deadline of one request.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="Of the random draws.")
@click.option("--namespace", metavar="NAME",
              help="Use and keep this one. [default: a new one, cleared at the end]")  # fmt: skip
@reach_cluster
@json_flag
@click.pass_context
def bench(
    ctx: click.Context, /, timeout: float, namespace: str | None, as_json: bool, **params: Any
) -> None:
    """Generate load and measure operations a second, latencies and the hit ratio.

    Each request reads keys; what misses is written, as an application fills its cache. Values
    follow from their key and are checked: "wrong" must be 0. Exit 1 if it is not, or if nothing
    was answered.

    \b
    Example:
      tiercluster bench --seconds 30 --threads 8 --batch 100
      tiercluster bench --trace web07.keys.gz --value-size 4KiB --json
    """
    params["keys"] = params.pop("keys_count")
    plan = _plan(params)
    space = namespace if namespace is not None else f"bench-{uuid.uuid4().hex[:8]}"
    with open_client(session_of(ctx), space, timeout) as client:
        client.explain("anything")  # nobody reachable is said at once
        began = time.monotonic()
        try:
            tally = run(client, plan, time.monotonic)
            took_s = time.monotonic() - began
        finally:
            if namespace is None:
                _clear(client, space)
    document = report(tally, took_s)
    if as_json:
        print_json(document)
    else:
        _show(document)
    if tally.last_error:
        click.echo(f"last error: {tally.last_error}", err=True)
    ctx.exit(Code.FAILED if tally.wrong or not tally.operations else Code.DONE)


def _clear(client: ClientDoor, space: str) -> None:
    try:
        client.clear()
    except TierclusterError as error:
        click.echo(f"what was written to namespace {space} is still there: {error}", err=True)


def _plan(params: dict[str, Any]) -> Plan:
    trace = params["trace"]
    if trace is not None:
        try:
            next(trace_keys(trace), None)
        except OSError as error:
            raise Stop(Code.USAGE, f"cannot read the trace {trace}: {error}") from error
    if params["seconds"] is None and params["requests"] is None and trace is None:
        params["seconds"] = 10.0
    return Plan(**params)


def run(client: ClientDoor, plan: Plan, clock: Callable[[], float]) -> Tally:
    """All workers, to the end; what they saw together."""
    streams = plan.streams()
    deadline = clock() + (plan.seconds if plan.seconds is not None else float("inf"))
    is_stopped = threading.Event()

    def worker(number: int) -> Tally:
        draw = random.Random(plan.seed * 1_000_003 + number)
        work = Work(
            value_size=plan.value_size,
            ttl_s=plan.ttl,
            clock=clock,
            is_over=lambda: is_stopped.is_set() or clock() >= deadline,
            write=lambda: draw.random() < plan.writes,
        )
        return play(client, streams[number], work)

    total = Tally()
    with ThreadPoolExecutor(plan.threads) as pool:
        try:
            for tally in pool.map(worker, range(plan.threads)):
                total.add(tally)
        finally:
            is_stopped.set()  # ctrl-c ends the workers too
    return total


def report(tally: Tally, took_s: float) -> dict[str, Any]:
    """What `bench --json` prints; latencies are of requests, in ms."""
    asked = tally.hits + tally.misses
    return {
        "seconds": round(took_s, 3),
        "operations": tally.operations,
        "operations_per_s": round(tally.operations / took_s, 1) if took_s else 0.0,
        "hits": tally.hits,
        "misses": tally.misses,
        "hit_ratio": round(tally.hits / asked, 4) if asked else None,
        "writes": tally.writes,
        "not_stored": tally.not_stored,
        "errors": tally.errors,
        "wrong": tally.wrong,
        "read_ms": _latencies(tally.reads_took),
        "write_ms": _latencies(tally.writes_took),
    }


def _latencies(took: Latencies) -> dict[str, Any] | None:
    if not took.count:
        return None
    found = {f"p{percent:g}": _ms(took.percentile(percent)) for percent in PERCENTILES}
    mean = _ms(took.total_s / took.count)
    return {"requests": took.count, "mean": mean, **found, "max": _ms(took.longest_s)}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _show(document: dict[str, Any]) -> None:
    ratio = document["hit_ratio"]
    click.echo(
        f"{document['operations']} operations in {document['seconds']:.1f} s: "
        f"{document['operations_per_s']:.0f} a second   "
        f"hit ratio {'-' if ratio is None else format(ratio, '.2%')}   "
        f"not stored {document['not_stored']}   errors {document['errors']}   "
        f"wrong {document['wrong']}"
    )
    rows = [
        (name, *(document[key].values()))
        for name, key in (("read", "read_ms"), ("write", "write_ms"))
        if document[key]
    ]
    if rows:
        percents = [f"#p{percent:g} ms" for percent in PERCENTILES]
        print_table(("request", "#count", "#mean ms", *percents, "#max ms"), rows)
