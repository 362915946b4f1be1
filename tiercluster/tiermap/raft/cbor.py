"""The part of CBOR that members speak: arrays, unsigned integers, byte strings, texts, booleans,
null. What a frame declares is checked before anything is made of it; anything else (tags, maps, big
numbers, unknown lengths) is refused, so no option of the decoder matters."""

from __future__ import annotations

from typing import Any

import cbor2

MAX_DEPTH = 5
_FALSE_TRUE_NULL = (0xF4, 0xF5, 0xF6)
_UINT, _BYTES, _TEXT, _ARRAY = 0, 2, 3, 4


def dumps(value: object) -> bytes:
    return cbor2.dumps(value)


def loads(data: bytes, limit: int) -> Any:
    """One item; ValueError for whatever is not exactly that or longer than ``limit`` bytes."""
    if len(data) > limit:
        raise ValueError(f"{len(data)} bytes; the limit is {limit}")
    _check(data)
    try:
        return cbor2.loads(data)
    except cbor2.CBORDecodeError as error:  # a text that is no UTF-8
        raise ValueError(f"no CBOR: {error}") from error


def _check(data: bytes) -> None:
    end, at, missing = len(data), 0, [1]
    while missing:
        if not missing[-1]:
            missing.pop()
            continue
        missing[-1] -= 1
        if at >= end:
            raise ValueError("cut short")
        major, info = data[at] >> 5, data[at] & 31
        if data[at] in _FALSE_TRUE_NULL:
            at += 1
            continue
        size = 1 << (info - 24) if 24 <= info <= 27 else 0
        if info > 27 or major not in (_UINT, _BYTES, _TEXT, _ARRAY) or at + 1 + size > end:
            raise ValueError(f"byte {data[at]:#x} has no place here")
        argument = int.from_bytes(data[at + 1 : at + 1 + size], "big") if size else info
        at += 1 + size
        if major == _UINT:
            continue
        if argument > end - at:  # each item takes a byte at least
            raise ValueError("longer than its frame")
        if major == _ARRAY:
            missing.append(argument)
            if len(missing) > MAX_DEPTH:
                raise ValueError(f"nested deeper than {MAX_DEPTH}")
        else:
            at += argument
    if at != end:
        raise ValueError("bytes after the end")
