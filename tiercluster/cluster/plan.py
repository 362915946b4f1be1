"""Operations: what one call asks for, in parts for the owners of its keys, and what came back.

An operation knows its wire keys, can write the request for any part of them (`ask`) and takes the
answer for that part (`take`). Which node gets which part, and when, is decided by `attempt`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple, TypeVar

from .codec import values_of
from .errors import ProtocolError, SerializationError, TierclusterError
from .routing import Router
from .wire import (
    LEFT_OUT,
    MAX_KEYS,
    Count,
    Counter,
    Delete,
    DeletePrefix,
    Fields,
    Flags,
    Get,
    Incr,
    Kind,
    Mode,
    Page,
    Peek,
    Peeked,
    Reply,
    Result,
    Scan,
    Store,
    Stored,
    Touch,
    Values,
    Watched,
    WatchGet,
)

T = TypeVar("T")
MAX_REQUEST_BYTES = 16 * 2**20  # of values in one message; one larger value goes alone
MAX_REQUEST_KEY_BYTES = 2 * 2**20  # of keys in one message: half of what a header may hold
KEY_EXTRA_BYTES = 32  # what a header holds for a key beside it, at most

Part = tuple[int, ...]  # indices of keys


class Operation:
    """One call. ``node``: the member it is addressed to, None: whoever owns each key.
    ``is_write``: may have been applied when no answer came. ``is_repeatable``: applying it again
    has the same effect. ``bad_request`` is how a node's BAD_REQUEST is raised."""

    kind: ClassVar[Kind]
    is_write: ClassVar[bool] = False
    is_repeatable: ClassVar[bool] = True
    bad_request: ClassVar[type[TierclusterError]] = ProtocolError
    node: str | None = None
    keys: Sequence[bytes] = ()
    answered_by: str = ""  # the node whose answer is being taken
    router: Router | None = None  # that it was planned by last

    def ask(self, part: Part) -> tuple[Fields, bytes]:
        raise NotImplementedError

    def take(self, part: Part, reply: Reply) -> Part:
        """Take the answer; the part of it that must be asked again. ProtocolError if it is no
        answer to this part."""
        raise NotImplementedError

    def size(self, index: int) -> int:
        """Bytes of the body that this key adds to a request."""
        return 0

    def total_size(self) -> int:
        """`size` of all keys."""
        return 0

    def hits(self) -> int:
        """How many of the keys were found, for reads of values; -1 for anything else."""
        return -1


def fits_one_message(operation: Operation) -> bool:
    """Whether all of it, and so any part of it, is small enough."""
    keys = operation.keys
    return (
        len(keys) <= MAX_KEYS
        and operation.total_size() <= MAX_REQUEST_BYTES
        and sum(map(len, keys)) + KEY_EXTRA_BYTES * len(keys) <= MAX_REQUEST_KEY_BYTES
    )


def split(operation: Operation, part: Part) -> Iterator[Part]:
    """The part in pieces that each fit a message."""
    start, body, heads = 0, 0, 0
    for at, index in enumerate(part):
        value, key = operation.size(index), len(operation.keys[index]) + KEY_EXTRA_BYTES
        is_full = (
            at - start >= MAX_KEYS
            or body + value > MAX_REQUEST_BYTES
            or heads + key > MAX_REQUEST_KEY_BYTES
        )
        if is_full and at > start:
            yield part[start:at]
            start, body, heads = at, 0, 0
        body, heads = body + value, heads + key
    yield part[start:]


def _check(good: bool, what: str) -> None:
    if not good:
        raise ProtocolError(f"an answer that does not fit its question: {what}")


def _picked(items: Sequence[T], part: Part) -> tuple[T, ...]:
    """Those of the part. Parts are in order, so one of full length is all of them."""
    return tuple(items) if len(part) == len(items) else tuple([items[i] for i in part])


def cut(body: bytes, sizes: Sequence[int]) -> list[bytes | None]:
    """The values of which a body is made; None where a size is MISS or LEFT_OUT. ProtocolError if
    they do not make it up exactly."""
    least = min(sizes, default=0)
    _check(least >= LEFT_OUT, "sizes")
    total = sum(sizes) if least >= 0 else sum([size for size in sizes if size > 0])
    _check(total == len(body), "body")
    if least >= 0:
        return [*values_of(body, sizes)]
    found = iter(values_of(body, [size for size in sizes if size >= 0]))
    return [next(found) if size >= 0 else None for size in sizes]


class Found(NamedTuple):
    data: bytes
    flags: int
    version: int
    ttl: float | None
    place: int
    node: str  # that answered


