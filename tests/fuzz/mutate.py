"""Bytes made of other bytes: flips, cuts, copies, lengths that lie, heads of CBOR."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

MAX_BYTES = 1 << 16
_HEADS = (
    b"\x00", b"\x1b" + b"\xff" * 8, b"\x3b" + b"\xff" * 8, b"\x40", b"\x5b" + b"\xff" * 8,
    b"\x5f", b"\x61\xff", b"\x7b" + b"\x7f" * 8, b"\x80", b"\x81", b"\x82", b"\x98\xff",
    b"\x9a\xff\xff\xff\xff", b"\x9b" + b"\xff" * 8, b"\x9f", b"\xa1", b"\xbf", b"\xc0", b"\xc2",
    b"\xc4\x82", b"\xd8\x1c", b"\xd8\x1d\x00", b"\xd8\x23", b"\xd9\x01\x00", b"\xd9\x01\x02",
    b"\xf4", b"\xf5", b"\xf6", b"\xf7", b"\xf9\x7e\x00", b"\xfa\x7f\x80\x00\x00",
    b"\xfb\x7f\xf8" + b"\0" * 6, b"\xfb\x7f\xef" + b"\xff" * 6, b"\xff", b"\x81" * 40,
    b"\xc2\x59\x10\x00" + b"\xff" * 4096, b"\x80\x04", b"r\xff\xff\xff\xff", b"}", b"\x8e",
)  # fmt: skip


def _flip(rng: random.Random, data: bytearray) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(rng: random.Random, data: bytearray) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x17, 0x18, 0x7F, 0x80, 0xFF))


def _cut(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.choice((1, 2, 8, 64, len(data)))]


def _copy(rng: random.Random, data: bytearray) -> None:
    at, to = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
    data[to:to] = data[at : at + rng.choice((1, 4, 16, 64))] * rng.choice((1, 1, 2, 50))


def _insert(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice(_HEADS)


def _replace(rng: random.Random, data: bytearray) -> None:
    at, head = rng.randrange(len(data) + 1), rng.choice(_HEADS)
    data[at : at + len(head)] = head


def _noise(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.choice((1, 2, 9, 33)))


_WAYS: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _flip, _flip, _set, _set, _cut, _copy, _insert, _replace, _noise,
)  # fmt: skip


def mutated(rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    """One of the corpus, changed in a few ways, or the start of one with the end of another."""
    data = bytearray(rng.choice(corpus))
    if rng.random() < 0.1:
        other = rng.choice(corpus)
        data[rng.randrange(len(data) + 1) :] = other[rng.randrange(len(other) + 1) :]
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        rng.choice(_WAYS)(rng, data)
    return bytes(data[:MAX_BYTES])
