"""Near copies of what this client has read, and who says how long they may be served. A pure core.

    read --watched by its node--> copy --told of a change, or written here--> dropped
                                    |
                                    +--- served only while its node's lease runs

Each node numbers, under a stint, what it tells. All copies of a node hang on one `NodeLease`; when
a number is missing, or the stint is another, the lease ends and all its copies with it. What may be
served at ``now`` is no older than the newest write that was acknowledged when the question was sent
to which the node granted the lease, so never older than that by more than the lease.

Not safe by itself for several threads, but `find` is: it changes nothing that others rely on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol

from .errors import SerializationError
from .values import RAW

MAX_ENTRIES = 10_000_000
MAX_COPY_BYTES = 256 * 1024  # a larger value is not kept
MAX_DECODED_BYTES = 4096  # a larger one is decoded each time
MAX_SPARED = 8  # copies that were used and are passed over, to make room for one
RECENT_KEYS = 4096  # that were told of, or written here, and are remembered by key
FOREVER = float("inf")
_IMMUTABLE = frozenset((bytes, str, int, float, bool, type(None)))


class Absent(Enum):
    """Stands for no copy, where None is a value."""

    ABSENT = "ABSENT"


ABSENT: Final = Absent.ABSENT


class Decoder(Protocol):
    def decode(self, data: bytes, flags: int) -> Any: ...


class Read(NamedTuple):
    """One value that a node has answered. ``expires``: monotonic seconds, not after the entry's own
    expiry; ``ticket``: of `begin_read`, taken before the question was sent."""

    node: str
    stint: int
    seq: int
    key: bytes
    data: bytes
    flags: int
    version: int
    expires: float
    ticket: int


class NodeLease:
    """What one node has promised under one stint. ``seq``: the newest message that has been taken;
    ``until``: in monotonic seconds."""

    __slots__ = ("_forgotten", "_recent", "node", "seq", "stint", "until")

    def __init__(self, node: str, stint: int, seq: int, until: float) -> None:
        self.node, self.stint, self.seq, self.until = node, stint, seq, until
        self._recent: OrderedDict[bytes, int] = OrderedDict()  # keys told of, by the last message
        self._forgotten = seq  # reads before that one are void; what was told later is in `_recent`

    def note(self, key: bytes) -> None:
        """The message of now tells of this key."""
        self._recent[key] = self.seq
        self._recent.move_to_end(key)
        while len(self._recent) > RECENT_KEYS:
            self._forgotten = self._recent.popitem(last=False)[1]

    def vouches_for(self, key: bytes, seq: int) -> bool:
        """Whether a read that was registered after message ``seq`` has not been told of since."""
        if seq >= self.seq:
            return True
        return seq >= self._forgotten and self._recent.get(key, 0) <= seq


class Copy:
    """``value`` is what callers get if ``is_decoded``, else the bytes from which each is made an
    object of its own."""

    __slots__ = ("expires", "flags", "is_decoded", "is_used", "lease", "seq", "value", "version")

    def __init__(self, lease: NodeLease, read: Read, value: Any, is_decoded: bool) -> None:
        self.lease = lease
        self.seq = read.seq
        self.version = read.version
        self.expires = read.expires
        self.flags = read.flags
        self.value = value
        self.is_decoded = is_decoded
        self.is_used = False


class NearCache:
    """At most ``limit`` copies. ``hits``, ``told`` (copies dropped because their node said so) and
    ``resets`` (of all copies of a node) are counted."""

    def __init__(self, limit: int, decoder: Decoder) -> None:
        self._limit = limit
        self._decoder = decoder
        self._copies: OrderedDict[bytes, Copy] = OrderedDict()
        self._leases: dict[str, NodeLease] = {}
        self._clock = 0  # of our own writes
        self._wrote: OrderedDict[bytes, int] = OrderedDict()  # keys written here, by the clock
        self._forgotten = 0  # all that was written later is in `_wrote`
        self.hits = self.told = self.resets = 0

    def __len__(self) -> int:
        return len(self._copies)

    def has(self, key: bytes, version: int, node: str, now: float) -> bool:
        """Whether this copy may be served."""
        copy = self._copies.get(key)
        return (
            copy is not None
            and copy.version == version
            and copy.lease.node == node
            and now < min(copy.lease.until, copy.expires)
        )

    # --- reads ----------------------------------------------------------------------------------

    def find(self, key: bytes, now: float) -> Any:
        """The value, or ABSENT."""
        copy = self._copies.get(key)
        if copy is None or now >= copy.lease.until or now >= copy.expires:
            return ABSENT
        copy.is_used = True
        if not copy.is_decoded:
            return self._decoded(copy)
        self.hits += 1
        return copy.value

    def _decoded(self, copy: Copy) -> Any:
        try:
            value = self._decoder.decode(copy.value, copy.flags)
        except SerializationError:
            return ABSENT  # the caller asks the node, and hears of it from there
        self.hits += 1
        return value

    def begin_read(self) -> int:
        """A ticket for a read that is sent from now on."""
        return self._clock

    def keep(self, read: Read) -> bool:
        """Whether a copy of what was answered may be, and is, kept."""
        lease = self._leases.get(read.node)
        if (
            lease is None
            or lease.stint != read.stint
            or len(read.data) > MAX_COPY_BYTES
            or not lease.vouches_for(read.key, read.seq)
            or read.ticket < self._forgotten
            or self._wrote.get(read.key, 0) > read.ticket
        ):
            return False
        known = self._copies.get(read.key)
        if known is not None and known.lease.until and known.version > read.version:
            return False  # an answer that was slower than that to a later read
        self._put(read, lease)
        return True

    def _put(self, read: Read, lease: NodeLease) -> None:
        value, is_decoded = self._kept_as(read)
        if self._copies.pop(read.key, None) is None:
            self._make_room()
        self._copies[read.key] = Copy(lease, read, value, is_decoded)

    def _kept_as(self, read: Read) -> tuple[Any, bool]:
        """Two callers must not share an object that one of them can change."""
        if len(read.data) > MAX_DECODED_BYTES and read.flags != RAW:
            return read.data, False
        try:
            value = self._decoder.decode(read.data, read.flags)
        except SerializationError:
            return read.data, False
        return (value, True) if type(value) in _IMMUTABLE else (read.data, False)

    def _make_room(self) -> None:
        spared = 0
        while len(self._copies) >= self._limit:
            key, copy = self._copies.popitem(last=False)
            if copy.is_used and copy.lease.until and spared < MAX_SPARED:
                spared += 1
                copy.is_used = False
                self._copies[key] = copy

    # --- our own writes -------------------------------------------------------------------------

    def begin_write(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self._copies.pop(key, None)

    def wrote(self, keys: Iterable[bytes]) -> None:
        """A write of ours has been answered, or given up. What was asked before is not kept."""
        self._clock += 1
        for key in keys:
            self._copies.pop(key, None)
            self._wrote[key] = self._clock
            self._wrote.move_to_end(key)
        while len(self._wrote) > RECENT_KEYS:
            self._forgotten = self._wrote.popitem(last=False)[1]

    def wrote_all(self) -> None:
        """The same for a write of nobody knows which keys."""
        self._clock += 1
        self._forgotten = self._clock
        self._wrote.clear()
        self._copies.clear()

    def saw(self, key: bytes, version: int) -> None:
        """A node has answered a read that is not kept; a copy of another version is past."""
        copy = self._copies.get(key)
        if copy is not None and copy.version != version:
            del self._copies[key]

    # --- what nodes say -------------------------------------------------------------------------

    def stint(self, node: str) -> int:
        """Under which the node tells us of changes; 0: it does not."""
        lease = self._leases.get(node)
        return 0 if lease is None else lease.stint

    def granted(self, node: str, stint: int, seq: int, until: float) -> bool:
        """The node's answer to a question that was sent so long ago that copies may be served
        ``until`` then. False: something it told was lost, so it must be asked to begin anew."""
        lease = self._leases.get(node)
        if lease is None or lease.stint != stint:
            self.lost(node)
            if stint:
                self._leases[node] = NodeLease(node, stint, seq, until)
            return True
        if seq != lease.seq:
            self.lost(node)
            return False
        lease.until = max(lease.until, until)
        return True

    def invalidated(
        self, node: str, stint: int, seq: int, keys: Iterable[bytes], everything: bool
    ) -> bool:
        """What the node tells. False: something before it was lost."""
        lease = self._leases.get(node)
        if lease is None or lease.stint != stint:
            return True  # of an earlier stint
        if seq != lease.seq + 1:
            self.lost(node)
            return False
        if everything:
            self._leases[node] = NodeLease(node, stint, seq, lease.until)
            lease.until = 0.0
            self.resets += 1
            return True
        lease.seq = seq
        for key in keys:
            self._recall(lease, key)
        return True

    def _recall(self, lease: NodeLease, key: bytes) -> None:
        lease.note(key)
        copy = self._copies.get(key)
        if copy is not None and copy.lease is lease and copy.seq < lease.seq:
            del self._copies[key]
            self.told += 1

    def lost(self, node: str) -> None:
        """The connection, the count or the stint: no copy of this node is served any more."""
        lease = self._leases.pop(node, None)
        if lease is not None:
            lease.until = 0.0
            self.resets += 1

    def lost_all(self) -> None:
        for node in tuple(self._leases):
            self.lost(node)

    # --- looking --------------------------------------------------------------------------------

    def copies(self, now: float) -> Iterator[tuple[bytes, int, str]]:
        """Keys, versions and nodes of what may be served now."""
        for key, copy in list(self._copies.items()):
            if now < copy.lease.until and now < copy.expires:
                yield key, copy.version, copy.lease.node
