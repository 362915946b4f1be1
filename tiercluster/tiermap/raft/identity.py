"""Whose raft directory this is, and whether its owner may vote.

A lock on the directory keeps a second process out. The marker file ``member`` names the cluster
and the node, and says whether the member was admitted to voting (see admission.py). A directory
that was wiped has no marker: its owner has forgotten what it promised, and may not vote.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from . import cbor
from .files import (
    REJOIN,
    DamagedError,
    JournalError,
    read_file,
    replace_durably,
    seal,
    unseal_plain,
)
from .lock import lock_directory

MAGIC = b"tcM1"
MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Marker:
    cluster: str
    node: str
    admitted: bool


class Directory:
    """A locked raft directory; JournalError when it cannot be had, DamagedError when what it holds
    belongs to somebody else or is incomplete."""

    def __init__(self, path: Path, cluster: str, node: str, fsync: bool = True) -> None:
        self.path = path
        self._cluster, self._node, self._fsync = cluster, node, fsync
        self._lock = _lock(path)
        try:
            self.admitted = self._read_marker()
        except BaseException:
            self.close()
            raise

    def admit(self) -> None:
        """From now on, also after a restart, this member may vote."""
        self._write_marker(True)
        self.admitted = True

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _read_marker(self) -> bool:
        marker = _decode(self.path / "member")
        names = {name for name in ("journal", "vote") if (self.path / name).exists()}
        if marker is None:
            if names:
                raise DamagedError(f"{self.path} holds a log but no marker of its owner; {REJOIN}")
            self._write_marker(False)
            return False
        if (marker.cluster, marker.node) != (self._cluster, self._node):
            raise DamagedError(
                f"{self.path} belongs to node {marker.node!r} of cluster {marker.cluster!r}, this "
                f"is node {self._node!r} of cluster {self._cluster!r}: give it its own directory"
            )
        if marker.admitted and names != {"journal", "vote"}:
            raise DamagedError(
                f"{self.path} lacks {' and '.join(sorted({'journal', 'vote'} - names))}: this "
                f"member may have voted and forgotten it; {REJOIN}"
            )
        return marker.admitted

    def _write_marker(self, admitted: bool) -> None:
        body = cbor.dumps([self._cluster, self._node, admitted])
        replace_durably(self.path / "member", seal(MAGIC, body), self._fsync)


def _decode(path: Path) -> Marker | None:
    data = read_file(path, MAX_BYTES)
    if data is None:
        return None
    match unseal_plain(path, MAGIC, data, MAX_BYTES):
        case [str(cluster), str(node), bool(admitted)]:
            return Marker(cluster, node, admitted)
        case _:
            raise DamagedError(f"{path} is no marker; {REJOIN}")


def _lock(path: Path) -> int:
    try:
        return lock_directory(path)
    except BlockingIOError as error:
        raise JournalError(f"{path} is in use by another process") from error
    except OSError as error:
        raise JournalError(f"cannot use {path}: {error.strerror or error}") from error
