"""The connections that want map changes pushed to them."""

from __future__ import annotations

LEASE_S = 15.0  # a subscriber renews every few seconds
LIMIT = 10_000


class Subscribers:
    """Identities of ROUTER connections with the time until which they are served, and the version
    of the protocol that they speak."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._until: dict[bytes, float] = {}
        self._protocols: dict[bytes, int] = {}

    def add(self, identity: bytes, now: float, protocol: int) -> bool:
        """False when the limit is reached: this one polls instead."""
        if identity not in self._until and len(self._until) >= self._limit:
            return False
        self._until[identity] = now + LEASE_S
        self._protocols[identity] = protocol
        return True

    def drop(self, identity: bytes) -> None:
        self._until.pop(identity, None)
        self._protocols.pop(identity, None)

    def expire(self, now: float) -> None:
        gone = [identity for identity, until in self._until.items() if until < now]
        for identity in gone:
            del self._until[identity], self._protocols[identity]

    def by_protocol(self) -> dict[int, list[bytes]]:
        """The connections that speak each version."""
        spoken: dict[int, list[bytes]] = {}
        for identity, protocol in self._protocols.items():
            spoken.setdefault(protocol, []).append(identity)
        return spoken
