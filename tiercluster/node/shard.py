"""The shard core: what one node does with its keys. No socket, clock, thread or randomness.

    request --handle--> answer at once, or None and an Answer effect later
    cold_answer, peer_answer, tick, use_map --> effects

``now`` is monotonic seconds. Tokens of cold commands count from 1; 0 is the shell's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tiercluster.cluster.ring import slots_of
from tiercluster.cluster.wire import (
    Ack,
    Delete,
    DeletePrefix,
    Fault,
    Fill,
    Get,
    Incr,
    Leases,
    LeasesAsked,
    Peek,
    Refusal,
    Replicate,
    Reply,
    Request,
    Scan,
    Status,
    Store,
    Touch,
)
from tiercluster.cluster.wire import ColdDrop as AskedDrop
from tiercluster.cluster.wire import ColdGet as AskedGet
from tiercluster.cluster.wire import ColdPut as AskedPut
from tiercluster.tiermap import TIERS, MapState, Tier, TierMap

from .auditor import Auditor
from .coldqueue import ColdQueue
from .coldreads import ColdReads
from .copies import Copies, Remembered
from .drain import Drains
from .effects import (
    Answer,
    Answered,
    Effect,
    Effects,
    Origin,
    ToCold,
    ToControl,
    ToPeer,
)
from .entry import COLD, HOT, WARM
from .failures import Failure
from .filling import Filling
from .foreign import Foreign
from .holdings import ColdBook, Holdings
from .keeping import Keeping
from .messages import ColdAnswer, ColdCommand, ColdFault, ColdRow, ShardStats, TierStats
from .moves import Moves
from .ownership import Ownership
from .pace import IDLE
from .peerbook import PeerBook
from .placing import Placing
from .probes import Probes
from .readonly import ReadOnlyWatch
from .remedies import Remedies
from .restart import Restart
from .settings import NodeSettings
from .standing import Standing
from .stopping import Stopping
from .streams import Streams
from .sweep import Sweep
from .tiers.faults import FaultPlan
from .tiers.hot import HotTier
from .tiers.warm import WarmTier
from .verbs_lease import LeaseVerbs, is_about_leases
from .verbs_read import ReadVerbs
from .verbs_scan import ScanVerbs
from .verbs_write import WriteVerbs
from .watches import Watches

__all__ = ["Answer", "Effect", "Origin", "Shard", "ToCold", "ToControl", "ToPeer"]

_NO_FAULTS = Status.REFUSED, Refusal("this node was started without --allow-faults"), b""
_NOT_OURS = Status.BAD_REQUEST, Refusal("no request for the shard core"), b""
_ACK = Status.OK, Ack(), b""
_NOTHING: list[Effect] = []


class Shard:
    """One node's keys. The shell has checked lease, ownership, deadline and duplicates."""

    def __init__(
        self, settings: NodeSettings, incarnation: str, watches: Watches | None = None
    ) -> None:
        self._settings = settings
        self._effects = Effects()
        self._now = 0.0
        cold_s = settings.cold.deadline_s
        self._standing = Standing(settings, self._effects)
        self._remedies = Remedies(settings, self._standing, self._effects)
        self._queue = ColdQueue(
            cold_s, self._standing, self._remedies, self._effects, settings.slowness.pace_window_s
        )  # fmt: skip
        self._holdings = Holdings(settings, self._standing, self._queue, watches or Watches())
        self._peers = PeerBook(settings.id, cold_s, self._effects)
        self._moves = Moves(self._holdings, self._peers, self._remedies)
        sized = (self._holdings.hot, self._holdings.warm, self._holdings.cold)
        self._remedies.watch(sized, self._moves.evict)
        self._readonly = ReadOnlyWatch(self._holdings, self._remedies, settings)
        self._reads = ColdReads(self._holdings, self._moves, self._peers)
        placing = Placing(self._holdings, self._moves, self._peers)
        self._read = ReadVerbs(self._holdings, self._moves, self._reads, self._effects)
        self.keeping = Keeping(settings.id, incarnation)
        self.streams = Streams(settings.id, self._effects, settings.write_ack == "all")
        self._write = WriteVerbs(
            self._holdings, self._moves, placing, self._reads, self._effects, self.streams
        )  # fmt: skip
        self._scan = ScanVerbs(self._holdings, self.streams)
        self._filling = Filling(self._holdings, self._reads, self.streams)
        self._copies = Copies(
            settings.id, self._holdings, self._moves, placing, self.keeping, self._effects,
            self._filling.begin,
        )  # fmt: skip
        self._foreign = Foreign(self._holdings, self._moves, self._effects)
        self._auditor = Auditor(self._holdings, self.keeping, self._peers)
        self._leases = LeaseVerbs(settings.id, self._holdings.directory, self._peers)
        self._probes = Probes(self._holdings, self._remedies, settings, self._effects)
        self._sweep = Sweep(self._holdings)
        self._drains = Drains(
            self._holdings, self._moves, self._reads, self._peers, self._effects
        )  # fmt: skip
        self._restart = Restart(self._holdings, self._moves)
        self._stopping = Stopping(self._holdings, self._moves, self._sweep, incarnation)

    # --- the map --------------------------------------------------------------------------------

    def use_map(self, state: MapState, now: float) -> None:
        """Health, admin and generation of this node's tiers, and who stands in for its cold."""
        self._standing.use_map(state.map, now)
        self._remedies.use_map()
        self._peers.use_map(state.map)
        self._foreign.use_map()
        self._drains.use_map(now)
        self._copies.use_map(state.map)
        self._auditor.use_map(state.map)

    def use_stint(self, tier_map: TierMap, incarnation: str, changed: bool, now: float) -> None:
        """Which slots are this node's and who else keeps them, after ``tier_map`` has been taken.
        ``changed``: whether the slots that are its own may have."""
        keeping = self.keeping
        is_kept_anew = keeping.use_map(tier_map)
        keeping.note_time(now)
        if changed or is_kept_anew:
            node = self._settings.id
            owned = bytes([kept_by[:1] == (node,) for kept_by in keeping.table])
            self.set_stint(tier_map.ring_version, keeping.floors, keeping.era, owned)
        self.streams.use_map(tier_map, incarnation, keeping.table, now)

    def set_stint(self, ring_version: int, floors: Sequence[int], era: int, owned: bytes) -> None:
        """Versions from now on are above ``ring_version << 40``; an entry in a slot is invisible if
        it was stored in an era before ``floors[slot]``."""
        self._holdings.directory.set_stint(ring_version, floors, era, owned)

    def take_remembered(self) -> list[Remembered]:
        """Writes of other owners whose retries may come here."""
        return self._copies.take_remembered()

    def use_slots(self, tier_map: TierMap, ownership: Ownership) -> None:
        """Slots may have been gained or lost: who granted their leases before?"""
        self._leases.use_map(tier_map, ownership)

    def settled(self, now: float) -> None:
        """Every slot of this node is served."""
        self._leases.book.settled(now)

    def farewell(self, now: float) -> Leases:
        """The leases that this node has granted; it will grant no more."""
        return self._leases.farewell(now)

    def use_wall(self, offset_s: float) -> None:
        """The wall clock less the monotonic clock, for expiry times that outlive the process."""
        self._moves.wall_offset = offset_s

    # --- requests -------------------------------------------------------------------------------

    def handle(
        self, request: Request, origin: Origin, now: float, slots: Sequence[int] = ()
    ) -> Answered | None:
        """(status, fields, body), or None: an Answer effect with ``origin`` will follow.
        ``slots``: those of the request's keys, if somebody has hashed them already."""
        asked = request.fields
        match asked:
            case Get():
                return self._read.get(asked, slots or slots_of(asked.keys), origin, now)
            case Store() | Delete() | Peek() if is_about_leases(asked):
                return self._about_leases(asked, slots, now)
            case LeasesAsked():
                return self._leases.answer(asked, now)
            case Leases():
                return self._leases.hear(asked, now)
            case Store():
                slots = slots or slots_of(asked.keys)
                return self._write.store(asked, slots, request.body, origin, now)
            case Delete():
                return self._write.delete(asked, origin, now)
            case Incr():
                return self._write.incr(asked, origin, now)
            case Touch():
                return self._write.touch(asked, now)
            case Peek():
                return self._read.peek(asked, now)
            case Scan():
                return self._scan.scan(asked, now)
            case DeletePrefix():
                return self._scan.delete_prefix(asked, now)
            case Replicate():
                return self._copies.replicate(request, now, self._stopping.is_closing)
            case Fill():
                return self._copies.fill(request)
            case AskedPut() | AskedGet() | AskedDrop():
                return self._foreign.handle(request, origin, now)
            case Fault():
                return self._inject(asked, now)
            case _:
                return _NOT_OURS

    def _about_leases(
        self, asked: Store | Delete | Peek, slots: Sequence[int], now: float
    ) -> Answered:
        match asked:
            case Store():
                return self._leases.store(asked, (slots or slots_of(asked.keys))[0], now)
            case Delete():
                return self._leases.delete(asked, now)
            case Peek():
                return self._leases.peek(asked, now)

    def _inject(self, asked: Fault, now: float) -> Answered:
        if not self._settings.allow_faults:
            return _NO_FAULTS
        try:
            tier = Tier(asked.tier)
            faults = asked.kind, asked.ms, asked.rate, asked.for_ms
            plan = FaultPlan(*faults) if asked.kind else None
        except ValueError as error:
            return Status.BAD_REQUEST, Refusal(str(error)), b""
        if tier is Tier.COLD:
            self._effects.cold(ColdFault(*faults))
        else:
            self._holdings.memory[TIERS.index(tier)].faults.use(plan, now)
        return _ACK

    # --- answers and time -----------------------------------------------------------------------

    def cold_answer(self, answer: ColdAnswer, now: float) -> None:
        self._queue.answered(answer, now)

    def cold_shed(self, command: ColdCommand, now: float) -> None:
        """The cold worker's inbox was full."""
        self._queue.not_sent(command, now)

    def cold_is_missing(self, failure: Failure, now: float) -> None:
        """The cold store did not open."""
        self._standing.is_dead_now(COLD, failure, now)

    def peer_answer(self, token: int, reply: Reply | None, now: float) -> None:
        """What a ToPeer came to; None: it failed or there was no answer."""
        self._peers.answered(token, reply, now)

    def tick(self, now: float) -> None:
        """What is due: deadlines, a bucket of the sweep, a slice of each drain."""
        self._now = now
        for tier in self._holdings.memory:
            tier.faults.tick(now)
        self._remedies.tick(now)
        self._readonly.tick(now)
        self._queue.tick(now)
        self._peers.tick(now)
        self._foreign.tick(now)
        self._copies.tick(now)
        self._filling.tick(now)
        self.streams.tick(now)
        self._auditor.tick(now)
        self._leases.book.tick(now)
        self._sweep.tick(now)
        self._drains.tick(now)
        self._moves.make_room(now)
        self._stopping.tick(now)

    def probe(self, tier: Tier, now: float) -> None:
        """Write, read back, verify and delete through the tier's real path; ends in Probed,
        or in ProbeDenied if its breaker is open."""
        self._probes.probe(tier, now)

    # --- start and stop -------------------------------------------------------------------------

    def adopt_cold(
        self, rows: tuple[ColdRow, ...], is_mine: Callable[[int], bool], now: float, wall: float
    ) -> None:
        """Take over what a clean stop left in cold, of the slots that are this node's; the map has
        kept its generation. ``wall`` is the wall clock at ``now``."""
        self.use_wall(wall - now)
        self._restart.adopt(rows, is_mine, now)

    def wipe_cold(self, now: float) -> None:
        """Empty the store: what it holds is not to be trusted."""
        self._restart.wipe(now)

    def begin_stop(self, now: float, grace_s: float) -> None:
        """Move hot and warm to cold within ``grace_s``, then close the store with a clean marker.
        No requests after this."""
        self._stopping.begin(now, grace_s)

    @property
    def is_stopped(self) -> bool:
        return self._stopping.is_over

    # --- effects and figures --------------------------------------------------------------------

    def take_effects(self) -> list[Effect]:
        """The effects since the last call, in order; not to be changed when empty."""
        waiting = self._effects.waiting
        if not waiting:
            return _NOTHING
        self._effects.waiting = []
        return waiting

    def stats(self) -> ShardStats:
        holdings, hits = self._holdings, self._read.hits
        asked = sum(hits) + self._read.misses
        return ShardStats(
            tiers=(
                self._tier_stats(HOT, holdings.hot, asked),
                self._tier_stats(WARM, holdings.warm, asked),
                self._tier_stats(COLD, holdings.cold, asked),
            ),
            counters=self._counters(),
            breakers=tuple(str(s.breaker.state(self._now)) for s in self._standing.tiers),
            # Hot and warm answer within the request, as fast as the process runs.
            paces=(IDLE, IDLE, self._queue.paces(self._now)),
        )

    def _tier_stats(self, place: int, tier: HotTier | WarmTier | ColdBook, asked: int) -> TierStats:
        hits = self._read.hits
        return TierStats(
            entries=tier.policy.count,
            bytes=tier.size_bytes,
            capacity_bytes=tier.capacity,
            hits=hits[place],
            misses=asked - sum(hits[: place + 1]),
            note=self._remedies.note(place),
        )

    def _counters(self) -> tuple[tuple[str, int], ...]:
        moves, write = self._moves, self._write
        return (
            ("entries", self._holdings.directory.count),
            ("remote_hits", self._read.hits[3]),
            ("misses", self._read.misses),
            ("stored", write.stored),
            ("not_stored", write.not_stored),
            ("deleted", write.deleted),
            ("demoted", moves.demoted),
            ("promoted", moves.promoted),
            ("spilled", moves.spilled),
            ("dropped", moves.dropped),
            ("swept", self._sweep.swept),
            ("cold_reads_shed", self._reads.shed),
            ("cold_operations_shed", self._queue.sheds),
            ("peer_failures", self._peers.failures),
            ("kept_for_others", self._foreign.count),
            *self.streams.counters(),
            *self._copies.counters(),
            *self._filling.counters(),
            *self._auditor.counters(),
            ("near_watches", self._holdings.watches.count),
            ("near_told", self._holdings.watches.told),
            ("refused_to_others", self._foreign.refused),
            ("refused_by_others", self._peers.refusals),
            ("leases", self._leases.book.count),
            ("leases_refused_unknown", self._leases.book.refused),
            *self._remedies.counters(),
        )
