"""Links to the other voters: sessions, keep-warm hellos, and which messages are let through.

A link is up once both sides know each other's session. A message counts only between the two
sessions it was sent for: what an earlier life of a process sent, or was sent, is dropped.

Two members speak the newest version that both know. Who is not known to speak more is greeted in
version 1, and before that in version 2, which an older member passes over. A member that speaks
less than the level of the agreed state could not read what is sent to it, so it gets no link.

Sessions only grow (they start from the wall clock); one that finds a later session of itself
remembered at a peer (its clock was set back) takes a later one.

This is the transport that pysyncobj sees. It does no I/O itself: bytes leave through ``Wire``, and
the wire's owner hands in what arrives, with the sender as the wire has verified it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pysyncobj.node import Node
from pysyncobj.transport import Transport

from .messages import NEWEST, OLDEST, Body, Hello, Raft, decode, encode_hello, encode_raft

log = logging.getLogger(__name__)

OFFER_S = 5.0  # between hellos of version 2 to a peer that has answered in version 1
OLD_HELLOS = 8  # of a peer that is too old, before it is said: its offer may have been lost


class Wire(Protocol):
    """Carries bytes to peers; never blocks, may lose."""

    def send(self, peer: str, data: bytes) -> bool:
        """False if it is known that the bytes will not arrive."""
        ...


@dataclass(frozen=True, slots=True)
class Status:
    """What a hello says about this member."""

    term: int
    last_index: int
    applied: int
    digest: str
    level: int = 1


@dataclass(slots=True)
class _Peer:
    node: Node
    session: int = 0  # the newest that we know of; 0: never heard of
    is_up: bool = False
    heard_at: float = 0.0
    version: int = OLDEST  # spoken with it in this session
    offer_at: float = float("-inf")  # when it is told again what we speak
    old_hellos: int = 0


class Links(Transport):  # type: ignore[misc]
    """``status`` and ``on_hello`` are set by the consensus object before its first tick."""

    status: Callable[[], Status]
    on_hello: Callable[[str, Hello], None]
    on_new_session: Callable[[], None]

    def __init__(
        self,
        node_id: str,
        peers: frozenset[str],
        cluster: str,
        wire: Wire,
        clock: Callable[[], float],
        session: int,
        keep_warm_s: float,
        link_timeout_s: float,
    ) -> None:
        super().__init__(None, None, ())
        self._id, self._cluster, self._wire, self._clock = node_id, cluster, wire, clock
        self._session = session
        self._keep_warm_s, self._link_timeout_s = keep_warm_s, link_timeout_s
        self._peers = {peer: _Peer(Node(peer)) for peer in sorted(peers)}
        self._next_hello = clock()
        self.refused = 0  # messages that were no messages, or not for us

    # --- called by the wire's owner ---------------------------------------------------------------

    def receive(self, sender: str, data: bytes) -> None:
        """Bytes from a sender that the wire has verified. Whatever they are, nothing is raised for
        them (JournalError comes from our own disk)."""
        peer = self._peers.get(sender)
        message = None
        if peer is not None:
            try:
                message = decode(data)
            except ValueError as error:
                log.debug("from %s: %s", sender, error)
        if peer is None or message is None:
            self.refused += 1
        elif isinstance(message, Hello):
            self._hello(peer, message)
        else:
            self._raft(peer, message)

    def tick(self) -> None:
        """Keep links warm, and notice those that have gone silent."""
        now = self._clock()
        for peer in self._peers.values():
            if peer.is_up and now - peer.heard_at > self._link_timeout_s:
                self._down(peer)
        if now >= self._next_hello:
            self._next_hello = now + self._keep_warm_s
            for peer in self._peers.values():
                self._greet(peer)

    # --- called by pysyncobj ----------------------------------------------------------------------

    @property
    def level(self) -> int:
        """The newest version that a majority of the voters speak, as far as they are heard."""
        spoken = [peer.version if peer.is_up else OLDEST for peer in self._peers.values()]
        return sorted([NEWEST, *spoken], reverse=True)[(len(spoken) + 1) // 2]

    @property
    def ready(self) -> bool:
        return True

    def send(self, node: Node, message: Body) -> bool:
        peer = self._peers.get(node.id)
        if peer is None or not peer.is_up:
            return False
        if self._wire.send(
            node.id, encode_raft(self._session, peer.session, message, peer.version)
        ):
            return True
        self._down(peer)
        return False

    def destroy(self) -> None:
        """The wire belongs to its owner."""

    # --- sessions ---------------------------------------------------------------------------------

    def _hello(self, peer: _Peer, hello: Hello) -> None:
        if (hello.cluster, hello.sender) != (self._cluster, peer.node.id):
            self.refused += 1
            return
        if hello.session < peer.session:
            self._greet(peer)  # so that a peer whose clock was set back learns of it
            return
        if hello.echo > self._session:
            self._renew(hello.echo + 1)
        is_new = hello.session > peer.session
        if is_new:
            self._down(peer)
            peer.session, peer.version = hello.session, OLDEST
            peer.offer_at, peer.old_hellos = float("-inf"), 0
        before, peer.version = peer.version, max(peer.version, min(hello.newest, NEWEST))
        if self._is_too_old(peer, hello):
            return
        if hello.echo == self._session:
            self._alive(peer)
            self.on_hello(peer.node.id, hello)
        if is_new or peer.version != before or hello.echo != self._session:
            self._greet(peer)

    def _is_too_old(self, peer: _Peer, hello: Hello) -> bool:
        """Whether there is no version that both can go on with."""
        level = self.status().level
        if peer.version >= level and hello.oldest <= NEWEST:
            peer.old_hellos = 0
            return False
        self._down(peer)
        self.refused += 1
        peer.old_hellos += 1
        if peer.old_hellos == OLD_HELLOS:
            name = peer.node.id
            theirs = f"{name} speaks version {hello.oldest} to {hello.newest} of the Raft protocol"
            ours = f"this node {max(level, OLDEST)} to {NEWEST}"
            log.error(
                "%s, %s: upgrade %s", theirs, ours, name if peer.version < level else "this node"
            )
        return True

    def _raft(self, peer: _Peer, message: Raft) -> None:
        if (
            peer.old_hellos
            or message.session != peer.session
            or message.to_session != self._session
        ):
            self.refused += 1
            return
        self._alive(peer)  # it was sent to our session, so the peer knows it
        self._onMessageReceived(peer.node, message.body)

    def _renew(self, session: int) -> None:
        self._session = session
        for peer in self._peers.values():
            self._down(peer)
            self._greet(peer)
        self.on_new_session()

    def _alive(self, peer: _Peer) -> None:
        peer.heard_at = self._clock()
        if not peer.is_up:
            peer.is_up = True
            self._onNodeConnected(peer.node)

    def _down(self, peer: _Peer) -> None:
        if peer.is_up:
            peer.is_up = False
            self._onNodeDisconnected(peer.node)

    def _greet(self, peer: _Peer) -> None:
        if peer.version > OLDEST or self.status().level > OLDEST:
            self._say_hello(peer, NEWEST)
            return
        now = self._clock()
        if (now >= peer.offer_at or not peer.session) and self._say_hello(peer, NEWEST):
            peer.offer_at = now + OFFER_S
        self._say_hello(peer, OLDEST)

    def _say_hello(self, peer: _Peer, newest: int) -> bool:
        status = self.status()
        hello = Hello(
            self._cluster,
            self._id,
            self._session,
            peer.session,
            status.term,
            status.last_index,
            status.applied,
            status.digest,
            OLDEST,
            newest,
        )
        return self._wire.send(peer.node.id, encode_hello(hello))
