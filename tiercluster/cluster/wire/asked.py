"""What is asked: one frozen class for each kind of request.

`shape` names the check for each field; codes: i int, u int from 0 to 2**63 - 1, f float, b bool,
s str, y bytes, k key, ? optional, * a tuple of at most MAX_KEYS; tuples that are packed on the
wire: K keys, N integers of 32 bits, V integers of 64 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .terms import OLDEST_VERSION, VERSION


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