class GetOp(Operation):
    """``datas``: per key what was there, or None; ``flags``: per key those of its value."""

    kind = Kind.GET

    def __init__(self, keys: Sequence[bytes], meta: bool = False) -> None:
        self.keys = keys
        self.meta = meta
        self.datas: list[bytes | None] = [None] * len(keys)
        self.flags = bytearray(len(keys))
        self._metas: dict[int, tuple[int, float | None, int]] = {}
        self._nodes: dict[int, str] = {}

    def found(self, index: int) -> Found | None:
        """What was there for one key; version, TTL, place and node only if ``meta``."""
        data = self.datas[index]
        if data is None:
            return None
        meta, node = self._metas.get(index, (0, None, 0)), self._nodes.get(index, "")
        return Found(data, self.flags[index], *meta, node)

    def hits(self) -> int:
        return len(self.datas) - self.datas.count(None)

    def ask(self, part: Part) -> tuple[Fields, bytes]:
        return Get(_picked(self.keys, part), self.meta), b""

    def take(self, part: Part, reply: Reply) -> Part:
        fields = reply.fields
        assert isinstance(fields, Values)
        n = len(part)
        told = n if self.meta else 0
        _check(len(fields.sizes) == n and len(fields.flags) == n, "sizes of values")
        _check(len(fields.versions) == len(fields.ttls) == len(fields.places) == told, "meta")
        datas, is_whole = cut(reply.body, fields.sizes), LEFT_OUT not in fields.sizes
        _check(is_whole or max(fields.sizes) >= 0, "nothing")
        if n == len(self.keys):
            self.datas, self.flags = datas, bytearray(fields.flags)
        else:
            self._put(part, datas, fields.flags)
        if self.meta:
            metas = zip(fields.versions, fields.ttls, fields.places, strict=True)
            self._metas.update(zip(part, metas, strict=True))
            self._nodes.update(dict.fromkeys(part, self.answered_by))
        if is_whole:
            return ()
        return tuple(i for i, size in zip(part, fields.sizes, strict=True) if size == LEFT_OUT)

    def _put(self, part: Part, datas: list[bytes | None], flags: bytes) -> None:
        mine, my_flags = self.datas, self.flags
        for i, data, flag in zip(part, datas, flags, strict=True):
            mine[i], my_flags[i] = data, flag


class Kept(NamedTuple):
    """What a node said of one key that it watches for us."""

    at: int  # index of the key
    node: str
    stint: int
    seq: int
    version: int
    ttl: float | None


class WatchOp(GetOp):
    """A read whose values are kept here: the nodes tell ``watcher`` when they change. ``began``
    and ``ticket`` are of the moment before it is sent."""

    kind = Kind.WATCH_GET

    def __init__(self, keys: Sequence[bytes], watcher: bytes, began: float, ticket: int) -> None:
        super().__init__(keys)
        self.watcher = watcher
        self.began = began
        self.ticket = ticket
        self.kept: list[Kept] = []

    def ask(self, part: Part) -> tuple[Fields, bytes]:
        return WatchGet(_picked(self.keys, part), self.watcher), b""

    def take(self, part: Part, reply: Reply) -> Part:
        fields = reply.fields
        assert isinstance(fields, Watched)
        told = zip(part, fields.versions, fields.ttls, strict=False)
        _check(len(fields.versions) == len(fields.ttls) == len(part), "meta")
        left = super().take(part, reply._replace(fields=Values(fields.sizes, fields.flags)))
        node, stint, seq, datas = self.answered_by, fields.stint, fields.seq, self.datas
        if stint:
            self.kept += [
                Kept(index, node, stint, seq, version, ttl)
                for index, version, ttl in told
                if datas[index] is not None
            ]
        return left


class StoreOp(Operation):
    """``versions``: per key what is stored now, 0 where it was not."""

    kind = Kind.STORE
    is_write = True

    def __init__(
        self,
        mode: Mode,
        keys: Sequence[bytes],
        datas: Sequence[bytes],
        flags: bytes,
        ttl: float | None,
        expected: int = 0,
    ) -> None:
        """``datas`` and ``flags``: a value and a byte per key; ``expected``: the version for
        CAS."""
        self.mode, self.keys, self.datas, self.flags, self.ttl = mode, keys, datas, flags, ttl
        self.expected = expected
        self.versions = [0] * len(keys)

    def size(self, index: int) -> int:
        return len(self.datas[index])

    def total_size(self) -> int:
        return sum(map(len, self.datas))

    def ask(self, part: Part) -> tuple[Fields, bytes]:
        keys, datas, flags = _picked(self.keys, part), _picked(self.datas, part), self.flags
        if len(part) != len(flags):
            flags = bytes([flags[i] for i in part])
        expected = (self.expected,) if self.mode is Mode.CAS else ()
        fields = Store(self.mode, keys, tuple(map(len, datas)), flags, (self.ttl,), expected)
        return fields, datas[0] if len(datas) == 1 else b"".join(datas)

    def take(self, part: Part, reply: Reply) -> Part:
        assert isinstance(reply.fields, Stored)
        versions = reply.fields.versions
        _check(len(versions) == len(part), "versions stored")
        if len(part) == len(self.keys):
            self.versions = list(versions)
            return ()
        for i, version in zip(part, versions, strict=True):
            self.versions[i] = version
        return ()


