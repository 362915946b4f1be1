"""Files that survive a power cut: written beside, fsynced, renamed, the directory fsynced.

A small file is sealed: ``magic, crc32, body``. What the system refuses becomes JournalError, which
takes this member out of voting and nothing else.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

from . import cbor

_SEAL = struct.Struct("<4sI")


class JournalError(Exception):
    """The member's own record cannot be trusted or written: it must not vote or acknowledge."""


class DamagedError(JournalError):
    """What stands on the disk cannot be; only an operator can tell what to do."""


def wrote(path: Path, error: OSError) -> JournalError:
    return JournalError(f"cannot write {path}: {error.strerror or error}")


def sync_directory(directory: Path) -> None:
    """Make the names in it durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes, at: int) -> None:
    """All of ``data`` at offset ``at``; a short write is continued, OSError passed on."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, at)
        view, at = view[written:], at + written


def replace_durably(path: Path, data: bytes, fsync: bool = True) -> None:
    """The file holds ``data`` or what it held before; JournalError when it could not be written."""
    beside = path.with_name(path.name + ".new")
    try:
        fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, data, 0)
            if fsync:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(beside, path)
        if fsync:
            sync_directory(path.parent)
    except OSError as error:
        raise wrote(path, error) from error


def seal(magic: bytes, body: bytes) -> bytes:
    return _SEAL.pack(magic, zlib.crc32(body)) + body


def unseal(path: Path, magic: bytes, data: bytes) -> bytes:
    """The body; DamagedError when it is not what was sealed."""
    if len(data) < _SEAL.size or _SEAL.unpack_from(data)[0] != magic:
        raise DamagedError(f"{path} is not a file of this kind; {REJOIN}")
    body = data[_SEAL.size :]
    if zlib.crc32(body) != _SEAL.unpack_from(data)[1]:
        raise DamagedError(f"{path} is damaged (checksum); {REJOIN}")
    return body


def unseal_plain(path: Path, magic: bytes, data: bytes, most: int) -> Any:
    """The plain values that were sealed; DamagedError when it is not what was sealed."""
    try:
        return cbor.loads(unseal(path, magic, data), most)
    except ValueError as error:
        raise DamagedError(f"{path}: {error}; {REJOIN}") from error


def read_file(path: Path, most: int) -> bytes | None:
    """Its bytes, None if there is no such file; JournalError if it has more than ``most``."""
    try:
        size = path.stat().st_size
        if size > most:
            raise JournalError(f"{path} has {size} bytes; the limit is {most}; {REJOIN}")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JournalError(f"cannot read {path}: {error.strerror or error}") from error


REJOIN = (
    "this member refuses to vote. Stop it, move its raft directory away and start it again: it "
    "rejoins without a vote until it has caught up"
)
