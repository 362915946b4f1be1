"""A shard with a fake cold worker and fake peers, all in one place and on one clock."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field, replace

from tiercluster.cluster.ring import SLOTS
from tiercluster.cluster.wire import (
    Ack,
    ColdValue,
    Counter,
    Delete,
    Fault,
    Fields,
    Get,
    Incr,
    Kind,
    Mode,
    Refusal,
    Reply,
    Request,
    Result,
    Status,
    Store,
    Stored,
    Values,
    wire_key,
)
from tiercluster.cluster.wire import ColdDrop as DropForOther
from tiercluster.cluster.wire import ColdGet as GetForOther
from tiercluster.cluster.wire import ColdPut as PutForOther
from tiercluster.node.effects import Answer, ToCold, ToControl, ToPeer
from tiercluster.node.failures import Failure, FailureKind
from tiercluster.node.messages import (
    ColdAbsent,
    ColdAnswer,
    ColdClose,
    ColdCommand,
    ColdDelete,
    ColdDone,
    ColdFailed,
    ColdFault,
    ColdFound,
    ColdGet,
    ColdOpen,
    ColdOpened,
    ColdProbe,
    ColdPut,
    ShardReport,
)
from tiercluster.node.settings import MiB, NodeSettings, TierSettings
from tiercluster.node.shard import Origin, Shard
from tiercluster.tiermap import (
    TIERS,
    Admin,
    Health,
    MapState,
    Member,
    Tier,
    TierMap,
    TierRecord,
)

ME, OTHER = "n1", "n2"
CLIENT = b"client-1"
KINDS = {
    "Get": Kind.GET, "Store": Kind.STORE, "Delete": Kind.DELETE, "Incr": Kind.INCR,
    "Touch": Kind.TOUCH, "Peek": Kind.PEEK, "Scan": Kind.SCAN,
    "DeletePrefix": Kind.DELETE_PREFIX, "Fault": Kind.FAULT, "ColdPut": Kind.COLD_PUT,
    "ColdGet": Kind.COLD_GET, "ColdDrop": Kind.COLD_DROP,
}  # fmt: skip


def key(name: str | int) -> bytes:
    return wire_key(b"", str(name).encode())


@dataclass
class FakeCold:
    """The cold worker's contract on a dict. ``failing`` makes each operation fail (a disk that is
    full or read-only can still be read unless ``unreadable``; what is damaged shows when it is
    read), ``silent`` leaves it unanswered (but done, which is the worst case)."""

    rows: dict[bytes, tuple[int, int, bytes, float | None]] = field(default_factory=dict)
    failing: FailureKind | None = None
    silent: bool = False
    unreadable: bool = False
    spoiled: bool = False  # a write or delete failed: no marker
    closed: bool = False
    marker: tuple[str, int] | None = None
    log: list[ColdCommand] = field(default_factory=list)

    def do(self, command: ColdCommand) -> ColdAnswer | None:
        self.log.append(command)
        answer = self._do(command)
        return None if self.silent else answer

    def _do(self, command: ColdCommand) -> ColdAnswer | None:
        failure = Failure(self.failing) if self.failing else None
        if self.failing in (FailureKind.NO_SPACE, FailureKind.READ_ONLY) and not self.unreadable:
            failure = None if isinstance(command, ColdGet) else failure
        if self.failing is FailureKind.CORRUPT and not isinstance(command, ColdGet | ColdProbe):
            failure = None
        if failure is not None and isinstance(command, ColdPut | ColdDelete):
            self.spoiled = True
        if self.closed and not isinstance(command, ColdOpen | ColdProbe | ColdFault):
            failure = Failure(FailureKind.GONE)
        match command:
            case ColdFault():
                return None
            case ColdDelete(rows):
                if failure is None:
                    for k, version in rows:
                        if k in self.rows and self.rows[k][0] == version:
                            del self.rows[k]
                return None
            case _ if failure is not None:
                return ColdFailed(command.token, failure, 0.001)  # type: ignore[union-attr]
            case ColdPut(token, k, version, _, flags, expires, value):
                self.rows[k] = version, flags, value, expires
                return ColdDone(token, 0.001)
            case ColdGet(token, k, version):
                row = self.rows.get(k)
                if row is None or row[0] != version:
                    return ColdAbsent(token, 0.001)
                return ColdFound(token, row[2], row[1], 0.001)
            case ColdProbe(token):
                self.closed = False
                return ColdDone(token, 0.001)
            case ColdOpen(token, wipe):
                if wipe:
                    self.rows.clear()
                self.closed = self.spoiled = False
                return ColdOpened(token, None, ())
            case ColdClose(token, marker):
                self.closed, self.marker = True, None if self.spoiled else marker
                return ColdDone(token, 0.001)
        return None


@dataclass
class FakePeer:
    """What another node keeps for us."""

    rows: dict[tuple[str, bytes], tuple[int, int, bytes]] = field(default_factory=dict)
    is_dead: bool = False
    is_shedding: bool = False

    def do(self, effect: ToPeer) -> Reply | None:
        if self.is_dead:
            return None
        status, fields, body = self._do(effect.fields, effect.body)
        return Reply(effect.kind, effect.token, 1, 0, status, fields, body)

    def _do(self, asked: Fields, body: bytes) -> tuple[Status, Result, bytes]:
        match asked:
            case PutForOther() if self.is_shedding:
                return Status.SHED, Refusal("busy"), b""
            case PutForOther(outage, k, version, flags, _):
                self.rows[outage, k] = version, flags, body
                return Status.OK, Ack(), b""
            case GetForOther(outage, k, version):
                row = self.rows.get((outage, k))
                if row is None or row[0] != version:
                    return Status.OK, ColdValue(False, 0), b""
                return Status.OK, ColdValue(True, row[1]), row[2]
            case DropForOther(outage, k):
                self.rows.pop((outage, k), None)
                return Status.OK, Ack(), b""
        return Status.BAD_REQUEST, Refusal("?"), b""


def settings(hot: int = MiB, warm: int = MiB, cold: int = 4 * MiB, **more: object) -> NodeSettings:
    return NodeSettings(
        id=ME,
        allow_faults=True,
        hot=TierSettings(hot, 5),
        warm=TierSettings(warm, 10),
        cold=TierSettings(cold, 15),
        **more,  # type: ignore[arg-type]
    )


class World:
    """`run` carries out effects until there are none; with ``hold_cold`` or ``hold_peers`` they
    wait in `cold_waiting` and `peers_waiting` to be released one by one."""

    def __init__(self, config: NodeSettings | None = None) -> None:
        self.now = 100.0
        self.shard = Shard(config or settings(), "boot-1")
        self.cold = FakeCold()
        self.peer = FakePeer()
        self.hold_cold = self.hold_peers = False
        self.cold_waiting: deque[ColdCommand] = deque()
        self.peers_waiting: deque[ToPeer] = deque()
        self.answers: dict[int, tuple[Status, Result, bytes]] = {}
        self.reports: list[ShardReport] = []
        self.rid = 0
        self.map = TierMap("c", 1, 1, (Member(ME, "a:1"), Member(OTHER, "a:2")), "")
        self.shard.use_wall(1_000_000.0)
        self.use_map()
        self.shard.set_stint(1, [1] * SLOTS, 1, bytes((1,)) * SLOTS)

    # --- the map --------------------------------------------------------------------------------

    def use_map(self) -> None:
        self.shard.use_map(MapState(self.map), self.now)
        self.run()

    def set_tier(self, tier: Tier, node: str = ME, **change: object) -> TierRecord:
        """Commit a change of one tier."""
        version = self.map.version + 1
        member = self.map.member(node)
        assert member is not None
        record = replace(member.tier(tier), since_version=version, **change)  # type: ignore[arg-type]
        tiers = tuple(record if t.tier is tier else t for t in member.tiers)
        members = tuple(
            replace(member, tiers=tiers) if m is member else m for m in self.map.members
        )
        self.map = replace(self.map, version=version, members=members)
        self.use_map()
        return record

    def fail(self, tier: Tier) -> None:
        self.set_tier(tier, health=Health.DOWN)

    def recover(self, tier: Tier, *, keep: bool = False) -> None:
        member = self.map.member(ME)
        assert member is not None
        self.set_tier(tier, health=Health.RECOVERING)
        bump = 0 if keep else 1
        generation = member.tier(tier).generation + bump
        self.set_tier(tier, health=Health.UP, admin=Admin.IN, generation=generation)

    # --- effects --------------------------------------------------------------------------------

    def run(self) -> None:
        while True:
            effects = self.shard.take_effects()
            can_release = (self.cold_waiting and not self.hold_cold) or (
                self.peers_waiting and not self.hold_peers
            )
            if not effects and not can_release:
                return
            for effect in effects:
                match effect:
                    case Answer(origin, status, fields, body):
                        assert origin.rid not in self.answers
                        self.answers[origin.rid] = status, fields, body
                    case ToCold(command):
                        self.cold_waiting.append(command)
                    case ToPeer():
                        self.peers_waiting.append(effect)
                    case ToControl(report):
                        self.reports.append(report)
            while self.cold_waiting and not self.hold_cold:
                self._release_cold()
            while self.peers_waiting and not self.hold_peers:
                self._release_peer()

    def _release_cold(self) -> None:
        answer = self.cold.do(self.cold_waiting.popleft())
        if answer is not None:
            self.shard.cold_answer(answer, self.now)

    def _release_peer(self) -> None:
        effect = self.peers_waiting.popleft()
        self.shard.peer_answer(effect.token, self.peer.do(effect), self.now)

    def release_cold(self, count: int = 1) -> None:
        for _ in range(min(count, len(self.cold_waiting))):
            self._release_cold()
        self.run()

    def release_peers(self, count: int = 1) -> None:
        for _ in range(min(count, len(self.peers_waiting))):
            self._release_peer()
        self.run()

    def tick(self, seconds: float = 0.01, times: int = 1) -> None:
        for _ in range(times):
            self.now += seconds
            self.shard.tick(self.now)
            self.run()

    # --- requests -------------------------------------------------------------------------------

    def send(self, fields: Fields, body: bytes = b"") -> int:
        """The request's id; its answer comes to `answers`, perhaps later."""
        self.rid += 1
        kind = KINDS[type(fields).__name__]
        request = Request(kind, self.rid, self.map.version, 0, CLIENT, False, fields, body)
        answered = self.shard.handle(request, Origin(b"me", self.rid, kind), self.now)
        if answered is not None:
            self.answers[self.rid] = answered
        self.run()
        return self.rid

    def ask(self, fields: Fields, body: bytes = b"") -> Result:
        """The fields of an OK answer that must be there at once."""
        status, result, _ = self.answers[self.send(fields, body)]
        assert status is Status.OK, (status, result)
        return result

    def store(self, name: str | int, value: bytes, mode: Mode = Mode.SET, flags: int = 0,
              ttl: float | None = None, version: int | None = None) -> int:  # fmt: skip
        versions = () if version is None else (version,)
        fields = Store(int(mode), (key(name),), (len(value),), bytes((flags,)), (ttl,), versions)
        result = self.ask(fields, value)
        assert isinstance(result, Stored)
        return result.versions[0]

    def get(self, name: str | int) -> bytes | None:
        values, body = self.get_meta(name)
        return None if values.sizes[0] < 0 else body

    def get_meta(self, name: str | int, meta: bool = False) -> tuple[Values, bytes]:
        status, result, body = self.answers[self.send(Get((key(name),), meta))]
        assert status is Status.OK
        assert isinstance(result, Values)
        return result, body

    def place(self, name: str | int) -> str | None:
        """Where the entry is, by the directory."""
        entry = self.shard._holdings.directory.get(key(name))
        return None if entry is None else ("hot", "warm", "cold", "remote")[entry.place]

    def delete(self, name: str | int) -> bool:
        result = self.ask(Delete((key(name),)))
        return result.found[0]  # type: ignore[union-attr]

    def incr(self, name: str | int, delta: int = 1, initial: int | None = None,
             ttl: float | None = None, keep_ttl: bool = True) -> Counter:  # fmt: skip
        result = self.ask(Incr(key(name), delta, initial, ttl, keep_ttl))
        assert isinstance(result, Counter)
        return result

    def reported(self, kind: type) -> list[ShardReport]:
        return [r for r in self.reports if isinstance(r, kind)]


def only(*usable: Tier, world: World | None = None, config: NodeSettings | None = None) -> World:
    """A world in which all tiers but these are DOWN."""
    world = world or World(config)
    for tier in TIERS:
        if tier not in usable:
            world.fail(tier)
    return world


NOISE = random.Random(7).randbytes(2**20)


def noise(number: int, size: int = 30_000) -> bytes:
    """Bytes that do not compress, the same for the same number."""
    return b"%d:" % number + NOISE[number % 1000 : number % 1000 + size]


def fill(world: World, count: int) -> None:
    """Keys 0 to count - 1, each with its noise."""
    for number in range(count):
        world.store(number, noise(number))


def inject(world: World, tier: Tier, kind: str = "eio", rate: float = 1.0) -> None:
    world.ask(Fault(str(tier), kind, 0.0, rate))
