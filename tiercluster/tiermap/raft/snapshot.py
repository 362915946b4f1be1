"""Snapshots: the state at one log index, as a sealed CBOR file and as chunks on the wire.

``SnapshotStore`` takes the place of pysyncobj's Serializer (pickle, gzip, a file renamed without an
fsync, open files left behind). Nothing here is pickled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from . import cbor
from .files import DamagedError, read_file, replace_durably, seal, unseal_plain
from .journal import Entry
from .settings import MAX_SNAPSHOT_BYTES, SNAPSHOT_CHUNK_BYTES

MAGIC = b"tcS1"

Chunk = tuple[bytes, bool, bool]  # bytes, is the first, is the last (and empty)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``state`` is the encoded state after ``last`` was applied; ``previous`` stands before it in
    the log (the library keeps both as the start of a trimmed log)."""

    state: bytes
    last: Entry
    previous: Entry

    @property
    def index(self) -> int:
        return self.last[1]


def encode(snapshot: Snapshot) -> bytes:
    body = cbor.dumps([snapshot.state, list(snapshot.last), list(snapshot.previous)])
    return seal(MAGIC, body)


def decode(path: Path, data: bytes) -> Snapshot:
    """DamagedError for anything else than what ``encode`` made."""
    match unseal_plain(path, MAGIC, data, MAX_SNAPSHOT_BYTES):
        case [
            bytes(state),
            [bytes(last), int(index), int(term)],
            [bytes(before), int(index_before), int(term_before)],
        ] if index == index_before + 1:
            return Snapshot(state, (last, index, term), (before, index_before, term_before))
        case _:
            raise DamagedError(f"{path} holds no snapshot")


@dataclass(slots=True)
class SnapshotStore:
    """The newest snapshot on the disk, those being sent, and the one being received."""

    path: Path
    fsync: bool = True
    _sending: dict[object, tuple[bytes, int]] = field(default_factory=dict)
    _arriving: bytearray | None = None
    _arriving_from: object = None

    def read(self) -> Snapshot | None:
        """None when there is none yet; DamagedError for a bad one."""
        data = read_file(self.path, MAX_SNAPSHOT_BYTES)
        return None if data is None else decode(self.path, data)

    def write(self, snapshot: Snapshot) -> None:
        """Durable when it returns; transfers under way begin anew with it."""
        data = encode(snapshot)
        if len(data) > MAX_SNAPSHOT_BYTES:
            raise ValueError(f"a snapshot of {len(data)} bytes; the limit is {MAX_SNAPSHOT_BYTES}")
        replace_durably(self.path, data, self.fsync)
        self._sending.clear()

    def feed(self, sender: object, chunk: Chunk) -> Snapshot | None:
        """The snapshot once its last chunk is here; None before, and for one that makes no sense
        (the leader sends it again)."""
        data, is_first, is_last = chunk
        if is_first:
            self._arriving, self._arriving_from = bytearray(), sender
        if self._arriving is None or self._arriving_from != sender:
            return None
        if len(self._arriving) + len(data) > MAX_SNAPSHOT_BYTES:
            self._arriving = None
            return None
        self._arriving += data
        if not is_last:
            return None
        whole, self._arriving = bytes(self._arriving), None
        try:
            return decode(Path(f"snapshot from {sender}"), whole)
        except DamagedError:
            return None

    # --- the part of pysyncobj's Serializer that is still called --------------------------------

    def getTransmissionData(self, transmissionID: object) -> Chunk | None:
        data, at = self._sending.get(transmissionID) or (
            read_file(self.path, MAX_SNAPSHOT_BYTES),
            0,
        )
        if data is None:
            return None
        chunk = data[at : at + SNAPSHOT_CHUNK_BYTES]
        if chunk:
            self._sending[transmissionID] = data, at + len(chunk)
        else:
            self._sending.pop(transmissionID, None)
        return chunk, at == 0, not chunk

    def cancelTransmisstion(self, id: object) -> None:
        self._sending.pop(id, None)
