"""The keys of a node, from the directory that `tiercluster keygen` makes.

    cluster.key, .key_secret        what every node shows to those who connect
    client.key, .key_secret         the operator's: may do everything
    clients/NAME/client.key, ...    one application's: may read and write; a directory to hand over
    nodes/ID.key, .key_secret       one node, towards the other nodes

A node needs cluster.*, its own nodes/ID.key_secret and all .key files of the others. Each of these
folders may hold ``next/`` and ``old/`` with files of the same names: keys that come and go. Their
public keys are known like the others; a node itself shows and proves the present ones only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tiercluster.cluster.keys_files import (
    CLIENT,
    GENERATIONS,
    SERVER,
    check_directory,
    read_pair,
    read_public,
    server_keys,
)

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
    """What a node shows, who it is, and whom it knows by public key. ``servers``: what other nodes
    may show, the present one first. ``nodes`` has (id, public key) of all nodes, itself included,
    sorted by id, the present key of each first; during a rotation a node has more than one."""

    server: KeyPair
    own: KeyPair
    servers: tuple[bytes, ...]
    nodes: tuple[tuple[str, bytes], ...]
    clients: frozenset[bytes]
    admins: frozenset[bytes]

    @property
    def known(self) -> frozenset[bytes]:
        """Every public key that is let in."""
        return self.clients | self.admins | {public for _, public in self.nodes}


def load_node_keys(directory: Path, node: str) -> NodeKeys:
    """The keys of this node; ValueError says which file is missing or is none."""
    check_directory(directory)
    clients = _at_most(sorted((directory / CLIENTS).glob("*")))
    return NodeKeys(
        server=KeyPair(*read_pair(directory / f"{SERVER}{SECRET}")),
        own=KeyPair(*read_pair(directory / NODES / f"{node}{SECRET}")),
        servers=server_keys(directory),
        nodes=tuple(sorted(_nodes(directory / NODES), key=lambda known: known[0])),
        clients=frozenset(key for folder in clients for key in _client_keys(folder)),
        admins=frozenset(_client_keys(directory)) or frozenset({read_public(_client(directory))}),
    )


def _nodes(folder: Path) -> Iterator[tuple[str, bytes]]:
    for generation in GENERATIONS:
        for file in _at_most(list((folder / generation).glob(f"*{PUBLIC}"))):
            yield file.name.removesuffix(PUBLIC), read_public(file)


def _client_keys(folder: Path) -> Iterator[bytes]:
    for generation in GENERATIONS:
        file = _client(folder / generation)
        if file.exists():
            yield read_public(file)


def _client(folder: Path) -> Path:
    return folder / f"{CLIENT}{PUBLIC}"


def _at_most(files: list[Path]) -> list[Path]:
    if len(files) > MAX_KEYS:
        raise ValueError(f"{files[0].parent} has more than {MAX_KEYS} keys")
    return files
