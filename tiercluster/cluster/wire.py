"""The messages that clients and nodes exchange, and their codec.

A message is ``[header, body]``, or ``[header]`` if the body is empty. The header is one cbor2
array; the body is all values of the message, one after the other, so that a hundred values cost one
frame. A request's header is

    [VERSION, kind, rid, map_version, deadline_ms, client, retry, fields]

and a reply's (kind + REPLY)

    [VERSION, kind, rid, map_version, clock_ms, status, fields]

``deadline_ms`` and ``clock_ms`` are on the answering node's monotonic clock (0: no deadline).
``client`` names the sender for life (8 random bytes) and with ``rid`` names a write, so that a
retry (``retry``) is never applied twice. All decoders treat bytes as hostile: they check sizes and
counts first and raise WireError, nothing else.

Long lists travel packed, as one byte string each, which costs a fifth of an array: numbers in
little endian, keys with 0xFF between them, a byte that UTF-8 never holds (keys that hold it travel
as an array).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from operator import attrgetter
from typing import Any, ClassVar, NamedTuple

import cbor2

VERSION = 1
REPLY = 128

MAX_HEADER_BYTES = 4 * 2**20
MAX_BODY_BYTES = 64 * 2**20
MAX_KEYS = 10_000  # a message
MAX_KEY_BYTES = 1024  # as the user writes it, after UTF-8
MAX_NAMESPACE_BYTES = 200
MAX_WIRE_KEY_BYTES = 1 + MAX_NAMESPACE_BYTES + MAX_KEY_BYTES
MAX_VALUE_BYTES = 8 * 2**20
MAX_SCAN_PAGE = 1000
CLIENT_ID_BYTES = 8
MISS = -1  # in place of a value's size
LEFT_OUT = -2


class WireError(ValueError):
    """Bytes that are no message of this protocol."""


class Kind(IntEnum):
    GET = 1
    STORE = 2
    DELETE = 3
    INCR = 4
    TOUCH = 5
    PEEK = 6
    SCAN = 7
    DELETE_PREFIX = 8
    HELLO = 20
    SUBSCRIBE = 21
    MAP_PUSH = 22  # a reply that nobody asked for: rid 0
    PROPOSE = 23
    STATUS = 24
    EVENTS = 25
    FAULT = 26
    PROBE = 27
    PEER_PING = 40
    COLD_PUT = 41
    COLD_GET = 42
    COLD_DROP = 43


class Status(IntEnum):
    OK = 0
    STALE_MAP = 1  # not applied; fields: StaleMap
    RETRY = 2  # not applied: no lease, settling, or not ready; try again in a moment
    SHED = 3  # not applied: a bounded queue is full
    DEADLINE = 4  # not applied: came too late
    BAD_REQUEST = 5  # fields: Refusal, as for all below
    REFUSED = 6
    NO_QUORUM = 7
    UNKNOWN_REF = 8
    UNKNOWN_OUTCOME = 9  # may have been applied
    FORBIDDEN = 10
    READ_ONLY = 11  # not applied: quorum lost and on_quorum_loss = read_only


class Mode(IntEnum):
    SET = 0
    ADD = 1
    REPLACE = 2
    CAS = 3


class Place(IntEnum):
    """Where a value was found."""

    HOT = 0
    WARM = 1
    COLD = 2
    REMOTE = 3  # the cold tier of another node, which stands in for the owner's


def wire_key(namespace: bytes, key: bytes) -> bytes:
    """A key with its namespace, unambiguous for any bytes in either."""
    return bytes((len(namespace),)) + namespace + key


# --- fields -------------------------------------------------------------------------------------
# One frozen class for each kind and direction. `shape` names the check for each field; codes:
# i int, f float, b bool, s str, y bytes, k key, ? optional, * a tuple of at most MAX_KEYS; tuples
# that are packed on the wire: K keys, N integers of 32 bits, V integers of 64 bits.


@dataclass(frozen=True, slots=True)
class Get:
    keys: tuple[bytes, ...]
    meta: bool = False
    shape: ClassVar[str] = "K b"


@dataclass(frozen=True, slots=True)
class Store:
    """Values stand in the body; ``ttls`` has one element for all keys or one a key; None: never
    expires; ``versions`` only for CAS."""

    mode: int
    keys: tuple[bytes, ...]
    sizes: tuple[int, ...]
    flags: bytes
    ttls: tuple[float | None, ...]
    versions: tuple[int, ...] = ()
    shape: ClassVar[str] = "i K N y f?* V"


@dataclass(frozen=True, slots=True)
class Delete:
    keys: tuple[bytes, ...]
    version: int | None = None
    shape: ClassVar[str] = "K i?"


@dataclass(frozen=True, slots=True)
class Incr:
    """``keep_ttl``: an existing entry keeps the time it has left."""

    key: bytes
    delta: int
    initial: int | None
    ttl: float | None
    keep_ttl: bool = True
    shape: ClassVar[str] = "k i i? f? b"


@dataclass(frozen=True, slots=True)
class Touch:
    keys: tuple[bytes, ...]
    ttl: float | None
    shape: ClassVar[str] = "K f?"


@dataclass(frozen=True, slots=True)
class Peek:
    keys: tuple[bytes, ...]
    shape: ClassVar[str] = "K"


@dataclass(frozen=True, slots=True)
class Scan:
    """A page of keys with this wire prefix, from bucket ``cursor`` on."""

    prefix: bytes
    cursor: int
    limit: int
    shape: ClassVar[str] = "y i i"


@dataclass(frozen=True, slots=True)
class DeletePrefix:
    prefix: bytes
    cursor: int
    shape: ClassVar[str] = "y i"


@dataclass(frozen=True, slots=True)
class Hello:
    oldest: int = VERSION
    newest: int = VERSION
    shape: ClassVar[str] = "i i"


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Push map changes to this connection from ``version`` on; renewed every few seconds."""

    version: int
    shape: ClassVar[str] = "i"


