"""The cold store's file: how it is opened, what is in it, how it is removed or set aside.

Nothing is read through mmap, where an I/O error would kill the process: mmap is off, and with
exclusive locking the index of the write-ahead log lives on the heap. Synchronous is NORMAL: a
checkpoint's fsync is where a disk reports that it lost earlier writes.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from pathlib import Path
from types import NoneType
from typing import Any

import xxhash

from tiercluster.node.entry import PACKED

SCHEMA = 1
PAGE_BYTES = 8192
PAGE_CACHE_KIB = 8192
LOG_PAGES = 2000  # of the write-ahead log before it is checkpointed
LOG_KEPT_BYTES = 32 * 2**20

_OPENING = f"""
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA mmap_size = 0;
PRAGMA page_size = {PAGE_BYTES};
PRAGMA cache_size = -{PAGE_CACHE_KIB};
PRAGMA synchronous = NORMAL;
PRAGMA temp_store = MEMORY;
PRAGMA wal_autocheckpoint = {LOG_PAGES};
PRAGMA journal_size_limit = {LOG_KEPT_BYTES};
PRAGMA trusted_schema = OFF;
"""
_TABLES = f"""
CREATE TABLE entries (
    key BLOB PRIMARY KEY, version INTEGER NOT NULL, generation INTEGER NOT NULL,
    flags INTEGER NOT NULL, expires_wall REAL, checksum INTEGER NOT NULL, value BLOB NOT NULL);
CREATE TABLE marker (incarnation TEXT NOT NULL, generation INTEGER NOT NULL);
CREATE TABLE identity (id BLOB NOT NULL);
PRAGMA user_version = {SCHEMA};
"""


class Damaged(Exception):
    """What was read is not what this store writes."""


# The types of columns: SQLite reads whatever the bytes of the file say, in any of them.
IDENTITY = (bytes,)
MARKER = (str, int)
ROW = (bytes, int, int, (float, NoneType), int)
VALUE = (int, int, bytes)
NOT_WRITTEN = "a row is not what was written"


def checked(row: tuple[Any, ...] | None, types: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row; Damaged if it is none, or a column holds something else."""
    if row is None or not all(map(isinstance, row, types)):
        raise Damaged(NOT_WRITTEN)
    return row


def checked_flags(flags: int) -> int:
    """They are a byte of the user's, and PACKED; Damaged otherwise."""
    if not 0 <= flags < 2 * PACKED:
        raise Damaged(NOT_WRITTEN)
    return flags


def checked_version(version: int) -> int:
    """No entry has a negative one, and a checksum has no room for its sign; Damaged otherwise."""
    if version < 0:
        raise Damaged(NOT_WRITTEN)
    return version


def checksum(key: bytes, version: int, flags: int, value: bytes) -> int:
    """xxh3 over the whole row, as SQLite stores integers: signed."""
    seed = xxhash.xxh3_64_intdigest(key + struct.pack(">QQ", version, flags))
    digest: int = xxhash.xxh3_64_intdigest(value, seed)
    return digest - 2**64 if digest >= 2**63 else digest


def connect(path: Path) -> sqlite3.Connection:
    """Opens or creates the file; as all below raises sqlite3.Error if disk or file are sick."""
    # Autocommit, no waiting for a lock: this process is the only one.
    return sqlite3.connect(path, isolation_level=None, timeout=0)


def prepare(db: sqlite3.Connection) -> bytes:
    """Sets the connection up, creates the tables if there are none, and says which store it is."""
    db.executescript(_OPENING)
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise sqlite3.OperationalError(f"no write-ahead log here: {mode}")
    (schema,) = db.execute("PRAGMA user_version").fetchone()
    if schema == 0:
        _create_tables(db)
    elif schema != SCHEMA:
        raise Damaged(f"schema {schema}, not {SCHEMA}")
    (identity,) = checked(db.execute("SELECT id FROM identity").fetchone(), IDENTITY)
    return bytes(identity)


def _create_tables(db: sqlite3.Connection) -> None:
    db.executescript("BEGIN;" + _TABLES)
    db.execute("INSERT INTO identity VALUES (?)", (os.urandom(8),))
    db.execute("COMMIT")


def remove_files(path: Path) -> None:
    """The store at ``path`` and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Renames a damaged store; the one set aside before it is removed."""
    earlier = list(path.parent.glob(path.name + ".corrupt-*"))
    numbers = [int(n) for p in earlier if (n := p.name.rpartition("-")[2]).isdigit()]
    aside = path.with_name(f"{path.name}.corrupt-{max(numbers, default=0) + 1}")
    path.rename(aside)
    for old in earlier:
        old.unlink(missing_ok=True)
    remove_files(path)
    return aside
