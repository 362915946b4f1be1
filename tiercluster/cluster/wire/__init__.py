"""The messages that clients and nodes exchange: kinds, statuses, fields and limits.

How they become frames and back is in `codec`. Times in a request and a reply are on the answering
node's monotonic clock, in ms (deadline 0: none). ``client`` names the sender for life (8 random
bytes) and with ``rid`` names a write, so that a retry (``retry``) is never applied twice.
"""

from __future__ import annotations

from typing import NamedTuple

from .answered import (
    Ack,
    ColdValue,
    Confirmed,
    Count,
    Counter,
    Decided,
    EventList,
    Flags,
    Invalidated,
    MapUpdate,
    NearGrant,
    Page,
    Peeked,
    Pong,
    Refusal,
    Report,
    Stored,
    Values,
    Watched,
    Welcome,
)
from .asked import (
    ColdDrop,
    ColdGet,
    ColdPut,
    Delete,
    DeletePrefix,
    EventsQuery,
    Fault,
    Fill,
    Get,
    Hello,
    Incr,
    Leases,
    LeasesAsked,
    NearLease,
    NodeFault,
    Paced,
    Peek,
    Ping,
    Probe,
    Propose,
    Replicate,
    Scan,
    StatusQuery,
    Store,
    Subscribe,
    Touch,
    WatchGet,
)
from .terms import (
    CLEAR_EVER,
    CLIENT_ID_BYTES,
    LEFT_OUT,
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    MAX_KEY_BYTES,
    MAX_KEYS,
    MAX_NAMESPACE_BYTES,
    MAX_SCAN_PAGE,
    MAX_VALUE_BYTES,
    MAX_WIRE_KEY_BYTES,
    MISS,
    MOVED_SINCE,
    NAME_BYTES,
    OLDEST_VERSION,
    PRIOR_S,
    PRIOR_SINCE,
    REPLY,
    SINCE,
    VERSION,
    Kind,
    Mode,
    OpKind,
    Place,
    Status,
    UnknownKind,
    WireError,
    wire_key,
)

__all__ = [
    "ANSWERED",
    "ASKED",
    "Ack",
    "CLEAR_EVER",
    "CLIENT_ID_BYTES",
    "ColdDrop",
    "ColdGet",
    "ColdPut",
    "ColdValue",
    "Confirmed",
    "Count",
    "Counter",
    "Decided",
    "Delete",
    "DeletePrefix",
    "EventList",
    "EventsQuery",
    "FIRST_FIELDS",
    "Fault",
    "Fields",
    "Fill",
    "Flags",
    "Get",
    "Hello",
    "Incr",
    "Invalidated",
    "Kind",
    "LEFT_OUT",
    "Leases",
    "LeasesAsked",
    "MAX_BODY_BYTES",
    "MAX_HEADER_BYTES",
    "MAX_KEYS",
    "MAX_KEY_BYTES",
    "MAX_NAMESPACE_BYTES",
    "MAX_SCAN_PAGE",
    "MAX_VALUE_BYTES",
    "MAX_WIRE_KEY_BYTES",
    "MISS",
    "MOVED_SINCE",
    "MapUpdate",
    "Mode",
    "NAME_BYTES",
    "NearGrant",
    "NearLease",
    "NodeFault",
    "OLDEST_VERSION",
    "OpKind",
    "PRIOR_S",
    "PRIOR_SINCE",
    "Paced",
    "Page",
    "Peek",
    "Peeked",
    "Ping",
    "Place",
    "Pong",
    "Probe",
    "Propose",
    "REPLY",
    "Refusal",
    "Replicate",
    "Reply",
    "Report",
    "Request",
    "Result",
    "SINCE",
    "Scan",
    "Status",
    "StatusQuery",
    "Store",
    "Stored",
    "Subscribe",
    "Touch",
    "UnknownKind",
    "VERSION",
    "Values",
    "WatchGet",
    "Watched",
    "Welcome",
    "WireError",
    "wire_key",
]

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
