"""The requests about locks and leases, and what nodes tell each other of them (`leasebook`)."""

from __future__ import annotations

from math import inf

from tiercluster.cluster.wire import (
    CLEAR_EVER,
    Ack,
    Delete,
    Flags,
    Kind,
    Leases,
    LeasesAsked,
    Mode,
    Peek,
    Peeked,
    Refusal,
    Reply,
    Status,
    Store,
    Stored,
)
from tiercluster.tiermap import TierMap

from .directory import Directory
from .effects import Answered
from .leasebook import LeaseBook, No, Told, is_lease
from .ownership import Ownership
from .peerbook import PeerBook

_ACK = Status.OK, Ack(), b""
_ONE_AT_A_TIME = Status.BAD_REQUEST, Refusal("a lease is added or extended, one, with a TTL"), b""
_ASKING = Status.RETRY, Refusal("the last owner is asked for the leases it granted"), b""
_FULL = Status.SHED, Refusal("this node holds too many leases"), b""


def is_about_leases(asked: Store | Delete | Peek) -> bool:
    """By its first key: no client asks for leases and data in one request."""
    return len(asked.keys) > 0 and is_lease(asked.keys[0])


class LeaseVerbs:
    """``node`` is this node's id."""

    def __init__(self, node: str, directory: Directory, peers: PeerBook) -> None:
        self._node = node
        self._peers = peers
        self._incarnation = ""
        self.book = LeaseBook(node, directory.next_version, self._ask)

    # --- requests of clients --------------------------------------------------------------------

    def store(self, asked: Store, slot: int, now: float) -> Answered:
        ttl = asked.ttls[0]
        if len(asked.keys) != 1 or ttl is None or ttl <= 0:
            return _ONE_AT_A_TIME
        key = asked.keys[0]
        match asked.mode:
            case Mode.ADD:
                granted = self.book.add(key, slot, ttl, now)
            case Mode.CAS:
                granted = self.book.extend(key, slot, asked.versions[0], ttl, now)
            case _:
                return _ONE_AT_A_TIME
        match granted:
            case No.ASKING:
                return _ASKING
            case No.FULL:
                return _FULL
            case _:
                return Status.OK, Stored((granted,)), b""

    def delete(self, asked: Delete, now: float) -> Answered:
        found = tuple(self.book.release(key, asked.version, now) for key in asked.keys)
        return Status.OK, Flags(found), b""

    def peek(self, asked: Peek, now: float) -> Answered:
        versions, left = zip(*(self.book.look(key, now) for key in asked.keys), strict=True)
        return Status.OK, Peeked(tuple(versions), tuple(left)), b""

    # --- other nodes ----------------------------------------------------------------------------

    def _ask(self, node: str, slot: int, ring_version: int, now: float) -> None:
        def finish(reply: Reply | None, now: float) -> None:
            fields = reply.fields if reply is not None and reply.status is Status.OK else None
            told = _told(fields) if isinstance(fields, Leases) else None
            self.book.told(slot, ring_version, told, now)

        fields = LeasesAsked(slot, ring_version)
        self._peers.ask(node, Kind.LEASES_ASK, fields, b"", finish, now)

    def answer(self, asked: LeasesAsked, now: float) -> Answered:
        """To the next owner of a slot."""
        told = self.book.answer(asked.slot, asked.ring_version, now)
        return Status.OK, self._leases(told), b""

    def farewell(self, now: float) -> Leases:
        """What this node says when it stops: to all members, of all that it has granted."""
        return self._leases(self.book.farewell(now))

    def hear(self, said: Leases, now: float) -> Answered:
        """Another's farewell."""
        told = _told(said)
        if told is not None:
            self.book.hear_farewell(said.node, said.incarnation, told, now)
        return _ACK

    def _leases(self, told: Told | None) -> Leases:
        if told is None:
            return Leases(self._node, self._incarnation, False, 0)
        clear_ms = CLEAR_EVER if told.clear_s == inf else max(0, int(told.clear_s * 1000))
        keys = tuple(key for key, _, _ in told.leases)
        versions = tuple(version for _, version, _ in told.leases)
        # Rounded up: who takes over must not think that a lease has ended which has not.
        left_ms = tuple(int(left_s * 1000) + 1 for _, _, left_s in told.leases)
        return Leases(self._node, self._incarnation, True, clear_ms, keys, versions, left_ms)

    # --- the map --------------------------------------------------------------------------------

    def use_map(self, tier_map: TierMap, ownership: Ownership) -> None:
        """Slots may have been gained or lost."""
        self._incarnation = ownership.incarnation
        self.book.use_map(tier_map, ownership.slots, ownership.gained)


def _told(said: Leases) -> Told | None:
    """None if it cannot tell, or tells what is none."""
    is_whole = len(said.keys) == len(said.versions) == len(said.left_ms)
    if not said.known or not is_whole:
        return None
    clear_s = inf if said.clear_ms >= CLEAR_EVER else said.clear_ms / 1000
    leases = zip(said.keys, said.versions, said.left_ms, strict=True)
    return Told(clear_s, tuple((key, v, left / 1000) for key, v, left in leases if is_lease(key)))
