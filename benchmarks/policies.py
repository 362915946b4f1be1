"""Miss ratios of the eviction policies on real key traces, beside those of reference policies.

    python benchmarks/policies.py DIRECTORY [--sizes 0.01,0.1]
    python benchmarks/policies.py --memory

DIRECTORY holds traces: one key a line, ``*.keys.gz``. Every object has size 1. ``--memory``
measures what an entry costs beside its key and value.
"""

from __future__ import annotations

import argparse
import gzip
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

from tiercluster.node.directory import VERSION_SHIFT, Directory
from tiercluster.node.entry import NEVER, Entry
from tiercluster.node.policy import Lru, Policy, S3Fifo

POLICIES: dict[str, Callable[[], Policy]] = {"LRU": Lru, "S3-FIFO": S3Fifo}
ENTRIES = 200_000  # for --memory


def read_trace(path: Path) -> list[bytes]:
    with gzip.open(path, "rb") as lines:
        return [line.strip() for line in lines]


def miss_ratio(policy: Policy, keys: list[bytes], capacity: int) -> float:
    """Each miss brings the key in."""
    held: dict[bytes, Entry] = {}
    misses = 0
    for key in keys:
        entry = held.get(key)
        if entry is not None:
            policy.hit(entry)
            continue
        misses += 1
        while policy.count >= capacity and (victim := policy.victim()) is not None:
            del held[victim.key]
        entry = held[key] = Entry(key, 1, 0, NEVER, 1)
        entry.cost = 1
        policy.add(entry)
    return misses / len(keys)


def rows(directory: Path, shares: list[float]) -> Iterator[tuple[str, int, list[float]]]:
    for path in sorted(directory.glob("*.keys.gz")):
        keys = read_trace(path)
        distinct = len(set(keys))
        for share in shares:
            capacity = int(distinct * share)
            yield (
                path.name.split(".")[0],
                capacity,
                [miss_ratio(make(), keys, capacity) for make in POLICIES.values()],
            )


def bytes_an_entry() -> float:
    """Memory an entry takes beside its key and value, in a directory and a policy."""
    values = [b"x" * 100 for _ in range(ENTRIES)]
    keys = [b"\0key-%08d" % number for number in range(ENTRIES)]
    payload = sum(map(len, keys)) + sum(map(len, values))
    del keys, values
    tracemalloc.start()
    directory, policy = Directory(), S3Fifo()
    for number in range(ENTRIES):
        version = directory.next_version() + (5 << VERSION_SHIFT)
        entry = Entry(b"\0key-%08d" % number, version, 0, 1e6 + number, 100)
        entry.value = b"%0100d" % number
        entry.cost = 500 + number % 1000
        directory.put(entry)
        policy.add(entry)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (taken - payload) / ENTRIES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("--sizes", default="0.01,0.1", help="shares of the distinct keys")
    parser.add_argument("--memory", action="store_true")
    args = parser.parse_args()
    if args.memory:
        print(f"an entry takes {bytes_an_entry():.0f} bytes beside its key and value")
    if args.directory is None:
        return
    print(f"{'trace':14}{'size':>7}" + "".join(f"{name:>12}" for name in POLICIES))
    shares = [float(share) for share in args.sizes.split(",")]
    for name, capacity, ratios in rows(args.directory, shares):
        print(f"{name:14}{capacity:>7}" + "".join(f"{ratio:>12.4f}" for ratio in ratios))


if __name__ == "__main__":
    main()