@dataclass(frozen=True, slots=True)
class Propose:
    """A tier-map command (tiermap.codec); answered when it is applied here."""

    command: bytes
    shape: ClassVar[str] = "y"


@dataclass(frozen=True, slots=True)
class StatusQuery:
    shape: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class EventsQuery:
    since: int
    shape: ClassVar[str] = "i"


@dataclass(frozen=True, slots=True)
class Fault:
    """Fault injection in a tier's own I/O path; ``kind`` "" clears."""

    tier: str
    kind: str
    ms: float
    rate: float
    shape: ClassVar[str] = "s s f f"


@dataclass(frozen=True, slots=True)
class Probe:
    tier: str
    shape: ClassVar[str] = "s"


@dataclass(frozen=True, slots=True)
class Ping:
    """``sent_ms`` is on the sender's clock and comes back in the Pong; ``map_version`` is what the
    sender's shard has applied."""

    node: str
    incarnation: str
    sent_ms: int
    map_version: int
    digest: str
    leaving: bool
    shape: ClassVar[str] = "s s i i s b"


@dataclass(frozen=True, slots=True)
class ColdPut:
    """Store for another node whose cold tier is out; ``outage`` is "ref@generation"."""

    outage: str
    key: bytes
    version: int
    flags: int
    ttl: float | None
    shape: ClassVar[str] = "s k i i f?"


@dataclass(frozen=True, slots=True)
class ColdGet:
    outage: str
    key: bytes
    version: int
    shape: ClassVar[str] = "s k i"


@dataclass(frozen=True, slots=True)
class ColdDrop:
    """Forget everything stored for outages of this ref (``key`` empty), or one key."""

    outage: str
    key: bytes
    shape: ClassVar[str] = "s y"


# replies


@dataclass(frozen=True, slots=True)
class Values:
    """Sizes of the values in the body, in the order of the keys asked, or MISS, or LEFT_OUT: it is
    there and did not fit beside the others, ask again. The last three are empty unless ``meta`` was
    asked; ttl None: never expires."""

    sizes: tuple[int, ...]
    flags: bytes
    versions: tuple[int, ...] = ()
    ttls: tuple[float | None, ...] = ()
    places: bytes = b""
    shape: ClassVar[str] = "N y V f?* y"


@dataclass(frozen=True, slots=True)
class Stored:
    """Per key the version now stored, or 0 where it was not."""

    versions: tuple[int, ...]
    shape: ClassVar[str] = "V"


@dataclass(frozen=True, slots=True)
class Flags:
    """Per key whether it was there (delete, touch)."""

    found: tuple[bool, ...]
    shape: ClassVar[str] = "b*"


@dataclass(frozen=True, slots=True)
class Counter:
    """``found`` False: absent and no initial given; ``integer`` False: the value is no integer."""

    found: bool
    integer: bool
    value: int
    version: int
    shape: ClassVar[str] = "b b i i"


@dataclass(frozen=True, slots=True)
class Peeked:
    """Per key its version (0: absent) and the seconds left (None: never expires)."""

    versions: tuple[int, ...]
    ttls: tuple[float | None, ...]
    shape: ClassVar[str] = "V f?*"


@dataclass(frozen=True, slots=True)
class Page:
    """Keys of a scan; ``cursor`` -1: the end."""

    keys: tuple[bytes, ...]
    cursor: int
    shape: ClassVar[str] = "K i"


