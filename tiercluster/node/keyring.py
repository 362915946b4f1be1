"""The keys of a node, from the directory that `tiercluster keygen` makes.

    cluster.key, .key_secret        what every node shows to those who connect
    client.key, .key_secret         the operator's: may do everything
    clients/NAME/client.key, ...    one application's: may read and write; a directory to hand over
    nodes/ID.key, .key_secret       one node, towards the other nodes

A node needs cluster.*, its own nodes/ID.key_secret and all .key files of the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import zmq.auth

from tiercluster.cluster.keys_files import CLIENT, SERVER

NODES, CLIENTS = "nodes", "clients"
PUBLIC, SECRET = ".key", ".key_secret"
MAX_KEYS = 10_000  # of one folder


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair in Z85."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public.decode()})"


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """What a node shows, who it is, and whom it knows by public key. ``nodes`` has the ids of all
    nodes, itself included, sorted."""

    server: KeyPair
    own: KeyPair
    nodes: tuple[tuple[str, bytes], ...]
    clients: frozenset[bytes]
    admins: frozenset[bytes]


def load_node_keys(directory: Path, node: str) -> NodeKeys:
    """The keys of this node; ValueError says which file is missing or is none."""
    files = _at_most(sorted((directory / NODES).glob(f"*{PUBLIC}")))
    clients = _at_most(sorted((directory / CLIENTS).glob(f"*/{CLIENT}{PUBLIC}")))
    return NodeKeys(
        server=_pair(directory / f"{SERVER}{SECRET}"),
        own=_pair(directory / NODES / f"{node}{SECRET}"),
        nodes=tuple((file.name.removesuffix(PUBLIC), _read(file)[0]) for file in files),
        clients=frozenset(_read(file)[0] for file in clients),
        admins=frozenset({_read(directory / f"{CLIENT}{PUBLIC}")[0]}),
    )


def _at_most(files: list[Path]) -> list[Path]:
    if len(files) > MAX_KEYS:
        raise ValueError(f"{files[0].parent} has more than {MAX_KEYS} keys")
    return files


def _pair(file: Path) -> KeyPair:
    public, secret = _read(file)
    if secret is None:
        raise ValueError(f"{file} holds no secret key")
    return KeyPair(public, secret)


def _read(file: Path) -> tuple[bytes, bytes | None]:
    try:
        return zmq.auth.load_certificate(file)
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error}; run `tiercluster keygen`") from error
    except ValueError as error:
        raise ValueError(f"{file} is no key file: {error}") from error
