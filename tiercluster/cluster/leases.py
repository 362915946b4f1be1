"""A lock as a lease: scripts for both clients.

The lock is an entry that only its holder's version can delete or extend. It ends by itself after
its TTL, so a holder that dies blocks nobody for longer; and a holder that stalls may have lost it:
what it guards should check `fence`, which grows with each acquisition and extension.
"""

from __future__ import annotations

import random
from time import monotonic

from .api import Api, Pause, Script, ends_at
from .errors import DeadlineExceeded, InvalidKey
from .keys import Key, encode_key
from .plan import DeleteOp, OnceStoreOp, PeekOp
from .values import RAW_FLAGS, TTL, seconds
from .wire import Mode

NAME_MARK = b"l"  # before the names of locks
FIRST_PAUSE_S = 0.01
LONGEST_PAUSE_S = 0.25
MAX_NAME_BYTES = 1023


class Lease:
    """What a lock knows: its key, and the version it holds (0: none)."""

    def __init__(self, api: Api, name: Key, ttl: TTL) -> None:
        """InvalidKey for a name that is no key; ValueError for a TTL that is not above 0."""
        encoded = encode_key(name)
        if len(encoded) > MAX_NAME_BYTES:
            raise InvalidKey(f"a lock's name is 1 to {MAX_NAME_BYTES} bytes, not {len(encoded)}")
        self.wire = api.space.locks().prefix + NAME_MARK + encoded
        self.ttl = seconds(ttl)
        if self.ttl is None or self.ttl <= 0:
            raise ValueError("a lock needs a TTL above 0 seconds")
        self.version = 0

    def try_acquire(self) -> Script[bool]:
        add = OnceStoreOp(Mode.ADD, (self.wire,), (b"",), RAW_FLAGS, self.ttl)
        until = ends_at(self.ttl)
        yield add
        if not add.versions[0]:
            return False  # what we may hold already is held on
        self.version = add.versions[0]
        if monotonic() < until:
            return True
        yield from self.release()
        return False

    def acquire(self, wait_s: float | None) -> Script[bool]:
        """Try until it is ours or ``wait_s`` seconds of pauses have passed; None: no limit."""
        waited, pause = 0.0, FIRST_PAUSE_S
        while not (yield from self.try_acquire()):
            if wait_s is not None and waited >= wait_s:
                return False
            length = pause * (0.5 + random.random())
            if wait_s is not None:
                length = min(length, wait_s - waited)
            yield Pause(length)
            waited, pause = waited + length, min(pause * 1.5, LONGEST_PAUSE_S)
        return True

    def enter(self, wait_s: float | None, name: Key) -> Script[None]:
        if not (yield from self.acquire(wait_s)):
            raise DeadlineExceeded(f"lock {name!r} was held by another for {wait_s:g} s")

    def release(self) -> Script[bool]:
        """Whether it was still ours."""
        if not self.version:
            return False
        version, self.version = self.version, 0
        delete = DeleteOp((self.wire,), version)
        yield delete
        return delete.found[0]

    def extend(self, ttl: TTL) -> Script[bool]:
        """Hold it for ``ttl`` seconds from now (None: as at first); False: it was lost."""
        if not self.version:
            return False
        left = self.ttl if ttl is None else seconds(ttl)
        cas = OnceStoreOp(Mode.CAS, (self.wire,), (b"",), RAW_FLAGS, left, self.version)
        until = ends_at(left)
        yield cas
        self.version = cas.versions[0] if monotonic() < until else 0
        return self.version != 0

    def locked(self) -> Script[bool]:
        """Whether anybody holds it now."""
        peek = PeekOp((self.wire,))
        yield peek
        return peek.versions[0] != 0
