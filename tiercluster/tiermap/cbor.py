"""Bytes from anywhere to plain values: what a frame declares is checked before anything is made.

The frames of the tier map use a small part of CBOR (RFC 8949): arrays of known length, texts,
integers below 2**64, floats and booleans. Whatever else it offers (tags, maps, byte strings, big
numbers, items of unknown length) is refused, so no decoder option or version matters.
"""

from __future__ import annotations

import struct
from typing import Any

import cbor2

MAX_DEPTH = 8  # state, map, members, member, tiers, record, evidence, fact
MAX_ITEMS = 1 << 20

_UINT, _NEGATIVE, _TEXT, _ARRAY, _SIMPLE = 0, 1, 3, 4, 7
_SIMPLE_BYTES = {20: 0, 21: 0, 25: 2, 26: 4, 27: 8}  # false, true, float16, float32, float64
_ARGUMENT = {24: (1, struct.Struct(">B")), 25: (2, struct.Struct(">H"))} | {
    26: (4, struct.Struct(">I")),
    27: (8, struct.Struct(">Q")),
}


def dumps(plain: object) -> bytes:
    """The one encoding of lists, texts, numbers and booleans (CBOR canonical)."""
    try:
        return cbor2.dumps(plain, canonical=True)
    except cbor2.CBOREncodeError as error:
        raise ValueError(f"cannot be encoded: {error}") from error


def loads(frame: bytes, max_bytes: int) -> Any:
    """One item, lists for arrays; ValueError for anything too large or not of our part of CBOR."""
    if len(frame) > max_bytes:
        raise ValueError(f"frame of {len(frame)} bytes; the limit is {max_bytes}")
    check(frame)
    try:
        return cbor2.loads(frame)
    except cbor2.CBORDecodeError as error:
        raise ValueError(f"no CBOR: {error}") from error


def check(frame: bytes) -> None:
    """ValueError unless the frame is exactly one item and all that it declares is there."""
    end, at, items = len(frame), 0, 0
    missing = [1]  # items still to come, for each open array
    while missing:
        if not missing[-1]:
            missing.pop()
            continue
        missing[-1] -= 1
        items += 1
        if at >= end or items > MAX_ITEMS:
            raise ValueError("frame cut short" if at >= end else f"more than {MAX_ITEMS} items")
        at, inner = _item(frame, at, end)
        if inner:
            missing.append(inner)
            if len(missing) > MAX_DEPTH + 1:
                raise ValueError(f"nested deeper than {MAX_DEPTH}")
    if at != end:
        raise ValueError(f"{end - at} bytes after the end of the frame")


def _item(frame: bytes, at: int, end: int) -> tuple[int, int]:
    """Where the item's own bytes end, and how many items it holds."""
    major, info = frame[at] >> 5, frame[at] & 31
    at += 1
    if major == _SIMPLE:
        if info not in _SIMPLE_BYTES:
            raise ValueError(f"simple value {info} has no place here")
        return _within(at + _SIMPLE_BYTES[info], end), 0
    argument, at = _argument(frame, at, end, info)
    if major in (_UINT, _NEGATIVE):
        return at, 0
    if major == _TEXT:
        return _within(at + argument, end), 0
    if major == _ARRAY:
        return at, argument
    raise ValueError(f"items of type {major} have no place here")


def _argument(frame: bytes, at: int, end: int, info: int) -> tuple[int, int]:
    if info < 24:
        return info, at
    if info not in _ARGUMENT:
        raise ValueError("items of unknown length have no place here")
    size, form = _ARGUMENT[info]
    _within(at + size, end)
    return int(form.unpack_from(frame, at)[0]), at + size


def _within(at: int, end: int) -> int:
    if at > end:
        raise ValueError("frame cut short")
    return at
