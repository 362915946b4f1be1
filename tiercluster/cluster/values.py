"""Values to bytes and back; the flags byte of an entry names its encoding.

Integers of 64 bits are stored as ASCII decimals under INT, whatever the serializer, so that the
owner can increment them. Reading goes by the stored flag, not by the reader's own serializer, but
pickle is read only where it was asked for.
"""

from __future__ import annotations

import json
import math
import pickle
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from datetime import timedelta
from enum import Enum, IntEnum
from typing import Any, Final, Protocol, TypeVar

import cbor2

from .errors import SerializationError, ValueTooLarge
from .wire import MAX_VALUE_BYTES

K = TypeVar("K")
TTL = float | int | timedelta | None  # seconds; None never expires; <= 0 is gone at once
MAX_TTL_S: Final = 10**15  # 30 million years
MAX_INT: Final = 2**63 - 1
MIN_INT: Final = -(2**63)
_ALL_BYTES = frozenset((bytes,))
_DECIMAL = re.compile(rb"-?[0-9]{1,20}")


class Default(Enum):
    """Stands for "as the client was told" where None has a meaning of its own."""

    DEFAULT = "DEFAULT"

    def __repr__(self) -> str:
        return "DEFAULT"


DEFAULT: Final = Default.DEFAULT


class Encoding(IntEnum):
    """The flags byte of an entry. INT is 0: so are the counters that a node makes itself."""

    INT = 0
    RAW = 1
    CBOR = 2
    JSON = 3
    PICKLE = 4
    CUSTOM = 5


# As plain integers, for the straight path.
INT: Final = int(Encoding.INT)
RAW: Final = int(Encoding.RAW)
RAW_FLAGS: Final = bytes((RAW,))  # of one value


class Serializer(Protocol):
    """What may be given as ``serializer``."""

    def dumps(self, value: Any, /) -> bytes: ...
    def loads(self, data: bytes, /) -> Any: ...


class _Bytes:
    def dumps(self, value: Any) -> bytes:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise TypeError("the bytes serializer takes bytes (and integers) only")
        return bytes(value)

    def loads(self, data: bytes) -> Any:
        return data


class _Json:
    def dumps(self, value: Any) -> bytes:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


# Whoever may write a key chooses the bytes that others read. What we never write is not read:
# values that refer to each other double with each reference. What grows faster than its bytes is
# limited.
MAX_BIG_INT_BYTES: Final = 1024
MAX_PATTERN: Final = 64 * 1024


def _no_references(item: Any, immutable: bool) -> Any:
    raise ValueError("references have no place in a value")


def _big_int(item: Any, immutable: bool) -> int:
    if type(item) is not bytes or len(item) > MAX_BIG_INT_BYTES:
        raise ValueError(f"an integer of more than {MAX_BIG_INT_BYTES} bytes")
    return int.from_bytes(item, "big")


def _negative_big_int(item: Any, immutable: bool) -> int:
    return -1 - _big_int(item, immutable)


def _pattern(item: Any, immutable: bool) -> re.Pattern[str]:
    if type(item) is not str or len(item) > MAX_PATTERN:
        raise ValueError(f"a regular expression of more than {MAX_PATTERN} characters")
    return re.compile(item)


_DECODERS: dict[int, Callable[[Any, bool], Any]] = {
    2: _big_int, 3: _negative_big_int, 25: _no_references, 28: _no_references,
    29: _no_references, 35: _pattern, 256: _no_references,
}  # fmt: skip


# cbor2 reads containers 400 deep, where a set counts twice, and runs out of stack (SIGSEGV) when it
# writes some thousands.
MAX_DEPTH: Final = 200
_LEAVES = frozenset((str, bytes, int, float, bool, type(None)))


def check_depth(value: Any) -> None:
    """ValueError for what is nested so deep that it could not be read again."""
    level = [value]
    for _ in range(MAX_DEPTH):
        found: dict[int, Any] = {}  # by id: what is referred to twice is looked at once
        for part in (part for item in level for part in _parts(item)):
            if not _LEAVES.issuperset(map(type, part)):
                found.update((id(item), item) for item in part if type(item) not in _LEAVES)
        if not found:
            return
        level = list(found.values())
    raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def _parts(item: Any) -> tuple[Iterable[Any], ...]:
    kind = type(item)
    if kind is dict:
        return (item, item.values())
    if kind is list or kind is tuple:
        return (item,)
    if isinstance(item, cbor2.CBORTag):
        return ((item.value,),)
    if isinstance(item, Mapping):
        return (item, item.values())
    if isinstance(item, Sequence | Set) and not isinstance(item, str | bytes | bytearray):
        return (item,)
    return ()


class _Cbor:
    def dumps(self, value: Any) -> bytes:
        if type(value) not in _LEAVES:
            check_depth(value)
        if type(value) is int and value.bit_length() > 8 * MAX_BIG_INT_BYTES:
            raise ValueError(f"an integer of more than {MAX_BIG_INT_BYTES} bytes")
        return cbor2.dumps(value)

    def loads(self, data: bytes) -> Any:
        return cbor2.loads(data, semantic_decoders=_DECODERS)


class _Pickle:
    def dumps(self, value: Any) -> bytes:
        return pickle.dumps(value, protocol=5)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)  # noqa: S301 - only for clients that asked for pickle


