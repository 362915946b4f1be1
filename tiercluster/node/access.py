"""Who may say what to this node: CURVE keys checked by ZAP, and a role for each key.

Without keys (loopback, or --insecure) everybody may say everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import zmq
from zmq.auth.thread import ThreadAuthenticator

from tiercluster.cluster.wire import Kind

from .keyring import NodeKeys


class Role(StrEnum):
    NODE = "node"
    ADMIN = "admin"
    CLIENT = "client"


_ADMIN_KINDS = frozenset({Kind.PROPOSE, Kind.PROBE, Kind.FAULT, Kind.NODE_FAULT})
_NODE_KINDS = frozenset({Kind.PEER_PING, Kind.PEER_PACE, Kind.COLD_PUT, Kind.COLD_GET,
                         Kind.COLD_DROP, Kind.REPLICATE, Kind.FILL, Kind.LEASES_ASK,
                         Kind.LEASES_TELL})  # fmt: skip


def is_allowed(role: Role | None, kind: Kind) -> bool:
    """Nodes may do everything (a follower forwards its proposals), admins all but members' talk,
    clients the data and what they need to route it."""
    match role:
        case Role.NODE:
            return True
        case Role.ADMIN:
            return kind not in _NODE_KINDS
        case Role.CLIENT:
            return kind not in _NODE_KINDS and kind not in _ADMIN_KINDS
        case None:
            return False


class Access:
    """The roles of the known public keys. As a ZAP credentials provider it admits only those."""

    def __init__(self, keys: NodeKeys) -> None:
        self._roles = _roles(keys)

    def use_keys(self, keys: NodeKeys) -> None:
        """Exactly these are known from now on; one assignment, for the authenticator's thread."""
        self._roles = _roles(keys)

    def role(self, public: bytes) -> Role | None:
        return self._roles.get(public)

    def callback(self, domain: str, key: bytes) -> bool:
        """Called by the authenticator for each new connection."""
        return key in self._roles

    def guard(self, context: zmq.Context[zmq.Socket[bytes]]) -> ThreadAuthenticator:
        """Start checking the CURVE sockets of this context; stop() ends it."""
        authenticator = ThreadAuthenticator(context)
        authenticator.start()
        authenticator.configure_curve_callback(domain="*", credentials_provider=self)
        return authenticator


def _roles(keys: NodeKeys) -> Mapping[bytes, Role]:
    roles = dict.fromkeys(keys.clients, Role.CLIENT)
    roles |= dict.fromkeys(keys.admins, Role.ADMIN)
    return roles | {public: Role.NODE for _, public in keys.nodes}
