"""Moves of entries between tiers: down when a tier is full, up when they are read often.

    hot --demote--> warm --demote--> cold --forget-->          cold is out: --spill--> another
     ^--------promote---'              |                                     node's cold
     ^-------------------promote------'

A move down to cold or to another node copies, is confirmed, and only then changes the place; until
then the entry is read where it was. If it changed meanwhile, the copy is garbage.
"""

from __future__ import annotations

from collections.abc import Callable

from tiercluster.cluster.wire import ColdPut as PutForUs
from tiercluster.cluster.wire import Kind, Reply, Status

from .coldqueue import WRITE, Job, Outcome
from .entry import COLD, HOT, NEVER, OVERHEAD_BYTES, PACKED, REMOTE, WARM, Entry
from .failures import Failure, FailureKind
from .holdings import Holdings, MemoryTier
from .messages import ColdCommand, ColdDone, ColdPut
from .peerbook import REMOTE_TTL_S, PeerBook
from .recovery import ShrinkTier
from .remedies import MEMORY_WRITE, Remedies

PACKED_A_CALL = 64  # entries compressed to make room at once; more go to warm as they are
LEAVING_SHARE = 8  # capacity / LEAVING_SHARE is kept for entries on their way to cold
READS_TO_PROMOTE = 2

NOWHERE = -1