class OnceStoreOp(StoreOp):
    """Add, replace and compare-and-set: a second application would answer otherwise."""

    is_repeatable = False


class _FlagsOp(Operation):
    is_write = True

    def __init__(self, keys: Sequence[bytes]) -> None:
        self.keys = keys
        self.found = [False] * len(keys)

    def take(self, part: Part, reply: Reply) -> Part:
        assert isinstance(reply.fields, Flags)
        _check(len(reply.fields.found) == len(part), "flags")
        for i, found in zip(part, reply.fields.found, strict=True):
            self.found[i] = found
        return ()


class DeleteOp(_FlagsOp):
    kind = Kind.DELETE

    def __init__(self, keys: Sequence[bytes], version: int | None = None) -> None:
        super().__init__(keys)
        self.version = version

    def ask(self, part: Part) -> tuple[Fields, bytes]:
        return Delete(_picked(self.keys, part), self.version), b""


class TouchOp(_FlagsOp):
    kind = Kind.TOUCH

    def __init__(self, keys: Sequence[bytes], ttl: float | None) -> None:
        super().__init__(keys)
        self.ttl = ttl

    def ask(self, part: Part) -> tuple[Fields, bytes]:
        return Touch(_picked(self.keys, part), self.ttl), b""


class IncrOp(Operation):
    """``counter``: what the owner answered, or BAD_REQUEST past 64 bits."""

    kind = Kind.INCR
    is_write = True
    is_repeatable = False
    bad_request = SerializationError

    def __init__(self, fields: Incr) -> None:
        self.keys = (fields.key,)
        self.fields = fields
        self.counter: Counter | None = None

    def ask(self, part: Part) -> tuple[Fields, bytes]:
        return self.fields, b""

    def take(self, part: Part, reply: Reply) -> Part:
        assert isinstance(reply.fields, Counter)
        self.counter = reply.fields
        return ()


class PeekOp(Operation):
    """``versions``: 0 where absent; ``ttls``: seconds left, None for never."""

    kind = Kind.PEEK

    def __init__(self, keys: Sequence[bytes]) -> None:
        self.keys = keys
        self.versions = [0] * len(keys)
        self.ttls: list[float | None] = [None] * len(keys)

    def ask(self, part: Part) -> tuple[Fields, bytes]:
        return Peek(_picked(self.keys, part)), b""

    def take(self, part: Part, reply: Reply) -> Part:
        fields = reply.fields
        assert isinstance(fields, Peeked)
        _check(len(fields.versions) == len(fields.ttls) == len(part), "versions and TTLs")
        for i, version, ttl in zip(part, fields.versions, fields.ttls, strict=True):
            self.versions[i], self.ttls[i] = version, ttl
        return ()


class NodeOp(Operation):
    """A question to one member, whatever it owns; ``result`` is the answer's fields."""

    def __init__(self, kind: Kind, node: str, fields: Fields) -> None:
        self.kind = kind  # type: ignore[misc]
        self.node = node
        self.keys = (b"",)
        self.fields = fields
        self.result: Result | None = None

    def ask(self, part: Part) -> tuple[Fields, bytes]:
        return self.fields, b""

    def take(self, part: Part, reply: Reply) -> Part:
        self.result = reply.fields
        return ()


class LookOp(Operation):
    """Asks any member for the newest tier map; ``router`` is the answer. Only a question that was
    asked later than ``asked_after`` counts: the answer to an earlier one may be older than the
    call."""

    kind = Kind.SUBSCRIBE
    keys = (b"",)
    asked_after = 0


class ScanOp(NodeOp):
    """One page of one member's keys."""

    def __init__(self, node: str, prefix: bytes, cursor: int, limit: int) -> None:
        super().__init__(Kind.SCAN, node, Scan(prefix, cursor, limit))

    @property
    def page(self) -> Page:
        assert isinstance(self.result, Page)
        return self.result


class DeletePrefixOp(NodeOp):
    """One step of deleting one member's keys with a prefix."""

    is_write = True

    def __init__(self, node: str, prefix: bytes, cursor: int) -> None:
        super().__init__(Kind.DELETE_PREFIX, node, DeletePrefix(prefix, cursor))

    @property
    def count(self) -> Count:
        assert isinstance(self.result, Count)
        return self.result
