"""What is answered: one frozen class for each kind of reply. `shape` as in `asked`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


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
