"""Key pairs for CURVE: made, written and read as certificates of ZeroMQ (``zmq.auth``).

A directory made by ``tiercluster keygen`` holds

    cluster.key_secret   the nodes' secret key (on nodes only)
    cluster.key          the nodes' public key
    client.key_secret    a client's secret key
    client.key           its public key
"""

from __future__ import annotations

import os
from pathlib import Path

import zmq.auth

from .link import CurveKeys

SERVER = "cluster"
CLIENT = "client"


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


def load_client_keys(directory: str | os.PathLike[str], name: str = CLIENT) -> CurveKeys:
    """A client's key pair and the cluster's public key; ValueError says which file is missing or
    is none."""
    public, secret = _pair(Path(directory) / f"{name}.key_secret")
    server, _ = _read(Path(directory) / f"{SERVER}.key")
    return CurveKeys(public=public, secret=secret, server=server)


def load_server_keys(directory: str | os.PathLike[str]) -> CurveKeys:
    """The nodes' own pair; ``server`` is their public key, for connections to each other."""
    public, secret = _pair(Path(directory) / f"{SERVER}.key_secret")
    return CurveKeys(public=public, secret=secret, server=public)


def _pair(path: Path) -> tuple[bytes, bytes]:
    public, secret = _read(path)
    if secret is None:
        raise ValueError(f"{path} holds no secret key")
    return public, secret


def _read(path: Path) -> tuple[bytes, bytes | None]:
    try:
        return zmq.auth.load_certificate(str(path))
    except OSError as error:
        why = error.strerror or "no such file"  # of which zmq only says that it is invalid
        raise ValueError(f"cannot read {path}: {why}; run tiercluster keygen") from None
    except ValueError as error:
        raise ValueError(f"{path} is no key file: {error}") from None
