"""The cold store: entries in one SQLite file, every error of the disk a Failure.

An acknowledged write outlives the process. After a power cut it may be lost, but then the
generation goes up anyway. A store that a clean stop closed holds a marker; without it nothing in it
is trusted at the next start. What cannot be read is set aside as ``cold.db.corrupt-N`` (the last
one is kept).
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tiercluster.node.failures import Failure, FailureKind, from_oserror
from tiercluster.node.messages import ColdRow

from . import cold_file
from .cold_file import Damaged, checksum, remove_files, set_aside
from .faults import Faults
from .sqlite_failures import from_sqlite

FILE = "cold.db"
PROBE_KEY = b""  # no entry has an empty key
PROBE_VALUE = bytes(range(256)) * 16

_PUT = "REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)"
_GET = "SELECT flags, checksum, value FROM entries WHERE key = ? AND version = ?"
_DELETE = "DELETE FROM entries WHERE key = ? AND version = ?"
_ROWS = "SELECT key, version, flags, expires_wall, length(value) FROM entries WHERE key > x''"

Identity = tuple[int, int]  # device and inode
Marker = tuple[str, int]  # incarnation and generation
T = TypeVar("T")
_MISMATCH = "an entry is not what was written: its checksum does not match"


@dataclass(frozen=True, slots=True)
class Opened:
    """``marker`` of a clean close and the rows it vouches for; ``note`` says that a damaged store
    was set aside."""

    marker: Marker | None
    rows: tuple[ColdRow, ...]
    note: str = ""


class ColdStore:
    """One store below ``directory``, used by one thread. No method raises for the disk's sake.

    Writes are gathered in a transaction until `commit`; reads see them at once.
    """

    def __init__(self, directory: Path, faults: Faults | None = None) -> None:
        self._directory = directory
        self._faults = faults or Faults(lambda _: None)
        self._db: sqlite3.Connection | None = None
        self._places: tuple[Identity, Identity] | None = None
        self._was_mounted = False
        self._id = b""
        self._is_marker_true = True

    @property
    def path(self) -> Path:
        return self._directory / FILE

    @property
    def is_open(self) -> bool:
        return self._db is not None

    @property
    def has_batch(self) -> bool:
        """Whether writes wait for `commit`. False after a failed write: SQLite took all of them
        back."""
        return self._db is not None and self._db.in_transaction

    # --- open and close -------------------------------------------------------------------------

    def open(self, *, wipe: bool) -> Opened | Failure:
        """Takes the marker off. Without a marker, or with ``wipe``, the store is empty."""
        self.close()
        result = self._io(lambda: self._open(wipe), writes=True)
        if isinstance(result, Failure) and result.kind is FailureKind.CORRUPT:
            why = result.detail
            result = self._caught(lambda: self._open_anew(why))
        if isinstance(result, Failure):
            self.close()
        return result

    def _open(self, wipe: bool) -> Opened:
        self._directory.mkdir(parents=True, exist_ok=True)
        if wipe:
            remove_files(self.path)
        db = self._connect()
        marker = self._take_marker(db)
        if marker is None:
            self._start_empty()
            return Opened(None, ())
        return Opened(marker, tuple(map(_row, db.execute(_ROWS))))

    def _open_anew(self, why: str) -> Opened:
        self.close()
        aside = set_aside(self.path)
        self._connect()
        return Opened(None, (), f"set aside as {aside.name}: {why}")

    def _start_empty(self) -> sqlite3.Connection:
        """Removing the files is faster than deleting rows, and gives the disk back its space."""
        self.close()
        remove_files(self.path)
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        db = cold_file.connect(self.path)
        try:
            self._id = cold_file.prepare(db)
            self._places = self._look()
            self._was_mounted = self._is_mounted()
        except BaseException:
            db.close()
            raise
        self._db = db
        self._is_marker_true = True
        return db

    def _take_marker(self, db: sqlite3.Connection) -> Marker | None:
        row = db.execute("SELECT incarnation, generation FROM marker").fetchone()
        db.execute("DELETE FROM marker")
        if row is None:
            return None
        incarnation, generation = cold_file.checked(row, cold_file.MARKER)
        return incarnation, generation

    def close(self, marker: Marker | None = None) -> Failure | None:
        """Flush and close; with ``marker`` a restart may trust what is stored. The marker is left
        out if a write or delete failed since the store was opened: its rows are not the truth."""
        db = self._db
        if db is None:
            return None
        failure = self._caught(lambda: self._flush(db, marker))
        self._db = None
        with contextlib.suppress(sqlite3.Error):
            db.close()
        return failure

    def _flush(self, db: sqlite3.Connection, marker: Marker | None) -> None:
        if db.in_transaction:
            db.execute("COMMIT")
        if marker is None:
            return
        self._check_place()
        if self._is_marker_true:
            db.execute("INSERT INTO marker VALUES (?, ?)", marker)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    # --- entries --------------------------------------------------------------------------------

    def put(
        self,
        key: bytes,
        version: int,
        generation: int,
        flags: int,
        expires_wall: float | None,
        value: bytes,
    ) -> Failure | None:
        """Replaces what stands under the key. Lasting once `commit` has succeeded."""
        total = checksum(key, version, flags, value)
        row = (key, version, generation, flags, expires_wall, total, value)
        return self._write(lambda db: db.execute(_PUT, row))

    def delete(self, rows: tuple[tuple[bytes, int], ...]) -> Failure | None:
        """Forgets these (key, version)."""
        return self._write(lambda db: db.executemany(_DELETE, rows))

    def _write(self, statement: Callable[[sqlite3.Connection], object]) -> Failure | None:
        result = self._io(lambda: self._in_batch(statement), writes=True)
        if not isinstance(result, Failure):
            return None
        self._is_marker_true = False
        return result

    def _in_batch(self, statement: Callable[[sqlite3.Connection], object]) -> None:
        db = self._opened()
        if not db.in_transaction:
            db.execute("BEGIN IMMEDIATE")
        statement(db)

    def get(self, key: bytes, version: int) -> tuple[bytes, int] | Failure | None:
        """Value and flags; None if this version is not here; CORRUPT if it is damaged."""
        had_batch = self.has_batch
        found = self._io(lambda: self._get(self._opened(), key, version), writes=False)
        if had_batch and not self.has_batch:
            self._is_marker_true = False  # SQLite took the batch back, deletes and all
        return found

    def _get(self, db: sqlite3.Connection, key: bytes, version: int) -> tuple[bytes, int] | None:
        row = db.execute(_GET, (key, version)).fetchone()
        if row is None:
            return None
        flags, total, stored = cold_file.checked(row, cold_file.VALUE)
        value = self._faults.after_read(stored)
        if checksum(key, version, cold_file.checked_flags(flags), value) != total:
            raise Damaged(_MISMATCH)
        return value, flags

    def commit(self) -> Failure | None:
        """Make the gathered writes lasting. After a failure none of them is there."""
        db = self._db
        if db is None or not db.in_transaction:
            return None
        try:
            db.execute("COMMIT")
        except sqlite3.Error as error:
            self._is_marker_true = False
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            return from_sqlite(error)
        return None

    # --- health ---------------------------------------------------------------------------------

    def check(self) -> Failure | None:
        """GONE if the directory or file is no longer the one that was opened (unmounted, moved).
        What is asked for meanwhile is not carried out, so the rows are not the truth any more."""
        failure = self._caught(self._check_place)
        if failure is not None:
            self._is_marker_true = False
        return failure

    def probe(self) -> Failure | None:
        """Write, fsync, read back, verify and delete one entry. A store that is closed, or whose
        directory was replaced, is opened again first (but never in a place where its disk should
        be mounted and is not)."""
        failure = self._io(self._probe, writes=True)
        if failure is not None and self.is_open and failure.detail != _MISMATCH:
            self._rebuild_if_damaged(failure)
        return failure

    def _rebuild_if_damaged(self, failure: Failure) -> None:
        """A file that SQLite finds damaged never heals: the next probe finds a new one."""
        if failure.kind is FailureKind.CORRUPT:
            self._caught(lambda: self._open_anew(failure.detail))

    def _probe(self) -> None:
        self.commit()
        db = self._present()
        row = (PROBE_KEY, 1, 0, 0, None, checksum(PROBE_KEY, 1, 0, PROBE_VALUE), PROBE_VALUE)
        db.execute(_PUT, row)
        try:
            db.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
            # Without its page cache SQLite reads the entry from the file again.
            db.execute("PRAGMA shrink_memory")
            if self._get(db, PROBE_KEY, 1) is None:
                raise Damaged(_MISMATCH)
        finally:
            db.execute(_DELETE, (PROBE_KEY, 1))
        db.execute("PRAGMA wal_checkpoint(FULL)").fetchone()

    def _present(self) -> sqlite3.Connection:
        with contextlib.suppress(FileNotFoundError):
            if self._db is not None and self._look() == self._places:
                return self._db
        if not self._directory.is_dir() or (self._was_mounted and not self._is_mounted()):
            raise _gone(f"{self._directory} is not there, or not mounted")
        return self._reopen()

    def _reopen(self) -> sqlite3.Connection:
        """What stands there is kept only if it is this very store (mounted again)."""
        mine, was_mounted = self._id, self._was_mounted
        self.close()
        db = self._connect()
        self._take_marker(db)
        if self._id != mine:
            db = self._start_empty()
        self._was_mounted = was_mounted or self._was_mounted
        # Deletes that failed meanwhile left their rows behind.
        self._is_marker_true = False
        return db

    def _check_place(self) -> None:
        if self._db is not None and self._look() != self._places:
            raise _gone(f"{self.path} is not the file that was opened")

    def _look(self) -> tuple[Identity, Identity]:
        directory, file = os.stat(self._directory), os.stat(self.path)
        return (directory.st_dev, directory.st_ino), (file.st_dev, file.st_ino)

    def _is_mounted(self) -> bool:
        return os.stat(self._directory).st_dev != os.stat(self._directory.parent).st_dev

    # --- errors become failures -----------------------------------------------------------------

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            raise _gone(f"{self.path} is closed")
        return self._db

    def _io(self, work: Callable[[], T], *, writes: bool) -> T | Failure:
        def with_faults() -> T:
            self._faults.before_io(writes=writes)
            return work()

        return self._caught(with_faults)

    def _caught(self, work: Callable[[], T]) -> T | Failure:
        try:
            return work()
        except Damaged as damage:
            return Failure(FailureKind.CORRUPT, str(damage))
        except sqlite3.Error as error:
            return from_sqlite(error)
        except UnicodeDecodeError as error:  # SQLite's own words about a damaged file
            return Failure(FailureKind.CORRUPT, f"a text in it is none: {error}")
        except OSError as error:
            return from_oserror(error)


def _row(columns: tuple[Any, ...]) -> ColdRow:
    row = ColdRow(*cold_file.checked(columns, cold_file.ROW))
    cold_file.checked_flags(row.flags)
    cold_file.checked_version(row.version)
    return row


def _gone(text: str) -> OSError:
    return FileNotFoundError(errno.ENOENT, text)
