"""Rates of the cold store on this machine's disk: put and get one by one, and in batches.

    python benchmarks/cold_store.py [--keys 50000] [--bytes 1024] [--directory DIR]

Prints microseconds an operation, p50 and p99 for single ones.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tiercluster.node.failures import Failure
from tiercluster.node.tiers.cold import ColdStore


def timed(calls: list[Callable[[], object]]) -> list[float]:
    took = []
    for call in calls:
        started = time.perf_counter()
        result = call()
        took.append((time.perf_counter() - started) * 1e6)
        assert not isinstance(result, Failure), result
    return sorted(took)


def report(what: str, took: list[float], each: int = 1) -> None:
    p50, p99 = took[len(took) // 2] / each, took[len(took) * 99 // 100] / each
    mean = sum(took) / len(took) / each
    print(f"{what:24} mean {mean:8.1f}  p50 {p50:8.1f}  p99 {p99:8.1f} us an operation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=50_000)
    parser.add_argument("--bytes", type=int, default=1024)
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(dir=options.directory))
    try:
        run(ColdStore(directory / "cold"), options.keys, options.bytes)
    finally:
        shutil.rmtree(directory)


def run(store: ColdStore, keys: int, size: int) -> None:
    store.open(wipe=True)
    value = random.Random(1).randbytes(size)
    order = list(range(keys))
    random.Random(2).shuffle(order)

    def put_batch(numbers: list[int]) -> object:
        for n in numbers:
            store.put(b"\x00key:%d" % n, 1, 1, 0, None, value)
        return store.commit()

    def delete_batch(numbers: list[int]) -> object:
        store.delete(tuple((b"\x00key:%d" % n, 1) for n in numbers))
        return store.commit()

    batches = [order[i : i + 100] for i in range(0, keys, 100)]
    some = order[:5000]
    report("put, 100 a batch", timed([lambda b=b: put_batch(b) for b in batches]), 100)
    report("put, one by one", timed([lambda n=n: put_batch([n]) for n in some]))
    report("get", timed([lambda n=n: store.get(b"\x00key:%d" % n, 1) for n in some]))
    report("delete, 100 a batch", timed([lambda b=b: delete_batch(b) for b in batches]), 100)
    store.close()


if __name__ == "__main__":
    main()
