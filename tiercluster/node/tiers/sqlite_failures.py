"""What an error of SQLite says about the disk below it."""

from __future__ import annotations

import sqlite3

from tiercluster.node.failures import Failure, FailureKind

_BY_NAME: dict[str, FailureKind] = {
    "SQLITE_IOERR_CORRUPTFS": FailureKind.CORRUPT,
    "SQLITE_IOERR_DELETE_NOENT": FailureKind.GONE,
    "SQLITE_IOERR_VNODE": FailureKind.GONE,
    "SQLITE_READONLY_DBMOVED": FailureKind.GONE,
}
_BY_CODE: dict[int, FailureKind] = {
    sqlite3.SQLITE_CORRUPT: FailureKind.CORRUPT,
    sqlite3.SQLITE_NOTADB: FailureKind.CORRUPT,
    sqlite3.SQLITE_IOERR: FailureKind.IO_ERROR,
    sqlite3.SQLITE_FULL: FailureKind.NO_SPACE,
    sqlite3.SQLITE_READONLY: FailureKind.READ_ONLY,
    sqlite3.SQLITE_PERM: FailureKind.READ_ONLY,
    sqlite3.SQLITE_AUTH: FailureKind.READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: FailureKind.GONE,
    sqlite3.SQLITE_TOOBIG: FailureKind.TOO_LARGE,
}


def from_sqlite(error: sqlite3.Error) -> Failure:
    """The failure that an error of SQLite stands for; what is not known is an I/O error."""
    name = getattr(error, "sqlite_errorname", "") or ""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    kind = _BY_NAME.get(name) or _BY_CODE.get(code, FailureKind.IO_ERROR)
    return Failure(kind, f"{error} ({name})" if name else str(error))