@dataclass(frozen=True, slots=True)
class Count:
    count: int
    cursor: int
    shape: ClassVar[str] = "i i"


@dataclass(frozen=True, slots=True)
class Welcome:
    """``map`` is a snapshot (tiermap.codec)."""

    node: str
    incarnation: str
    protocol: int
    map: bytes
    shape: ClassVar[str] = "s s i y"


@dataclass(frozen=True, slots=True)
class MapUpdate:
    """A snapshot, or the difference from ``base`` (0: snapshot)."""

    base: int
    data: bytes
    shape: ClassVar[str] = "i y"


@dataclass(frozen=True, slots=True)
class Decided:
    """The outcome of a Propose: an OutcomeCode, the reason, the version."""

    code: str
    reason: str
    version: int
    shape: ClassVar[str] = "s s i"


@dataclass(frozen=True, slots=True)
class Report:
    """A cbor2 map of plain values: what `status` shows of this node, or of one probe."""

    data: bytes
    shape: ClassVar[str] = "y"


@dataclass(frozen=True, slots=True)
class EventList:
    events: tuple[bytes, ...]
    shape: ClassVar[str] = "y*"


@dataclass(frozen=True, slots=True)
class Pong:
    node: str
    incarnation: str
    sent_ms: int
    map_version: int
    digest: str
    grant: bool
    shape: ClassVar[str] = "s s i i s b"


@dataclass(frozen=True, slots=True)
class ColdValue:
    """The value is the body; ``found`` False: not here."""

    found: bool
    flags: int
    shape: ClassVar[str] = "b i"


@dataclass(frozen=True, slots=True)
class Refusal:
    text: str
    shape: ClassVar[str] = "s"


@dataclass(frozen=True, slots=True)
class Ack:
    shape: ClassVar[str] = ""


Fields = (
    Get | Store | Delete | Incr | Touch | Peek | Scan | DeletePrefix | Hello | Subscribe | Propose
    | StatusQuery | EventsQuery | Fault | Probe | Ping | ColdPut | ColdGet | ColdDrop
)  # fmt: skip
Result = (
    Values | Stored | Flags | Counter | Peeked | Page | Count | Welcome | MapUpdate | Decided
    | Report | EventList | Pong | ColdValue | Refusal | Ack
)  # fmt: skip

ASKED: dict[Kind, type[Fields]] = {
    Kind.GET: Get, Kind.STORE: Store, Kind.DELETE: Delete, Kind.INCR: Incr, Kind.TOUCH: Touch,
    Kind.PEEK: Peek, Kind.SCAN: Scan, Kind.DELETE_PREFIX: DeletePrefix, Kind.HELLO: Hello,
    Kind.SUBSCRIBE: Subscribe, Kind.PROPOSE: Propose, Kind.STATUS: StatusQuery,
    Kind.EVENTS: EventsQuery, Kind.FAULT: Fault, Kind.PROBE: Probe, Kind.PEER_PING: Ping,
    Kind.COLD_PUT: ColdPut, Kind.COLD_GET: ColdGet, Kind.COLD_DROP: ColdDrop,
}  # fmt: skip
ANSWERED: dict[Kind, type[Result]] = {
    Kind.GET: Values, Kind.STORE: Stored, Kind.DELETE: Flags, Kind.INCR: Counter,
    Kind.TOUCH: Flags, Kind.PEEK: Peeked, Kind.SCAN: Page, Kind.DELETE_PREFIX: Count,
    Kind.HELLO: Welcome, Kind.SUBSCRIBE: MapUpdate, Kind.MAP_PUSH: MapUpdate,
    Kind.PROPOSE: Decided, Kind.STATUS: Report, Kind.EVENTS: EventList, Kind.FAULT: Ack,
    Kind.PROBE: Report, Kind.PEER_PING: Pong, Kind.COLD_PUT: Ack, Kind.COLD_GET: ColdValue,
    Kind.COLD_DROP: Ack,
}  # fmt: skip


class Request(NamedTuple):
    kind: Kind
    rid: int
    map_version: int
    deadline_ms: int
    client: bytes
    retry: bool
    fields: Fields
    body: bytes = b""


class Reply(NamedTuple):
    """``fields`` is what ANSWERED names if the status is OK, MapUpdate for STALE_MAP, else
    Refusal."""

    kind: Kind
    rid: int
    map_version: int
    clock_ms: int
    status: Status
    fields: Result
    body: bytes = b""


_CODES: dict[str, tuple[type, ...]] = {
    "i": (int,), "f": (float, int), "b": (bool,), "s": (str,), "y": (bytes,), "k": (bytes,),
}  # fmt: skip
_NONE = type(None)
Check = Callable[[Any], Any]