class Moves:
    """``wall_offset`` is the wall clock less the monotonic one, in seconds."""

    def __init__(self, holdings: Holdings, peers: PeerBook, remedies: Remedies) -> None:
        self._holdings = holdings
        self._remedies = remedies
        self._standing = holdings.standing
        self._queue = holdings.queue
        self._peers = peers
        self._move = 0
        self.wall_offset = 0.0
        self.demoted = self.promoted = self.spilled = self.dropped = 0

    # --- down -----------------------------------------------------------------------------------

    def make_room(self, now: float) -> None:
        """Bring every tier below its limit."""
        for tier in self._holdings.memory:
            if tier.size_bytes > tier.capacity - tier.capacity // LEAVING_SHARE:
                self._relieve(tier, now)
        self.trim_cold()

    def evict(self, place: int, now: float) -> None:
        """Bring one tier below its limit."""
        if place == COLD:
            self.trim_cold()
        else:
            self._relieve(self._holdings.memory[place], now)

    def try_again(
        self, place: int, store: Callable[[], Failure | None], failure: Failure, now: float
    ) -> Failure | None:
        """Storing in hot or warm has failed: what follows, and once more wherever room was made.
        Bounded, as a tier gives up only so much in a while."""
        while isinstance(self._remedies.failed(place, failure, now, MEMORY_WRITE), ShrinkTier):
            again = store()
            if again is None:
                self._remedies.succeeded(place, True, now)
                return None
            failure = again
        return failure

    def below(self, place: int) -> int:
        """Where victims of a tier go: the next lower place that takes any, NOWHERE if none."""
        for lower in self._standing.writable:
            if lower > place and self._standing.tiers[lower].is_usable:
                return lower
        return REMOTE if self._standing.is_cold_out else NOWHERE

    def _relieve(self, tier: MemoryTier, now: float) -> None:
        below = self.below(tier.place)
        if below in (WARM, NOWHERE):
            budget = PACKED_A_CALL
            while tier.size_bytes > tier.capacity and (victim := tier.policy.victim()):
                budget -= 1
                self._sink(victim, below, budget > 0, now)
            return
        soft = tier.capacity - tier.capacity // LEAVING_SHARE
        while tier.policy.size_bytes > soft or tier.size_bytes > tier.capacity:
            is_too_late = tier.size_bytes > tier.capacity
            victim = tier.policy.victim()
            if victim is None:
                return
            if is_too_late or not self.leave(victim, tier, below, now):
                self._drop(victim)

    def _drop(self, victim: Entry) -> None:
        self.dropped += 1
        self._holdings.forget(victim)

    def _sink(self, victim: Entry, below: int, pack: bool, now: float) -> None:
        if below != WARM or not self.to_warm(victim, pack, now):
            self._drop(victim)

    def to_warm(self, entry: Entry, pack: bool, now: float) -> bool:
        """Move an entry from hot to warm; False if warm does not take it (then it is unchanged)."""
        holdings = self._holdings
        value = holdings.hot.read(entry)
        if isinstance(value, Failure):
            self._standing.failed(HOT, value, now)
            return False
        proven = entry.proven
        holdings.hot.drop(entry)

        def store() -> Failure | None:
            return holdings.warm.store(entry, value, proven, pack)

        failure = store()
        if failure is not None and self.try_again(WARM, store, failure, now) is not None:
            entry.value = value
            return False
        entry.leaving = 0
        entry.generation = self._standing.generation(WARM)
        self.demoted += 1
        return True

    def leave(self, victim: Entry, tier: MemoryTier, below: int, now: float) -> bool:
        """Begin the move of an entry (not in its policy any more) to cold or another node."""
        if not self._is_admitted(victim, below):
            return False
        taken = self._blob(victim, tier, now)
        if taken is None:
            return False
        self._move += 1
        victim.leaving = self._move
        tier.begin_leaving(victim)
        begun = (
            self._to_cold(victim, tier, *taken, now)
            if below == COLD
            else self._to_peer(victim, tier, *taken, now)
        )
        if not begun and victim.leaving:
            tier.leaving_bytes -= victim.cost
            victim.leaving = 0
        return begun

    def _is_admitted(self, victim: Entry, below: int) -> bool:
        """Cold takes everything that is not too large: what is never read only passes through the
        small queue of its policy."""
        cold = self._holdings.cold
        if below == COLD:
            return victim.size <= cold.largest
        return self._holdings.remote_bytes + victim.cost <= cold.remote_capacity

    def _blob(self, victim: Entry, tier: MemoryTier, now: float) -> tuple[bytes, bool] | None:
        value = tier.read(victim)
        if isinstance(value, Failure):
            self._standing.failed(tier.place, value, now)
            return None
        if tier.place == WARM:
            return victim.value or b"", victim.packed
        return self._holdings.packer.pack(value)

    # --- to cold --------------------------------------------------------------------------------

    def expires_wall(self, expires: float) -> float | None:
        return None if expires == NEVER else expires + self.wall_offset

    def _to_cold(
        self, entry: Entry, tier: MemoryTier, blob: bytes, packed: bool, now: float
    ) -> bool:
        move, version = entry.leaving, entry.version
        generation = self._standing.generation(COLD)
        flags = entry.flags | (PACKED if packed else 0)
        written_expires = entry.expires

        def command(token: int) -> ColdCommand | None:
            nonlocal written_expires
            if entry.leaving != move:
                return None
            self._queue.pardon(entry.key, version)
            written_expires = entry.expires
            expires = self.expires_wall(written_expires)
            return ColdPut(token, entry.key, version, generation, flags, expires, blob)

        def finish(outcome: Outcome, now: float) -> None:
            if outcome is None:
                return
            is_stored = isinstance(outcome, ColdDone)
            if entry.leaving != move:
                self._disown(entry.key, version)
            elif is_stored and self._standing.live[COLD] == generation:
                tier.drop(entry)
                entry.leaving = 0
                self._holdings.settle_in_cold(entry, blob, packed, generation, entry.proven)
                if entry.expires != written_expires:
                    self._holdings.cold.retime(entry)
                self.demoted += 1
                self.trim_cold()
            else:
                self._queue.doom(entry.key, version)
                self._come_back(entry, tier)

        return self._queue.ask(Job(command, finish, len(blob)), WRITE, now)

    def _disown(self, key: bytes, version: int) -> None:
        """A row was written that nobody waits for: garbage, unless its entry came to cold by
        another move."""
        entry = self._holdings.directory.get(key)
        if entry is None or entry.version != version or entry.place != COLD:
            self._queue.doom(key, version)

    def _come_back(self, entry: Entry, tier: MemoryTier) -> None:
        """The move failed: the entry stays if there is room for it."""
        if tier.size_bytes > tier.capacity:
            self._drop(entry)
            return
        tier.stay(entry)
        entry.leaving = 0

    def trim_cold(self) -> None:
        cold = self._holdings.cold
        while cold.size_bytes > cold.capacity and (victim := cold.policy.victim()):
            self._drop(victim)

    # --- to another node ------------------------------------------------------------------------

    def _to_peer(
        self, entry: Entry, tier: MemoryTier, blob: bytes, packed: bool, now: float
    ) -> bool:
        move, outage = entry.leaving, self._standing.outage

        def finish(reply: Reply | None, now: float) -> None:
            if entry.leaving != move:
                return
            if not self.is_kept(reply, outage):
                self._come_back(entry, tier)
                return
            tier.drop(entry)
            entry.leaving = 0
            entry.packed = packed
            self.settle_with_peer(entry, node, len(blob), now)
            self.spilled += 1

        node = self._peers.stand_in(entry.key)
        if not node:
            return False
        fields = self.put_for_us(entry, packed, now)
        return self._peers.ask(node, Kind.COLD_PUT, fields, blob, finish, now)

    def put_for_us(self, entry: Entry, packed: bool, now: float) -> PutForUs:
        flags = entry.flags | (PACKED if packed else 0)
        ttl = min(entry.expires - now, REMOTE_TTL_S)
        return PutForUs(self._standing.outage, entry.key, entry.version, flags, ttl)

    def is_kept(self, reply: Reply | None, outage: str) -> bool:
        """Whether the stand-in has it and the outage it was kept for goes on."""
        is_on = self._standing.is_cold_out and self._standing.outage == outage
        return is_on and reply is not None and reply.status is Status.OK

    def settle_with_peer(self, entry: Entry, node: str, size: int, now: float) -> None:
        """The entry (in no tier) is with ``node`` from now on, for a limited time."""
        entry.place = REMOTE
        entry.value = None
        entry.home = node
        entry.freq = 0
        entry.generation = self._standing.generation(COLD)
        entry.cost = size + len(entry.key) + OVERHEAD_BYTES
        entry.expires = min(entry.expires, now + REMOTE_TTL_S)
        self._holdings.remote_bytes += entry.cost

    # --- up -------------------------------------------------------------------------------------

    def promote(self, entry: Entry, value: bytes, now: float) -> bool:
        """Bring an entry that was read from warm, cold or another node up to hot, or to warm if
        there is no hot; False if nothing above takes it."""
        above = next((p for p in self._standing.writable if p < min(entry.place, COLD)), None)
        if above is None or len(value) > self._holdings.memory[above].largest:
            return False
        tier = self._holdings.memory[above]
        size, born = len(value), entry.born
        copy = Entry(entry.key, entry.version, entry.flags, entry.expires, size, born)
        failure = tier.store(copy, value, proven=True)
        if failure is not None:
            if failure.kind is not FailureKind.TOO_LARGE:
                # Not again: it may be lost from below meanwhile, and it is well where it is.
                self._remedies.failed(above, failure, now, MEMORY_WRITE)
            return False
        copy.generation = self._standing.generation(above)
        copy.proven = True
        self._holdings.forget(entry)
        self._holdings.directory.put(copy)
        self.promoted += 1
        self.make_room(now)
        return True
