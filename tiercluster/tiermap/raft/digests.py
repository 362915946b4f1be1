"""Belt and braces: members compare digests of their states at the same log index.

A difference means that a member has applied something else than the others, which nothing above
allows. It must never happen; if it does, it is said, counted, and a member that differs from a
majority gives up what it holds.
"""

from __future__ import annotations

import logging
from collections import OrderedDict

from .files import JournalError

log = logging.getLogger(__name__)

REMEMBERED = 1024  # log indices whose digest is kept, to compare with slower members


class DigestError(JournalError):
    """This member's state differs from that of a majority."""


class Digests:
    """One member's digests, and those that its peers have told."""

    def __init__(self, voters: int) -> None:
        self._voters = voters
        self._ours: OrderedDict[int, str] = OrderedDict()
        self._theirs: dict[str, tuple[int, str]] = {}
        self._differing: set[str] = set()
        self.mismatches = 0

    def applied(self, index: int, digest: str) -> None:
        """Our state after entry ``index``. DigestError if a majority has another one."""
        self._ours[index] = digest
        if len(self._ours) > REMEMBERED:
            self._ours.popitem(last=False)
        for peer, (told, _) in list(self._theirs.items()):
            if told == index:
                self._compare(peer)

    def told(self, peer: str, index: int, digest: str) -> None:
        """A peer's state after entry ``index``. DigestError if a majority has another one."""
        if self._theirs.get(peer) != (index, digest):
            self._theirs[peer] = (index, digest)
            self._compare(peer)

    def _compare(self, peer: str) -> None:
        index, digest = self._theirs[peer]
        ours = self._ours.get(index)
        if ours is None:
            return
        if ours == digest:
            self._differing.discard(peer)
            return
        self.mismatches += 1
        self._differing.add(peer)
        log.critical("after entry %d: digest %s here, %s at %s", index, ours, digest, peer)
        if 2 * len(self._differing) > self._voters:
            raise DigestError(
                f"the state after entry {index} differs from that of {sorted(self._differing)}: "
                "it is dropped, and this member rejoins without a vote until it has caught up"
            )
