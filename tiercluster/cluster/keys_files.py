"""Key pairs for CURVE: made, written and read as certificates of ZeroMQ (``zmq.auth``).

A directory made by ``tiercluster keygen`` holds

    cluster.key_secret   the nodes' secret key (on nodes only)
    cluster.key          the nodes' public key
    client.key_secret    a client's secret key
    client.key           its public key

While keys are rotated, ``next/`` and ``old/`` hold the same files of those that come and go: their
public keys are accepted, too (docs/security.md).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import zmq
import zmq.auth
from zmq.utils import z85

from .link import CurveKeys

SERVER = "cluster"
CLIENT = "client"
NEXT, OLD = "next", "old"
GENERATIONS = ("", NEXT, OLD)  # folders of a directory of keys, the present one first
MAX_FILE_BYTES = 64 * 1024
KEY_CHARACTERS = 40
KEY_BYTES = 32


def make_keys(directory: str | os.PathLike[str], name: str) -> Path:
    """Make one key pair, ``name.key`` and ``name.key_secret`` (mode 0600); FileExistsError if it is
    there already. Returns the public key's file."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / f"{name}.key_secret"
    if secret.exists():
        raise FileExistsError(f"{secret} exists; remove it first to make a new key")
    before = os.umask(0o077)
    try:
        public, _ = zmq.auth.create_certificates(str(folder), name)
    finally:
        os.umask(before)
    return Path(public)


def check_directory(directory: str | os.PathLike[str]) -> None:
    """ValueError for a key that was given in the place of a directory of keys; it is not quoted."""
    text = os.fspath(directory)
    if _is_key(text.encode(errors="replace")) and not os.path.exists(text):
        raise ValueError("a directory of keys is needed; what was given looks like a key itself")


def load_client_keys(directory: str | os.PathLike[str], name: str = CLIENT) -> CurveKeys:
    """A client's key pair and the cluster's public keys; ValueError says which file is missing or
    is none."""
    check_directory(directory)
    public, secret = read_pair(Path(directory) / f"{name}.key_secret")
    server, *others = server_keys(Path(directory))
    return CurveKeys(public, secret, server, tuple(others), os.fspath(directory), name)


def renewed(keys: CurveKeys) -> CurveKeys:
    """The keys that their directory holds now; the same object if they are the same, or if they
    cannot be read (a rotation may be under way)."""
    try:
        found = load_client_keys(keys.directory, keys.name)
    except ValueError:
        return keys
    return keys if found == keys else found


def server_keys(directory: Path) -> tuple[bytes, ...]:
    """The public keys that members may show, the present one first."""
    first, *others = (directory / generation / f"{SERVER}.key" for generation in GENERATIONS)
    return (read_public(first), *(read_public(file) for file in others if file.exists()))


def read_pair(path: Path) -> tuple[bytes, bytes]:
    """(public, secret); ValueError if one is missing or they do not belong together."""
    public, secret = _read(path)
    if secret is None:
        raise ValueError(f"{path} holds no secret key")
    if zmq.curve_public(secret) != public:
        raise ValueError(f"{path}: its public key is not that of its secret key")
    return public, secret


def read_public(path: Path) -> bytes:
    """ValueError says what is wrong with the file."""
    return _read(path)[0]


def _read(path: Path) -> tuple[bytes, bytes | None]:
    """The words of foreign errors are not passed on: they may hold what is in the file."""
    try:
        size = path.stat().st_size
        public, secret = zmq.auth.load_certificate(path) if size <= MAX_FILE_BYTES else (b"", None)
    except OSError as error:
        why = error.strerror or "no such file"  # of which zmq only says that it is invalid
        raise ValueError(f"cannot read {path}: {why}; run tiercluster keygen") from None
    except (ValueError, IndexError):
        raise ValueError(f"{path} is no key file; run tiercluster keygen") from None
    if not all(_is_key(key) for key in (public, secret) if key is not None):
        raise ValueError(f"{path} is no key file: a key has {KEY_CHARACTERS} characters of Z85")
    return public, secret


def _is_key(text: bytes) -> bool:
    try:
        return len(text) == KEY_CHARACTERS and len(z85.decode(text)) == KEY_BYTES
    except (KeyError, struct.error):  # no character of Z85; five of them above 32 bits
        return False