def _check(code: str) -> Check:
    """The check of one field; it returns the value, or raises WireError."""
    if code in _UNPACK:
        return _UNPACK[code]
    types = frozenset(_CODES[code[0]] + ((_NONE,) if "?" in code else ()))
    one = _one(code, types, {"k": _is_key, "f": _is_number}.get(code[0]))
    return _many(code, types, one) if "*" in code else one


def _is_key(value: Any) -> bool:
    return 1 < len(value) <= MAX_WIRE_KEY_BYTES


def _is_number(value: Any) -> bool:
    return value is None or value == value  # NaN is not


def _one(code: str, types: frozenset[type], is_good: Callable[[Any], bool] | None) -> Check:
    def check(value: Any) -> Any:
        if type(value) not in types or (is_good is not None and not is_good(value)):
            raise WireError(f"a field of code {code[0]} holds something else")
        return value

    return check


def _many(code: str, types: frozenset[type], one: Check) -> Check:
    is_number = code[0] == "f"

    def check(values: Any) -> Any:
        if type(values) is not tuple or len(values) > MAX_KEYS:
            raise WireError("a field is no list, or too long")
        if len(values) < 2:
            for value in values:
                one(value)
            return values
        if not types.issuperset(map(type, values)):
            raise WireError(f"a list of code {code[0]} holds something else")
        if is_number and not all(map(_is_number, values)):
            raise WireError("a list of numbers holds NaN")
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


def _build(cls: type[Any], values: Any) -> Any:
    checks = _CHECKS[cls]
    if type(values) is not tuple or len(values) != len(checks):
        raise WireError(f"{cls.__name__} takes {len(checks)} fields")
    return cls(*[check(value) for check, value in zip(checks, values, strict=True)])


def encode_request(r: Request) -> list[bytes]:
    """A request as frames."""
    asked = _FLATTEN[type(r.fields)](r.fields)
    head = (VERSION, int(r.kind), r.rid, r.map_version, r.deadline_ms, r.client, r.retry, asked)
    return [cbor2.dumps(head), r.body] if r.body else [cbor2.dumps(head)]


def encode_reply(r: Reply) -> list[bytes]:
    """A reply as frames."""
    said = _FLATTEN[type(r.fields)](r.fields)
    kind, status = int(r.kind) + REPLY, int(r.status)
    head = (VERSION, kind, r.rid, r.map_version, r.clock_ms, status, said)
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


def _header(frames: Sequence[bytes], length: int) -> tuple[Any, ...]:
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
    if type(header) is not tuple or len(header) != length or header[0] != VERSION:
        raise WireError(f"no header of protocol version {VERSION}")
    return header


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
    _, code, rid, version, deadline, client, retry, values = _header(frames, 8)
    _integers(code, rid, version, deadline)
    if type(client) is not bytes or len(client) != CLIENT_ID_BYTES or type(retry) is not bool:
        raise WireError("no client id")
    kind, cls = _REQUEST_KINDS.get(code) or _no_kind("request", code)
    fields_ = _build(cls, values)
    body = frames[1] if len(frames) == 2 else b""
    if cls is Store:
        _check_store(fields_, len(body))
    return Request(kind, rid, version, deadline, client, retry, fields_, body)


def _no_kind(what: str, code: int) -> Any:
    raise WireError(f"no {what} of kind {code}")


def _check_store(s: Store, body: int) -> None:
    n, sizes = len(s.keys), s.sizes
    if len(sizes) != n or len(s.flags) != n or len(s.ttls) not in (1, n):
        raise WireError("a store whose lists differ in length")
    if sum(sizes) != body or (sizes and not 0 <= min(sizes) <= max(sizes) <= MAX_VALUE_BYTES):
        raise WireError("a store whose sizes do not match its body")
    if s.mode not in (0, 1, 2, 3) or len(s.versions) != (n if s.mode == Mode.CAS else 0):
        raise WireError("a store of no known mode, or without its versions")


def decode_reply(frames: Sequence[bytes]) -> Reply:
    """Frames to a Reply; WireError for anything else."""
    _, code, rid, version, clock, status_code, values = _header(frames, 7)
    _integers(code, rid, version, clock, status_code)
    kind, cls = _REPLY_KINDS.get(code) or _no_kind("reply", code)
    status = _STATUSES.get(status_code)
    if status is None:
        raise WireError(f"no status {status_code}")
    if status is Status.STALE_MAP:
        cls = MapUpdate
    elif status is not Status.OK:
        cls = Refusal
    body = frames[1] if len(frames) == 2 else b""
    return Reply(kind, rid, version, clock, status, _build(cls, values), body)
