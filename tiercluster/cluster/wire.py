"""The messages that clients and nodes exchange: kinds, statuses, fields and limits.

How they become frames and back is in `codec`. Times in a request and a reply are on the answering
node's monotonic clock, in ms (deadline 0: none). ``client`` names the sender for life (8 random
bytes) and with ``rid`` names a write, so that a retry (``retry``) is never applied twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, NamedTuple

OLDEST_VERSION = 1
VERSION = 2  # the newest; a cluster of this level speaks it
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
PRIOR_S = 8.0  # later than this after its beginning no call names a `prior` request
NAME_BYTES = 20  # of a write in a Replicate: client, request id, ms that its answer is kept
MISS = -1  # in place of a value's size
LEFT_OUT = -2
CLEAR_EVER = 2**62


class WireError(ValueError):
    """Bytes that are no message of this protocol."""


class UnknownKind(WireError):
    """A request of a kind that is not known in its version; otherwise it looks like one."""

    def __init__(self, code: int, rid: int, protocol: int) -> None:
        spoken = f"{OLDEST_VERSION} to {VERSION}"
        super().__init__(
            f"no request of kind {code} in protocol version {protocol}; this node speaks {spoken}"
        )
        self.rid, self.protocol = rid, protocol


class Kind(IntEnum):
    GET = 1
    STORE = 2
    DELETE = 3
    INCR = 4
    TOUCH = 5
    PEEK = 6
    SCAN = 7
    DELETE_PREFIX = 8
    WATCH_GET = 9  # a GET whose sender keeps what it reads, until it is told (`nearcache`)
    HELLO = 20
    SUBSCRIBE = 21
    MAP_PUSH = 22  # a reply that nobody asked for: rid 0
    PROPOSE = 23
    STATUS = 24
    EVENTS = 25
    FAULT = 26
    PROBE = 27
    NODE_FAULT = 28
    NEAR_LEASE = 29
    INVALIDATE = 30  # a reply that nobody asked for: rid 0
    PEER_PING = 40
    COLD_PUT = 41
    COLD_GET = 42
    COLD_DROP = 43
    REPLICATE = 44
    FILL = 45
    PEER_PACE = 46
    LEASES_ASK = 47
    LEASES_TELL = 48


class OpKind(IntEnum):
    """What happened to a key, in a Replicate."""

    PUT = 0
    DROP = 1
    TOUCH = 2


# The version in which a kind came, where that is not the oldest.
SINCE: dict[Kind, int] = {
    Kind.REPLICATE: 2, Kind.FILL: 2, Kind.PEER_PACE: 2, Kind.NODE_FAULT: 2, Kind.WATCH_GET: 2,
    Kind.NEAR_LEASE: 2, Kind.INVALIDATE: 2, Kind.LEASES_ASK: 2, Kind.LEASES_TELL: 2,
}  # fmt: skip
PRIOR_SINCE = MOVED_SINCE = 2  # an earlier request named in a request; the status MOVED


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
    MOVED = 12  # applied here, and the key went to another owner before that was known to have it


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
# i int, u int from 0 to 2**63 - 1, f float, b bool, s str, y bytes, k key, ? optional, * a tuple of
# at most MAX_KEYS; tuples that are packed on the wire: K keys, N integers of 32 bits, V integers of
# 64 bits.


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
class WatchGet:
    """``watcher``: the client id of the connection that is to be told when one of the keys
    changes; it has asked for a NearLease."""

    keys: tuple[bytes, ...]
    watcher: bytes
    shape: ClassVar[str] = "K y"


@dataclass(frozen=True, slots=True)
class NearLease:
    """Let this connection be told of changes for a while longer. ``stint``: under which number it
    was told so far, 0: begin anew."""

    stint: int
    shape: ClassVar[str] = "u"


@dataclass(frozen=True, slots=True)
class Hello:
    """Which versions the sender speaks. Sent in the oldest, answered with the newest common one."""

    oldest: int = OLDEST_VERSION
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
    """Fault injection in a tier's own I/O path; ``kind`` "" clears. It is over by itself after
    ``for_ms``, unless that is 0."""

    tier: str
    kind: str
    ms: float
    rate: float
    for_ms: float = 0.0
    shape: ClassVar[str] = "s s f f f"


@dataclass(frozen=True, slots=True)
class NodeFault:
    """A fault of a whole node, over by itself after ``for_ms``: kill, freeze, or partition from the
    members ``peers``; ``kind`` "" heals a partition."""

    kind: str
    for_ms: float = 0.0
    peers: tuple[str, ...] = ()
    shape: ClassVar[str] = "s f s*"


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
class Paced:
    """How fast the sender's tier was of late: the 95th percentiles of reads and writes in
    microseconds, and of how many. Told, not asked: a member that does not know this kind refuses
    it, and nothing is missed."""

    node: str
    incarnation: str
    tier: str
    read_us: int
    reads: int
    write_us: int
    writes: int
    shape: ClassVar[str] = "s s s u u u u"


@dataclass(frozen=True, slots=True)
class LeasesAsked:
    """Which leases of this slot has the node granted that owned it until ``ring_version``?"""

    slot: int
    ring_version: int
    shape: ClassVar[str] = "u u"


@dataclass(frozen=True, slots=True)
class Leases:
    """What a node has granted: ``left_ms`` until each lease ends. ``clear_ms``: for how long it has
    known of all leases there were, CLEAR_EVER: always. ``known`` False: it cannot tell. Both the
    answer to LeasesAsked and, told to all, what a node says that stops."""

    node: str
    incarnation: str
    known: bool
    clear_ms: int
    keys: tuple[bytes, ...] = ()
    versions: tuple[int, ...] = ()
    left_ms: tuple[int, ...] = ()
    shape: ClassVar[str] = "s s b u K V V"


@dataclass(frozen=True, slots=True)
class ColdPut:
    """Store for another node whose cold tier is out; ``outage`` is "ref@generation"."""

    outage: str
    key: bytes
    version: int
    flags: int
    ttl: float | None
    shape: ClassVar[str] = "s k u u f?"


@dataclass(frozen=True, slots=True)
class ColdGet:
    outage: str
    key: bytes
    version: int
    shape: ClassVar[str] = "s k u"


@dataclass(frozen=True, slots=True)
class ColdDrop:
    """Forget everything stored for outages of this ref (``key`` empty), or one key."""

    outage: str
    key: bytes
    shape: ClassVar[str] = "s y"


@dataclass(frozen=True, slots=True)
class Replicate:
    """Message ``seq``, from 1, of the writes of an owner to a node that keeps copies; the stream is
    named by both stints and ``epoch``. One element an op in ``kinds`` (OpKind), ``keys``,
    ``versions``, ``sizes`` (values in the body), ``flags`` and ``ttls``; ``names`` has 20 bytes an
    op (client, request id, ms left) or is empty. Then entries with ``prefix`` under ``cursor`` of a
    scan are gone (-2: none), and ``filled`` slots have been sent whole. ``anew``: what the receiver
    has of this owner is worth nothing."""

    node: str
    incarnation: str
    to: str
    epoch: int
    seq: int
    anew: bool
    kinds: bytes
    keys: tuple[bytes, ...]
    versions: tuple[int, ...]
    sizes: tuple[int, ...]
    flags: bytes
    ttls: tuple[float | None, ...]
    names: bytes
    prefix: bytes
    cursor: int
    filled: tuple[int, ...]
    shape: ClassVar[str] = "s s s u u b y K V N y f?* y y i N"


@dataclass(frozen=True, slots=True)
class Fill:
    """Send me (``node``) all entries of these slots, in the stream of your writes to me."""

    node: str
    incarnation: str
    to: str
    slots: tuple[int, ...]
    shape: ClassVar[str] = "s s s N"


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
class Watched:
    """As Values, with what a near copy needs: changes of the keys from now on are told under
    ``stint`` (0: they are not, keep nothing), after the message numbered ``seq``."""

    sizes: tuple[int, ...]
    flags: bytes
    versions: tuple[int, ...]
    ttls: tuple[float | None, ...]
    stint: int
    seq: int
    shape: ClassVar[str] = "N y V f?* u u"


@dataclass(frozen=True, slots=True)
class NearGrant:
    """``seq``: the number of the newest INVALIDATE of this stint, all of which were sent before.
    Copies may be served for ``valid_ms`` from the sending of the question; 0: not now. ``stint`` 0:
    this node has too many watchers."""

    stint: int
    seq: int
    valid_ms: int
    shape: ClassVar[str] = "u u u"


@dataclass(frozen=True, slots=True)
class Invalidated:
    """The keys have changed, or may have; ``everything``: all that was read under the stint."""

    stint: int
    seq: int
    keys: tuple[bytes, ...]
    everything: bool
    shape: ClassVar[str] = "u u K b"


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
    """``map`` is a snapshot (tiermap.codec), ``protocol`` the newest version that both speak."""

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
class Confirmed:
    """The messages of this epoch up to ``applied`` have taken effect at this stint of the node.
    ``why`` the one answered has not, if so."""

    incarnation: str
    epoch: int
    applied: int
    why: str
    shape: ClassVar[str] = "s u u s"


@dataclass(frozen=True, slots=True)
class Refusal:
    text: str
    shape: ClassVar[str] = "s"


@dataclass(frozen=True, slots=True)
class Ack:
    shape: ClassVar[str] = ""


Fields = (
    Get | Store | Delete | Incr | Touch | Peek | Scan | DeletePrefix | Hello | Subscribe | Propose
    | StatusQuery | EventsQuery | Fault | NodeFault | Probe | Ping | ColdPut | ColdGet | ColdDrop
    | Replicate | Fill | Paced | WatchGet | NearLease | LeasesAsked | Leases
)  # fmt: skip
Result = (
    Values | Stored | Flags | Counter | Peeked | Page | Count | Welcome | MapUpdate | Decided
    | Report | EventList | Pong | ColdValue | Confirmed | Refusal | Ack | Watched | NearGrant
    | Invalidated | Leases
)  # fmt: skip

ASKED: dict[Kind, type[Fields]] = {
    Kind.GET: Get, Kind.STORE: Store, Kind.DELETE: Delete, Kind.INCR: Incr, Kind.TOUCH: Touch,
    Kind.PEEK: Peek, Kind.SCAN: Scan, Kind.DELETE_PREFIX: DeletePrefix, Kind.HELLO: Hello,
    Kind.SUBSCRIBE: Subscribe, Kind.PROPOSE: Propose, Kind.STATUS: StatusQuery,
    Kind.EVENTS: EventsQuery, Kind.FAULT: Fault, Kind.PROBE: Probe, Kind.PEER_PING: Ping,
    Kind.COLD_PUT: ColdPut, Kind.COLD_GET: ColdGet, Kind.COLD_DROP: ColdDrop,
    Kind.REPLICATE: Replicate, Kind.FILL: Fill, Kind.PEER_PACE: Paced, Kind.NODE_FAULT: NodeFault,
    Kind.WATCH_GET: WatchGet, Kind.NEAR_LEASE: NearLease, Kind.LEASES_ASK: LeasesAsked,
    Kind.LEASES_TELL: Leases,
}  # fmt: skip
ANSWERED: dict[Kind, type[Result]] = {
    Kind.GET: Values, Kind.STORE: Stored, Kind.DELETE: Flags, Kind.INCR: Counter,
    Kind.TOUCH: Flags, Kind.PEEK: Peeked, Kind.SCAN: Page, Kind.DELETE_PREFIX: Count,
    Kind.HELLO: Welcome, Kind.SUBSCRIBE: MapUpdate, Kind.MAP_PUSH: MapUpdate,
    Kind.PROPOSE: Decided, Kind.STATUS: Report, Kind.EVENTS: EventList, Kind.FAULT: Ack,
    Kind.PROBE: Report, Kind.PEER_PING: Pong, Kind.COLD_PUT: Ack, Kind.COLD_GET: ColdValue,
    Kind.COLD_DROP: Ack, Kind.REPLICATE: Confirmed, Kind.FILL: Ack, Kind.PEER_PACE: Ack,
    Kind.NODE_FAULT: Ack, Kind.WATCH_GET: Watched, Kind.NEAR_LEASE: NearGrant,
    Kind.INVALIDATE: Invalidated, Kind.LEASES_ASK: Leases, Kind.LEASES_TELL: Ack,
}  # fmt: skip


# How many fields a message had in the oldest version, where later ones have added some at its end.
FIRST_FIELDS: dict[type[Fields | Result], int] = {Fault: 4}


class Request(NamedTuple):
    """``protocol``: the version it is written in, and its answer, too. ``prior``: the id under
    which a node that is gone may have applied this write of one key; it stands in the place of
    ``retry`` then."""

    kind: Kind
    rid: int
    map_version: int
    deadline_ms: int
    client: bytes
    retry: bool
    fields: Fields
    body: bytes = b""
    protocol: int = OLDEST_VERSION
    prior: int = 0


class Reply(NamedTuple):
    """``fields`` is what ANSWERED names if the status is OK, MapUpdate for STALE_MAP, else
    Refusal. What asked for a kind that the node does not know is refused with the kind HELLO."""

    kind: Kind
    rid: int
    map_version: int
    clock_ms: int
    status: Status
    fields: Result
    body: bytes = b""
    protocol: int = OLDEST_VERSION
