"""The words of the protocol: versions, limits, kinds, statuses."""

from __future__ import annotations

from enum import IntEnum

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
