"""The wire codec: messages to frames and back.

A message is ``[header, body]``, or ``[header]`` if the body is empty. The header is one cbor2
array; the body is all values of the message, one after the other, so that a hundred values cost one
frame. A request's header is

    [version, kind, rid, map_version, deadline_ms, client, retry or prior, fields]

and a reply's (kind + REPLY)

    [version, kind, rid, map_version, clock_ms, status, fields]

A request is answered in its own version; what both sides speak they learn from HELLO, which is
written in the oldest. A newer version may have more kinds (`wire.SINCE`) and newer frames of the
tier map.

Long lists travel packed, as one byte string each, which costs a fifth of an array: numbers in
little endian, keys with 0xFF between them, a byte that UTF-8 never holds (keys that hold it travel
as an array). All decoders treat bytes as hostile: they check sizes and counts first and raise
WireError, nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import fields
from io import BytesIO
from operator import attrgetter
from typing import Any

import cbor2

from .wire import (
    ANSWERED,
    ASKED,
    CLIENT_ID_BYTES,
    FIRST_FIELDS,
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    MAX_KEYS,
    MAX_VALUE_BYTES,
    MAX_WIRE_KEY_BYTES,
    NAME_BYTES,
    OLDEST_VERSION,
    PRIOR_SINCE,
    REPLY,
    SINCE,
    VERSION,
    Kind,
    MapUpdate,
    Mode,
    OpKind,
    Refusal,
    Replicate,
    Reply,
    Request,
    Status,
    Store,
    UnknownKind,
    WireError,
)

_CODES: dict[str, tuple[type, ...]] = {
    "i": (int,), "u": (int,), "f": (float, int), "b": (bool,), "s": (str,), "y": (bytes,),
    "k": (bytes,),
}  # fmt: skip
_NONE = type(None)
Check = Callable[[Any], Any]


def _check(code: str) -> Check:
    """The check of one field; it returns the value, or raises WireError."""
    if code in _UNPACK:
        return _UNPACK[code]
    types = frozenset(_CODES[code[0]] + ((_NONE,) if "?" in code else ()))
    is_good = {"k": _is_key, "f": _is_number, "u": _is_stored}.get(code[0])
    return (_many if "*" in code else _one)(code, types, is_good)


def _is_key(value: Any) -> bool:
    return 1 < len(value) <= MAX_WIRE_KEY_BYTES


def _is_number(value: Any) -> bool:
    return value is None or value == value  # NaN is not


def _is_stored(value: int) -> bool:
    return 0 <= value < 2**63  # what a row of the cold store takes


def _one(code: str, types: frozenset[type], is_good: Callable[[Any], bool] | None) -> Check:
    def check(value: Any) -> Any:
        if type(value) not in types or (is_good is not None and not is_good(value)):
            raise WireError(f"a field of code {code[0]} holds something else")
        return value

    return check


def _many(code: str, types: frozenset[type], is_good: Callable[[Any], bool] | None) -> Check:
    def check(values: Any) -> Any:
        if type(values) is not tuple or len(values) > MAX_KEYS:
            raise WireError("a field is no list, or too long")
        if not types.issuperset(map(type, values)):
            raise WireError(f"a list of code {code[0]} holds something else")
        if is_good is not None and not all(map(is_good, values)):
            raise WireError(f"a list of code {code[0]} holds a value that is none")
        return values

    return check


# --- packed lists -------------------------------------------------------------------------------

_BETWEEN_KEYS = b"\xff"
_BYTES = frozenset((bytes,))


def _pack_keys(keys: tuple[bytes, ...]) -> bytes | tuple[bytes, ...]:
    packed = _BETWEEN_KEYS.join(keys)
    return packed if packed.count(_BETWEEN_KEYS) + 1 == len(keys) else keys


def _unpack_keys(value: Any) -> tuple[bytes, ...]:
    if type(value) is bytes:
        if value.count(_BETWEEN_KEYS) >= MAX_KEYS:
            raise WireError("too many keys")
        keys = tuple(value.split(_BETWEEN_KEYS))
    elif type(value) is tuple and len(value) <= MAX_KEYS and _BYTES.issuperset(map(type, value)):
        keys = value
    else:
        raise WireError("a field of keys holds something else")
    if keys and (min(map(len, keys)) < 2 or max(map(len, keys)) > MAX_WIRE_KEY_BYTES):
        raise WireError("a key is empty or too long")
    return keys


def _packer(code: str) -> Callable[[tuple[int, ...]], bytes]:
    one = struct.Struct(f"<{code}")

    def pack(numbers: tuple[int, ...]) -> bytes:
        if len(numbers) == 1:
            return one.pack(numbers[0])
        return struct.pack(f"<{len(numbers)}{code}", *numbers)

    return pack


def _unpacker(code: str) -> Check:
    one = struct.Struct(f"<{code}")
    width = one.size

    def unpack(value: Any) -> tuple[int, ...]:
        if type(value) is not bytes or len(value) % width or len(value) > MAX_KEYS * width:
            raise WireError("a field of packed numbers holds something else")
        if len(value) == width:
            return one.unpack(value)
        return struct.unpack(f"<{len(value) // width}{code}", value)

    return unpack


_PACK: dict[str, Callable[[Any], Any]] = {"K": _pack_keys, "N": _packer("i"), "V": _packer("q")}
_UNPACK: dict[str, Check] = {"K": _unpack_keys, "N": _unpacker("i"), "V": _unpacker("q")}


def _flattener(cls: type[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """What makes the plain fields of a message, in their order."""
    names = tuple(f.name for f in fields(cls))
    packs = [(at, _PACK[code]) for at, code in enumerate(cls.shape.split()) if code in _PACK]
    get = attrgetter(*names) if len(names) > 1 else _plain_getter(names)
    if not packs:
        return get

    def flatten(value: Any) -> tuple[Any, ...]:
        plain = list(get(value))
        for at, pack in packs:
            plain[at] = pack(plain[at])
        return tuple(plain)

    return flatten


def _plain_getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """`attrgetter` for less than two names, which answers with a tuple all the same."""
    if not names:
        return lambda value: ()
    get = attrgetter(names[0])
    return lambda value: (get(value),)


_MESSAGES: tuple[type[Any], ...] = (*ASKED.values(), *ANSWERED.values(), Refusal)
_CHECKS: dict[type, tuple[Check, ...]] = {
    cls: tuple(map(_check, cls.shape.split())) for cls in _MESSAGES
}
_FLATTEN = {cls: _flattener(cls) for cls in _MESSAGES}
_REQUEST_KINDS = {int(kind): (kind, cls) for kind, cls in ASKED.items()}
_REPLY_KINDS = {int(kind) + REPLY: (kind, cls) for kind, cls in ANSWERED.items()}
_STATUSES = {int(status): status for status in Status}


_FIRST_CHECKS = {cls: _CHECKS[cls][:count] for cls, count in FIRST_FIELDS.items()}


def _build(cls: type[Any], values: Any, protocol: int) -> Any:
    checks = _CHECKS[cls]
    if protocol == OLDEST_VERSION:
        checks = _FIRST_CHECKS.get(cls, checks)
    if type(values) is not tuple or len(values) != len(checks):
        raise WireError(f"{cls.__name__} takes {len(checks)} fields")
    return cls(*[check(value) for check, value in zip(checks, values, strict=True)])


def _flat(value: Any, protocol: int) -> tuple[Any, ...]:
    """The plain fields that this version of the message has."""
    cls = type(value)
    plain = _FLATTEN[cls](value)
    return plain[: FIRST_FIELDS.get(cls)] if protocol == OLDEST_VERSION else plain


def encode_request(r: Request) -> list[bytes]:
    """A request as frames; WireError if its version has no such kind."""
    if SINCE and r.protocol < _since(r.kind):
        raise WireError(f"{r.kind.name} cannot be asked in protocol version {r.protocol}")
    asked = _flat(r.fields, r.protocol)
    retry = r.prior or r.retry
    head = (r.protocol, int(r.kind), r.rid, r.map_version, r.deadline_ms, r.client, retry, asked)
    return [cbor2.dumps(head), r.body] if r.body else [cbor2.dumps(head)]


def encode_reply(r: Reply) -> list[bytes]:
    """A reply as frames."""
    said = _flat(r.fields, r.protocol)
    kind, status = int(r.kind) + REPLY, int(r.status)
    head = (r.protocol, kind, r.rid, r.map_version, r.clock_ms, status, said)
    return [cbor2.dumps(head), r.body] if r.body else [cbor2.dumps(head)]


def _refuse(*_: object) -> Any:
    raise WireError("a header is made of arrays, numbers, texts and bytes only")


# What cbor2 would make of these tags can cost seconds a kilobyte (regular expressions), memory
# without bound (shared values), or an integer of megabytes. A header needs none, and no maps.
_TAGS = (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004,
         43000, 55799)  # fmt: skip
_DECODERS: dict[int, Callable[..., Any]] = dict.fromkeys(_TAGS, _refuse)
_DEPTH = 3  # header, fields, list
_PLAIN_DEPTH = 8


def values_of(body: bytes, sizes: Sequence[int]) -> list[bytes]:
    """The values that make up a body; their sizes have been checked."""
    return [body] if len(sizes) == 1 else list(map(BytesIO(body).read, sizes))


def _since(kind: Kind) -> int:
    return SINCE.get(kind, OLDEST_VERSION)


def _header(frames: Sequence[bytes], length: int, us: str) -> tuple[Any, ...]:
    if not 0 < len(frames) <= 2:
        raise WireError(f"{len(frames)} frames instead of 1 or 2")
    if len(frames[0]) > MAX_HEADER_BYTES or len(frames[-1]) > MAX_BODY_BYTES:
        raise WireError("a frame above the limit")
    try:
        header = cbor2.loads(
            frames[0], tag_hook=_refuse, object_hook=_refuse, semantic_decoders=_DECODERS,
            max_depth=_DEPTH, allow_indefinite=False, immutable=True,
        )  # fmt: skip
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise WireError(f"no header: {error}") from None
    if type(header) is not tuple or not header or type(header[0]) is not int or header[0] < 1:
        raise WireError("no header of this protocol")
    if not OLDEST_VERSION <= header[0] <= VERSION:
        raise WireError(no_common(header[0], header[0], us))
    if len(header) != length:
        raise WireError(f"no header of protocol version {header[0]}")
    return header


def no_common(oldest: int, newest: int, us: str) -> str:
    """Why two sides cannot talk, and which is to be upgraded. ``us``: this node, or this client;
    the other one speaks ``oldest`` to ``newest``."""
    other = "the client" if us == "this node" else "the node"
    spoken = f"{us} speaks protocol version {OLDEST_VERSION} to {VERSION}"
    older = us if oldest > VERSION else other
    return f"{spoken}, {other} {oldest} to {newest}: upgrade {older}"


def decode_plain(data: bytes) -> Any:
    """Arrays, maps and plain values from anywhere; WireError for anything else."""
    try:
        return cbor2.loads(
            data, tag_hook=_refuse, semantic_decoders=_DECODERS, max_depth=_PLAIN_DEPTH,
            allow_indefinite=False, strict_hashable_types=True,
        )  # fmt: skip
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise WireError(f"no plain values: {error}") from None


def _integers(*values: Any) -> None:
    for value in values:
        if type(value) is not int or not 0 <= value < 2**63:
            raise WireError("a header field is no integer in range")


def decode_request(frames: Sequence[bytes]) -> Request:
    """Frames to a Request; WireError for anything else."""
    protocol, code, rid, version, deadline, client, retry, values = _header(frames, 8, "this node")
    _integers(code, rid, version, deadline)
    if type(client) is not bytes or len(client) != CLIENT_ID_BYTES:
        raise WireError("no client id")
    if type(retry) is not bool:
        if protocol < PRIOR_SINCE or not retry:
            raise WireError("neither a retry nor another request")
        _integers(retry)
    kind, cls = _REQUEST_KINDS.get(code) or _no_request(code, rid, protocol)
    if SINCE and protocol < _since(kind):
        _no_request(code, rid, protocol)
    fields_ = _build(cls, values, protocol)
    body = frames[1] if len(frames) == 2 else b""
    if cls is Store:
        _check_store(fields_, len(body))
    elif cls is Replicate:
        _check_replicate(fields_, len(body))
    prior = 0 if type(retry) is bool else retry
    return Request(
        kind, rid, version, deadline, client, bool(retry), fields_, body, protocol, prior
    )  # fmt: skip


def _no_request(code: int, rid: int, protocol: int) -> Any:
    raise UnknownKind(code, rid, protocol)


def _no_reply(code: int) -> Any:
    raise WireError(f"no reply of kind {code}")


def _check_store(s: Store, body: int) -> None:
    n, sizes = len(s.keys), s.sizes
    if len(sizes) != n or len(s.flags) != n or not s.ttls or len(s.ttls) not in (1, n):
        raise WireError("a store whose lists differ in length")
    if sum(sizes) != body or (sizes and not 0 <= min(sizes) <= max(sizes) <= MAX_VALUE_BYTES):
        raise WireError("a store whose sizes do not match its body")
    if s.mode not in (0, 1, 2, 3) or len(s.versions) != (n if s.mode == Mode.CAS else 0):
        raise WireError("a store of no known mode, or without its versions")


def _check_replicate(r: Replicate, body: int) -> None:
    n = len(r.keys)
    if any(len(one) != n for one in (r.kinds, r.versions, r.sizes, r.flags, r.ttls)):
        raise WireError("a replicate whose lists differ in length")
    if sum(r.sizes) != body or (n and not 0 <= min(r.sizes) <= max(r.sizes) <= MAX_VALUE_BYTES):
        raise WireError("a replicate whose sizes do not match its body")
    if n and (max(r.kinds) > max(OpKind) or min(r.versions) < 0):
        raise WireError("a replicate of no known kind, or of no version")
    if len(r.names) not in (0, n * NAME_BYTES):
        raise WireError("a replicate whose names do not match")


def decode_reply(frames: Sequence[bytes]) -> Reply:
    """Frames to a Reply; WireError for anything else."""
    protocol, code, rid, version, clock, status_code, values = _header(frames, 7, "this client")
    _integers(code, rid, version, clock, status_code)
    kind, cls = _REPLY_KINDS.get(code) or _no_reply(code)
    status = _STATUSES.get(status_code)
    if status is None:
        raise WireError(f"no status {status_code}")
    if status is Status.STALE_MAP:
        cls = MapUpdate
    elif status is not Status.OK:
        cls = Refusal
    body = frames[1] if len(frames) == 2 else b""
    return Reply(kind, rid, version, clock, status, _build(cls, values, protocol), body, protocol)
