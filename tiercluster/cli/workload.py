"""What `bench` asks for: keys from a trace or a distribution, values that follow from their key."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import random
import zlib
from array import array
from bisect import bisect
from collections.abc import Iterable, Iterator
from pathlib import Path

GZIP_MAGIC = b"\x1f\x8b"
_DIGEST_BYTES = 32


def value_of(key: str, size: int) -> bytes:
    """``size`` bytes that follow from the key alone, so that whoever reads them can check them.
    Half of them repeat, as real values do: a compressed tier has something to gain."""
    fresh = hashlib.blake2b(key.encode(errors="surrogateescape"), digest_size=_DIGEST_BYTES)
    unit = fresh.digest() + b"tiercluster bench value padding "
    return (unit * (size // len(unit) + 1))[:size]


def trace_keys(file: Path) -> Iterator[str]:
    """The keys of a trace, one a line, gzip or not; OSError if it cannot be read."""
    with file.open("rb") as raw:
        is_gzip = raw.read(2) == GZIP_MAGIC
    with gzip.open(file, "rb") if is_gzip else file.open("rb") as lines:
        try:
            for line in lines:
                key = line.strip().decode(errors="surrogateescape")
                if key:
                    yield key
        except (EOFError, zlib.error) as error:
            raise OSError(f"{file} is damaged: {error}") from error


def zipf_weights(count: int, skew: float) -> array[float]:
    """The weights 1 / k ** skew of ``count`` keys, summed up from the first on."""
    return array("d", itertools.accumulate(1 / k**skew for k in range(1, count + 1)))


def zipf_keys(cumulated: array[float], seed: int) -> Iterator[str]:
    """Keys without end, by the weights of `zipf_weights`."""
    draw = random.Random(seed)
    total = cumulated[-1]
    while True:
        yield f"key:{bisect(cumulated, draw.random() * total)}"


def share(keys: Iterable[str], worker: int, workers: int) -> Iterator[str]:
    """Every ``workers``-th key, so that all workers together play each once."""
    return itertools.islice(keys, worker, None, workers)


def batches(keys: Iterable[str], size: int) -> Iterator[list[str]]:
    """The keys in lists of ``size``, the last one shorter."""
    source = iter(keys)
    while batch := list(itertools.islice(source, size)):
        yield batch
