"""The directory of keys that `tiercluster keygen` makes, as nodes and clients read it.

    cluster.pub     cluster.secret       the key that every node shows to those who connect
    nodes/ID.pub    nodes/ID.secret      each node, towards the other nodes and their consensus
    clients/NAME.pub clients/NAME.secret who may read and write
    admins/NAME.pub admins/NAME.secret   who may also drain, restore, remove and inject faults

A file holds one CURVE key as 40 characters of Z85. A node needs cluster.*, its own nodes/ID.secret
and all .pub files; a client needs cluster.pub and its own pair. Other secrets need not be there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

CLUSTER, NODES, CLIENTS, ADMINS = "cluster", "nodes", "clients", "admins"
PUBLIC, SECRET = ".pub", ".secret"
MAX_KEYS = 10_000  # files of one folder

_Z85 = re.compile(rb"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair in Z85."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public.decode()})"


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """Who a client is, and the public key of the cluster that it talks to."""

    own: KeyPair
    server: bytes


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """What a node shows, who it is, and whom it knows. ``nodes`` has (id, public key) of all nodes,
    itself included, sorted."""

    server: KeyPair
    own: KeyPair
    nodes: tuple[tuple[str, bytes], ...]
    clients: frozenset[bytes]
    admins: frozenset[bytes]


def client_keys(directory: Path) -> ClientKeys:
    """The first admin's pair, or else the first client's, by name; ValueError says what is
    missing."""
    server = read_key(directory / f"{CLUSTER}{PUBLIC}")
    for folder in (ADMINS, CLIENTS):
        for secret in sorted((directory / folder).glob(f"*{SECRET}")):
            return ClientKeys(_pair(secret.with_suffix("")), server)
    raise ValueError(f"{directory} has neither {ADMINS}/NAME{SECRET} nor {CLIENTS}/NAME{SECRET}")


def node_keys(directory: Path, node: str) -> NodeKeys:
    """The keys of this node; ValueError says what is missing."""
    nodes = _publics(directory / NODES)
    return NodeKeys(
        server=_pair(directory / CLUSTER),
        own=_pair(directory / NODES / node),
        nodes=tuple(sorted(nodes.items())),
        clients=frozenset(_publics(directory / CLIENTS).values()),
        admins=frozenset(_publics(directory / ADMINS).values()),
    )


def _pair(stem: Path) -> KeyPair:
    # Not with_suffix: the name of a node may have dots in it.
    public = read_key(stem.with_name(stem.name + PUBLIC))
    return KeyPair(public, read_key(stem.with_name(stem.name + SECRET)))


def _publics(folder: Path) -> dict[str, bytes]:
    files = sorted(folder.glob(f"*{PUBLIC}"))
    if len(files) > MAX_KEYS:
        raise ValueError(f"{folder} has more than {MAX_KEYS} keys")
    return {file.name.removesuffix(PUBLIC): read_key(file) for file in files}


def read_key(file: Path) -> bytes:
    """The key in a file; ValueError if there is none."""
    try:
        content = file.read_bytes().strip()
    except OSError as error:
        raise ValueError(f"cannot read the key {file}: {error.strerror}") from error
    if not _Z85.fullmatch(content):
        raise ValueError(f"{file} is no key: 40 characters of Z85 are needed")
    return content