_BUILT_IN: dict[str, tuple[Encoding, Serializer]] = {
    "bytes": (Encoding.RAW, _Bytes()),
    "cbor": (Encoding.CBOR, _Cbor()),
    "json": (Encoding.JSON, _Json()),
    "pickle": (Encoding.PICKLE, _Pickle()),
}
_READ_BY_ALL: dict[int, Serializer] = {
    int(encoding): serializer
    for encoding, serializer in _BUILT_IN.values()
    if encoding is not Encoding.PICKLE
}


class Values:
    """One client's way to write values and to read them."""

    __slots__ = ("_dumps", "_encoding", "_readers", "_takes_bytes", "name")

    def __init__(self, serializer: str | Serializer) -> None:
        """ValueError for an unknown name, TypeError for an object without dumps and loads."""
        if isinstance(serializer, str):
            if serializer not in _BUILT_IN:
                raise ValueError(
                    f"unknown serializer {serializer!r}: {', '.join(sorted(_BUILT_IN))}, "
                    "or an object with dumps and loads"
                )
            self.name = serializer
            self._encoding, chosen = _BUILT_IN[serializer]
        else:
            if not callable(getattr(serializer, "dumps", None)) or not callable(
                getattr(serializer, "loads", None)
            ):
                raise TypeError("a serializer is a name or an object with dumps and loads")
            self.name = type(serializer).__name__
            self._encoding, chosen = Encoding.CUSTOM, serializer
        self._dumps: Callable[[Any], bytes] = chosen.dumps
        self._readers = {**_READ_BY_ALL, int(self._encoding): chosen}
        self._takes_bytes = self._encoding in (Encoding.RAW, Encoding.CBOR, Encoding.PICKLE)

    def encode(self, value: Any) -> tuple[bytes, int]:
        """(bytes, flags); SerializationError, or ValueTooLarge above 8 MiB."""
        kind = type(value)
        if kind is int and MIN_INT <= value <= MAX_INT:
            return b"%d" % value, INT
        if kind is bytes and self._takes_bytes:
            data, flags = value, RAW
        else:
            data, flags = self._serialize(value), int(self._encoding)
        if len(data) > MAX_VALUE_BYTES:
            raise ValueTooLarge(f"a value of {len(data)} bytes; the limit is {MAX_VALUE_BYTES}")
        return data, flags

    def encode_many(self, values: Collection[Any]) -> tuple[Sequence[bytes], bytes]:
        """`encode` of each: their bytes, and their flags, a byte each."""
        if self._takes_bytes and _ALL_BYTES.issuperset(map(type, values)):
            datas = tuple(values)
            if max(map(len, datas), default=0) <= MAX_VALUE_BYTES:
                return datas, RAW_FLAGS * len(datas)
        encoded = list(map(self.encode, values))
        return [data for data, _ in encoded], bytes([flags for _, flags in encoded])

    def _serialize(self, value: Any) -> bytes:
        try:
            data = self._dumps(value)
        except Exception as error:
            raise SerializationError(
                f"{self.name} cannot write {type(value).__name__}: {error}"
            ) from error
        if not isinstance(data, bytes):
            raise SerializationError(f"{self.name} made {type(data).__name__} instead of bytes")
        return data

    def decode(self, data: bytes, flags: int) -> Any:
        """The value; SerializationError if the bytes are not what the flags say, or need a
        serializer that this client was not given."""
        if flags == RAW:
            return data
        if flags == INT:
            if not _DECIMAL.fullmatch(data):
                raise SerializationError("stored bytes are marked as an integer and are none")
            return int(data)
        reader = self._readers.get(flags)
        if reader is None:
            name = Encoding(flags).name.lower() if flags in list(Encoding) else f"flags {flags}"
            raise SerializationError(
                f"the value was written with {name}; this client reads {self.name}"
            )
        try:
            return reader.loads(data)
        except Exception as error:
            raise SerializationError(f"stored bytes cannot be read: {error}") from error

    def decode_many(
        self, keys: Iterable[K], datas: Sequence[bytes | None], flags: bytes | bytearray
    ) -> Iterable[tuple[K, Any]]:
        """`decode` of each that is not None, with its key; SerializationError at the end if one
        cannot be read."""
        if flags.count(RAW) == len(flags) and None not in datas:
            return zip(keys, datas, strict=True)
        return self._decode_each(keys, datas, flags)

    def _decode_each(
        self, keys: Iterable[K], datas: Sequence[bytes | None], flags: bytes | bytearray
    ) -> Iterator[tuple[K, Any]]:
        decode, failed = self.decode, None
        for key, data, flag in zip(keys, datas, flags, strict=True):
            if data is None:
                continue
            try:
                value = decode(data, flag)
            except SerializationError as error:
                failed = failed or error
            else:
                yield key, value
        if failed is not None:
            raise failed


def seconds(ttl: TTL) -> float | None:
    """A TTL as the wire carries it: seconds, or None for never."""
    if ttl is None:
        return None
    if isinstance(ttl, timedelta):
        return ttl.total_seconds()
    if not isinstance(ttl, int | float) or isinstance(ttl, bool):
        raise TypeError(f"a TTL is a number of seconds, a timedelta or None, not {ttl!r}")
    if ttl != ttl:
        raise ValueError("a TTL cannot be NaN")
    return None if ttl == math.inf else float(max(min(ttl, MAX_TTL_S), -1))
