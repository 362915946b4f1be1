"""The invariants of the cluster, checked at every step; `promises` judges what clients were told.

Everything here only looks: at what the cores hold, and at what passes through their doors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tiercluster.cluster.attempt import Attempt
from tiercluster.cluster.plan import DeleteOp, GetOp, IncrOp, StoreOp, TouchOp
from tiercluster.cluster.ring import slot_of
from tiercluster.cluster.wire import Kind, Reply, Request, Status
from tiercluster.node.entry import REMOTE
from tiercluster.node.foreign import MARK
from tiercluster.node.gate import DATA, WRITES
from tiercluster.node.lease import RELINK_S, LeaseState
from tiercluster.node.messages import ColdCommand, ColdGet, ColdPut, TierTripped
from tiercluster.node.ownership import SlotState
from tiercluster.node.settings import RecoverySettings
from tiercluster.tiermap import (
    TIERS,
    Command,
    Health,
    MapState,
    Member,
    NodeJoined,
    NodeState,
    ReportUnreachable,
    Restore,
    Tier,
    TierMap,
    TierRecovered,
    TierRef,
)

from .copies import Copies
from .loop import Loop
from .losses import Losses
from .promises import Call, Promises, Violation

if TYPE_CHECKING:
    from .node_model import SimNode

__all__ = ["Call", "Checkers", "Violation"]

MOST_DRIFT = 1e-3  # of a node's clock


class Checkers:
    """Told of every step; raises Violation at the first that is wrong."""

    def __init__(self, loop: Loop, keys: tuple[bytes, ...], recovery: RecoverySettings,
                 write_ack: str = "all", loses_nothing: bool = False) -> None:  # fmt: skip
        self._loop = loop
        self._slots = sorted({slot_of(key) for key in keys})
        self._recovery = recovery
        self.nodes: list[SimNode] = []
        self.promises = Promises(loses_nothing)
        self.copies = Copies(keys, write_ack == "all")
        self._losses = Losses(keys, self.promises) if write_ack == "owner" else None
        self._moments: dict[str, Callable[[str], None]] = {}
        self._digests: dict[int, str] = {0: ""}
        self._masks: dict[bytes, int] = {}
        self._map_of: dict[str, tuple[int, TierMap]] = {}  # process and map of a node
        self._weak: set[tuple[str, int]] = set()  # (client, rid) answered in a minority
        self._out_since: dict[TierRef, float] = {}
        self._newest = TierMap()
        self.steps = 0

    # --- what is committed ----------------------------------------------------------------------

    def committed(self, command: Command, state: MapState) -> None:
        """One more command in the log."""
        old, new = self._newest, state.map
        if new == old:
            return
        self._newest = self.copies.newest_map = new
        if self._losses is not None:
            self._losses.use_map(new, self._loop.now)
        if isinstance(command, Restore):  # an operator asked for it: no hold-down
            for tier in command.tiers:
                self._out_since.pop(TierRef(command.node, tier), None)
        self._digests[new.version] = new.digest
        self._loop.note("map", f"{new.version}: {_brief(command)}")
        if new.version != old.version + 1 or new.ring_version < old.ring_version:
            raise Violation("versions grow", f"map {old.version} then {new.version}")
        if isinstance(command, ReportUnreachable):
            self._judge_vote(old, command)
        for ref, record in new.refs():
            was = old.record(ref)
            if was is None:
                continue
            if record.generation < was.generation + self._must_bump(ref, command):
                text = f"{ref} {was.generation} {record.generation} by {_brief(command)}"
                raise Violation("generations grow", text)
            if record.health is Health.UP and was.health is not Health.UP:
                self._judge_return(ref, command)

    def _judge_vote(self, old: TierMap, command: ReportUnreachable) -> None:
        """A report has taken effect."""
        about, by = old.member(command.node), old.member(command.by)
        is_about = about is not None and about.incarnation == command.incarnation
        is_by = by is not None and by.incarnation == command.by_incarnation
        if not is_about or not is_by:
            raise Violation("votes of this stint", f"{_brief(command)}\n  about {about} by {by}")

    def _must_bump(self, ref: TierRef, command: Command) -> int:
        """Whether this command, which has taken effect, hides what the tier held: 1 or 0."""
        match command:
            case TierRecovered(ref=about, keep=keep):
                return int(about == ref and not keep)
            case NodeJoined(node=node):
                return int(node == ref.node and ref.tier is not Tier.COLD)
            case _:
                return 0

    def _judge_return(self, ref: TierRef, command: Command) -> None:
        since = self._out_since.pop(ref, None)
        if since is None or not isinstance(command, TierRecovered):
            return
        least = self._recovery.hold_down_s + self._recovery.stable_s
        out_s = self._loop.now - since
        if out_s < least * 0.98:
            text = f"{ref} is back {out_s:.3f} s after it went out; the hold-down is {least:.3f} s"
            raise Violation("hold-down", text)

    def reported(self, node: SimNode, report: object) -> None:
        """A shard tells its control worker something."""
        if isinstance(report, TierTripped):
            self._loop.note(node.name, f"trips {report.tier} @{report.generation} {report.kind}")
            self._out_since[TierRef(node.name, report.tier)] = self._loop.now

    # --- what a node does -----------------------------------------------------------------------

    def process_ended(self, node: SimNode) -> None:
        for tier in TIERS:
            self._out_since.pop(TierRef(node.name, tier), None)

    def node_changed(self, node: SimNode) -> None:
        """A node has done something: its map, and who serves now."""
        self.steps += 1
        front: Any = node.front
        if front is None:
            return
        tier_map = front._map
        boot, known = self._map_of.get(node.name, (0, TierMap()))
        if boot != node.boot:
            known = TierMap()
        has_new_map = tier_map is not known
        if has_new_map:
            self._judge_map(node, known, tier_map)
            self._map_of[node.name] = node.boot, tier_map
        self._judge_owners(node)
        self.copies.looked_at(node, has_new_map)

    def _judge_map(self, node: SimNode, old: TierMap, new: TierMap) -> None:
        self._loop.note(node.name, f"uses map {new.version}")
        if new.version < old.version:
            raise Violation("versions grow", f"{node.name} goes from {old.version} {new.version}")
        if self._digests.get(new.version) != new.digest:
            raise Violation("one version, one map", f"{node.name} at {new.version}: {new.digest}")

    def _judge_owners(self, node: SimNode) -> None:
        mine = self._served(node)
        if not mine:
            return
        for other in self.nodes:
            if other is not node and (both := mine & self._served(other)):
                slots = [slot for bit, slot in enumerate(self._slots) if both >> bit & 1]
                text = f"{node.name} and {other.name} both serve slots {slots}"
                raise Violation("one owner at a time", text)

    def _served(self, node: SimNode) -> int:
        """The slots, as bits, for which a request would pass the gate now, minorities apart."""
        front: Any = node.front
        if front is None or not front._gate.open:
            return 0
        lease = front._lease
        if node.clock() >= lease.held_until:
            return 0
        slots = bytes(front._ownership.slots)
        mask = self._masks.get(slots)
        if mask is None:
            mask = sum(
                1 << bit for bit, s in enumerate(self._slots) if slots[s] == SlotState.SERVED
            )
            self._masks[slots] = mask
        return mask

    # --- what passes its doors ------------------------------------------------------------------

    def _me(self, node: SimNode) -> tuple[TierMap, Member | None]:
        front: Any = node.front
        tier_map: TierMap = front._map
        return tier_map, tier_map.member(node.name)

    def request_taken(self, node: SimNode, identity: bytes, request: Request) -> None:
        if request.kind in DATA:
            client = identity.decode().partition("#")[0]
            self._loop.note(node.name, f"takes {request.kind.name} {client}/{request.rid}")
            self.copies.taken(node, client, request)
            if request.kind in WRITES:
                self._is_moment("taken", node.name)

    def replied(self, node: SimNode, identity: bytes, reply: Reply) -> None:
        if reply.kind not in DATA:
            return
        client = identity.decode().partition("#")[0]
        front: Any = node.front
        is_alone = front._lease.state(node.clock()) is LeaseState.MINORITY
        if is_alone:
            self._judge_minority(node)
            self._weak.add((client, reply.rid))
        is_weak = (client, reply.rid) in self._weak  # or a repetition of what was
        self._loop.note(
            node.name, f"answers {reply.status.name} {client}/{reply.rid}{' weak' * is_weak}"
        )
        self.copies.answered(node, client, reply, is_weak)
        if reply.kind in WRITES and reply.status is Status.OK:
            self._is_moment("answered", node.name)

    def _judge_minority(self, node: SimNode) -> None:
        """Who was stopped has to give the others time to answer."""
        ran_s = self._loop.now - node.running_since
        if ran_s < (RELINK_S + node.settings.detector.quorum_grace_s) * (1 - MOST_DRIFT):
            text = f"{node.name} answers as if alone {ran_s:.4f} s after it was stopped"
            raise Violation("alone is who hears nobody", text)

    def read(self, node: SimNode, place: int) -> None:
        """A value is taken out of a place, at this moment."""
        _, me = self._me(node)
        if me is None:
            raise Violation("tiers as the map says", f"{node.name} reads and is no member")
        if place == REMOTE:
            if me.tier(Tier.COLD).is_usable:
                raise Violation("tiers as the map says", f"{node.name} reads what others kept")
        elif not me.tier(TIERS[place]).is_readable:
            raise Violation("tiers as the map says", f"{node.name} reads from its {TIERS[place]}")

    def cold_asked(self, node: SimNode, command: ColdCommand) -> None:
        _, me = self._me(node)
        if me is None or not isinstance(command, ColdPut | ColdGet) or not command.key:
            return
        record = me.tier(Tier.COLD)
        is_foreign = command.key.startswith(MARK)
        allowed = record.is_usable if is_foreign and isinstance(command, ColdPut) else (
            record.is_readable
        )  # fmt: skip
        if not allowed:
            text = f"{node.name}: {type(command).__name__} while its cold is {record.state}"
            raise Violation("tiers as the map says", text)

    def peer_asked(self, node: SimNode, peer: str, request: Request) -> None:
        if request.kind not in (Kind.COLD_PUT, Kind.COLD_GET):
            return
        tier_map, _ = self._me(node)
        member = tier_map.member(peer)
        is_up = member is not None and member.state is NodeState.UP
        record = member.tier(Tier.COLD) if member else None
        allowed = record is not None and (
            record.is_usable if request.kind is Kind.COLD_PUT else record.is_readable
        )
        if not is_up or not allowed:
            text = f"{node.name} sends {request.kind.name} to {peer}"
            raise Violation("tiers as the map says", text)

    # --- what clients are told ------------------------------------------------------------------

    def call_began(self, call: Call, timeout_s: float) -> None:
        for part in call.parts or (call,):
            part.began, part.deadline = self._loop.now, self._loop.now + timeout_s
            self.promises.began(part)
        self._loop.note(call.client, f"{call.kind} {_named(call)}")

    def call_ended(self, call: Call, attempt: Attempt) -> None:
        parts, call.error = call.parts or [call], attempt.error
        call.is_weak = is_weak = any((call.client, rid) in self._weak for rid in attempt.rids)
        for index, part in enumerate(parts):
            part.ended = self._loop.now
            part.outcome = "unknown" if attempt.error is not None else "ok"
            part.is_weak = is_weak
            part.may_have_died = attempt.rerouted > 0 and self._newest.copies == 1
            if attempt.error is None:
                _take_result(part, attempt, index)
        said = f"{attempt.error!r}" if attempt.error else ", ".join(_said(p) for p in parts)
        self._loop.note(call.client, f"{call.kind} {_named(call)} -> {said}{' weak' * is_weak}")
        call.outcome = parts[0].outcome
        for part in parts:
            self.promises.judge(part)
        if call.outcome == "ok" and attempt.operation.is_write and attempt.operation.answered_by:
            self._is_moment("told", attempt.operation.answered_by)

    def clear_ended(self, call: Call, outcome: str) -> None:
        self._loop.note(call.client, f"{call.kind} {_named(call)} -> {outcome}")
        for part in call.parts:
            part.ended, part.outcome = self._loop.now, outcome
            self.promises.judge(part)

    # --- moments --------------------------------------------------------------------------------

    def at_next_write(self, moment: str, action: Callable[[str], None]) -> None:
        """Once: ``action(node)`` when a node takes or has answered a write, or a client is told of
        it ("taken", "answered", "told")."""
        self._moments[moment] = action

    def _is_moment(self, moment: str, node: str) -> None:
        action = self._moments.pop(moment, None)
        if action is not None:
            action(node)


def _take_result(call: Call, attempt: Attempt, index: int) -> None:
    operation = attempt.operation
    call.node = operation.answered_by
    match operation:
        case GetOp():
            found = operation.found(index)
            if found is not None:
                call.read, call.version, call.node = found.data, found.version, found.node
        case StoreOp():
            call.version = operation.versions[index]
        case IncrOp():
            counter = operation.counter
            if counter is not None and counter.found and counter.integer:
                call.number, call.version = counter.value, counter.version
        case DeleteOp() | TouchOp():
            call.number = operation.found[index]


def _said(call: Call) -> str:
    if call.kind == "get":
        return "miss" if call.read is None else f"{call.read[:12]!r} v{call.version:#x}"
    return f"{call.number} v{call.version:#x}"


def _named(call: Call) -> str:
    return ",".join(part.key[1:].decode() for part in call.parts or (call,))


def _brief(command: Command) -> str:
    facts = [
        f"{name}={getattr(command, name)}"
        for name in ("node", "ref", "generation", "tiers", "incarnation", "by", "keep", "reason")
        if hasattr(command, name)
    ]
    return f"{type(command).__name__} {' '.join(facts)}"
