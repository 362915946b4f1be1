"""Nodes that keep copies for each other, over links that lose, double and disorder; each sees the
maps when it does. One writer and reader knows what may be read.

Every value is the number of its write. A read must give a number not below that of the newest write
that was acknowledged, or seen by a read, before the read began; or nothing.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from copy_maps import NODES, TOKEN, History, begun

from tests.unit.node.shard_world import FakeCold, key, settings
from tiercluster.cluster.codec import decode_request, encode_request
from tiercluster.cluster.ring import slot_of
from tiercluster.cluster.wire import (
    VERSION,
    Confirmed,
    Delete,
    DeletePrefix,
    Fields,
    Get,
    Kind,
    Request,
    Status,
    Store,
    Stored,
    Values,
)
from tiercluster.node.effects import Answer, Answered, Effect, Origin, ToCold, ToPeer
from tiercluster.node.entry import COLD
from tiercluster.node.ownership import Ownership, SlotState
from tiercluster.node.shard import Shard
from tiercluster.tiermap import MapState, NodeState, TierMap

KEYS = [key(f"k{i}") for i in range(6)]
CLIENT = b"client-1"


@dataclass(frozen=True)
class Packet:
    source: str
    target: str
    fields: Fields | Confirmed
    body: bytes = b""
    version: int = 0


@dataclass
class Asked:
    """What was asked of one key, and the least that a read may give."""

    key: bytes
    number: int
    floor: int
    is_weak: bool  # in a minority: it counts for nothing
    body: bytes = b""


@dataclass
class Node:
    name: str
    shard: Shard
    ownership: Ownership
    map: TierMap = field(default_factory=TierMap)
    cold: FakeCold = field(default_factory=FakeCold)
    is_let_go: bool = False


class World:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.history: History = begun(self.random.choice([2, 2, 3]))
        self.now = 100.0
        self.packets: list[Packet] = []
        self.asked: dict[int, Asked] = {}
        self.newest: defaultdict[bytes, int] = defaultdict(int)
        self.number = 0
        self.released: list[int] = []
        self.lost_tiers: set[str] = set()
        self.nodes = {
            n: Node(n, Shard(replace(settings(), id=n), TOKEN), Ownership(n, TOKEN, 0.5))
            for n in NODES
        }
        for node in self.nodes.values():
            self.see(node, self.newest_map)

    @property
    def newest_map(self) -> TierMap:
        return self.history.state.map

    # --- maps -----------------------------------------------------------------------------------

    def see(self, node: Node, tier_map: TierMap) -> None:
        """The node applies this map, and all others hear of it by and by."""
        if tier_map.version <= node.map.version:
            return
        node.map = tier_map
        changed = node.ownership.use_map(tier_map, self.now)
        node.shard.use_map(MapState(tier_map), self.now)
        node.shard.use_stint(tier_map, node.ownership.incarnation, changed, self.now)
        self.run(node)

    def confirm_all(self) -> None:
        for node in self.nodes.values():
            for other in self.nodes.values():
                if other is not node:
                    stint = other.ownership.incarnation
                    node.ownership.confirm(other.name, stint, other.map.version, self.now)
            node.ownership.tick(self.now)

    def serves(self, node: Node, slot: int) -> bool:
        """Whether its gate would let a request through, with a lease."""
        me = self.newest_map.member(node.name)
        is_in = me is not None and me.state is NodeState.UP
        has_lease = is_in and me is not None and me.incarnation == node.ownership.incarnation
        return has_lease and node.ownership.slots[slot] == SlotState.SERVED

    # --- effects --------------------------------------------------------------------------------

    def run(self, node: Node) -> None:
        streams = node.shard.streams
        while True:
            effects = node.shard.take_effects()
            released = streams.take_released()
            if not effects and not released:
                return
            for effect in effects:
                self.carry_out(node, effect)
            for origin, answered, is_good in released:
                self.answered(node, origin, answered, is_good)

    def carry_out(self, node: Node, effect: Effect) -> None:
        match effect:
            case ToPeer(target, Kind.REPLICATE | Kind.FILL, fields, body):
                self.packets.append(Packet(node.name, target, fields, body, node.map.version))
            case ToPeer():
                node.shard.peer_answer(effect.token, None, self.now)  # nobody stands in
            case ToCold(command):
                answer = node.cold.do(command)
                if answer is not None:
                    node.shard.cold_answer(answer, self.now)
            case Answer(origin, status, fields, body):
                self.answer(node, origin, (status, fields, body))

    def answer(self, node: Node, origin: Origin, answered: Answered) -> None:
        streams = node.shard.streams
        if not streams.owns(origin.keys):
            self.answered(node, origin, answered, False)
        elif streams.is_busy and streams.concerns(origin):
            streams.hold(origin, answered)
        else:
            self.answered(node, origin, answered, True)

    def answered(self, node: Node, origin: Origin, answered: Answered, is_good: bool) -> None:
        asked = self.asked.pop(origin.rid)
        asked.is_weak |= node.is_let_go
        if not is_good:
            return
        self.released.append(origin.rid)
        status, fields, body = answered
        assert status is Status.OK
        if isinstance(fields, Values):
            self.read(asked, int(body) if fields.sizes[0] >= 0 else 0)
        elif isinstance(fields, Stored) and not fields.versions[0]:
            return
        elif not asked.is_weak:
            self.newest[asked.key] = max(self.newest[asked.key], asked.number)

    def read(self, asked: Asked, number: int) -> None:
        assert number == 0 or number >= asked.floor, (asked, number)
        if not asked.is_weak:
            self.newest[asked.key] = max(self.newest[asked.key], number)

    # --- what may happen ------------------------------------------------------------------------

    def ask(self, node: Node, name: bytes, fields: Fields, body: bytes = b"") -> None:
        kinds = {Get: Kind.GET, Store: Kind.STORE, Delete: Kind.DELETE}
        kind = kinds.get(type(fields), Kind.DELETE_PREFIX)
        self.number += 1
        keys = () if isinstance(fields, DeletePrefix) else (name,)
        origin = Origin(b"me", self.number, kind, self.now + 1, CLIENT, keys)
        request = Request(
            kind, self.number, node.map.version, 0, CLIENT, False, fields, body, VERSION
        )  # fmt: skip
        self.asked[self.number] = Asked(name, self.number, self.newest[name], node.is_let_go)
        answered = node.shard.handle(request, origin, self.now)
        if answered is not None:
            self.answer(node, origin, answered)
        self.run(node)

    def store(self, node: Node, name: bytes) -> None:
        value = b"%d" % (self.number + 1)
        self.ask(node, name, Store(0, (name,), (len(value),), b"\0", (None,), ()), value)

    def deliver(self, packet: Packet) -> None:
        node = self.nodes[packet.target]
        if isinstance(packet.fields, Confirmed):
            node.shard.streams.confirmed(packet.source, packet.fields, self.now)
        else:
            kind = Kind.FILL if type(packet.fields).__name__ == "Fill" else Kind.REPLICATE
            sent = Request(kind, 1, packet.version, 0, CLIENT, False, packet.fields, packet.body,
                           VERSION)  # fmt: skip
            request = decode_request(encode_request(sent))
            answered = node.shard.handle(request, Origin(b"", 1, kind), self.now)
            assert answered is not None
            if isinstance(answered[1], Confirmed):
                self.packets.append(Packet(packet.target, packet.source, answered[1]))
        self.run(node)

    def tick(self, seconds: float) -> None:
        self.now += seconds
        for node in self.nodes.values():
            node.shard.tick(self.now)
            node.shard.streams.flush(self.now)
            self.run(node)

    def step(self) -> None:
        draw = self.random
        node = draw.choice(list(self.nodes.values()))
        name = draw.choice(KEYS)
        actions: list[tuple[int, Callable[[], object]]] = [
            (30, lambda: self._ask_owner(name)),
            (10, lambda: self.tick(draw.choice([0.01, 0.1]))),
            (40, self._deliver_some),
            (3, self._lose_one),
            (3, self._change_map),
            (5, lambda: self._fail_over(name)),
            (8, self._come_back),
            (8, lambda: self._see_some(node)),
            (8, self.confirm_all),
            (1, lambda: self._let_go(node)),
            (2, lambda: self._take_up(node)),
        ]
        draw.choices([a for _, a in actions], [weight for weight, _ in actions])[0]()

    def _ask_owner(self, name: bytes) -> None:
        owners = [n for n in self.nodes.values() if self.serves(n, slot_of(name))]
        assert len(owners) <= 1
        for owner in owners:
            match self.random.randrange(10):
                case 0:
                    self.ask(owner, name, Delete((name,)))
                case 1 | 2 | 3:
                    self.ask(owner, name, Get((name,), False))
                case _:
                    self.store(owner, name)
            if self.random.random() < 0.7:
                owner.shard.streams.flush(self.now)
                self.run(owner)

    def _deliver_some(self) -> None:
        for _ in range(self.random.randint(1, 6)):
            if self.packets:
                # Mostly in order; each link has its own.
                late = self.random.random() < 0.1
                index = self.random.randrange(len(self.packets)) if late else 0
                packet = self.packets[index]
                luck = self.random.random()
                if luck > 0.05:  # else it comes twice
                    del self.packets[index]
                if luck < 0.9:  # else it is lost
                    self.deliver(packet)

    def _lose_one(self) -> None:
        if self.packets:
            del self.packets[self.random.randrange(len(self.packets))]

    def _change_map(self) -> None:
        what = self.random.choice(
            ["stop", "join", "join", "filled", "filled", "filled", "tiers down", "tiers up",
             "apart", "together"]
        )  # fmt: skip
        node, more = self.random.choice(NODES), self.random.choice(NODES)
        if what == "filled" and not self.nodes[node].shard.keeping.is_whole:
            return
        if what == "tiers down":
            self.lost_tiers.add(node)
        self.history.take((what, node, "1" if what == "join" else more))

    def _fail_over(self, name: bytes) -> None:
        """The owner stops and the others see it; what it had sent is on its way yet."""
        for node in self.nodes.values():
            if self.serves(node, slot_of(name)):
                self.history.take(("stop", node.name, ""))
        self._all_see()
        for node in self.nodes.values():
            if self.serves(node, slot_of(name)):
                self.ask(node, name, Get((name,), False))

    def _come_back(self) -> None:
        """Whoever is down joins again, and whoever has all it keeps serves."""
        for node in self.nodes.values():
            member = self.newest_map.member(node.name)
            if member is None or member.state is not NodeState.UP:
                self.history.take(("join", node.name, "1"))
            elif node.shard.keeping.is_whole and node.map is self.newest_map:
                self.history.take(("filled", node.name, ""))
        self._all_see()

    def _all_see(self) -> None:
        for node in self.nodes.values():
            if self.random.random() < 0.8:
                self.see(node, self.newest_map)
        self.tick(0.3)
        self.confirm_all()
        self.tick(0.3)
        self.confirm_all()

    def _see_some(self, node: Node) -> None:
        ahead = [m for m in self.history.maps if m.version > node.map.version]
        if ahead:
            self.see(node, self.random.choice([ahead[0], ahead[0], ahead[-1]]))

    def _let_go(self, node: Node) -> None:
        node.is_let_go = True
        node.shard.streams.let_go()
        self.run(node)

    def _take_up(self, node: Node) -> None:
        node.shard.streams.take_up(self.now)
        node.is_let_go = False
        self.run(node)

    # --- the end --------------------------------------------------------------------------------

    def heal(self) -> None:
        """All serve, see the same, and hear each other for long."""
        for node in NODES:
            self.history.take(("tiers up", node, ""))
            member = self.newest_map.member(node)
            assert member is not None
            if member.state is not NodeState.UP:
                self.history.take(("join", node, "1"))
            for other in NODES:
                self.history.take(("together", node, other))
        for _ in range(3):
            for node in self.nodes.values():
                self._take_up(node)
                self.see(node, self.newest_map)
            for _ in range(60):
                self.tick(0.05)
                self.confirm_all()
                while self.packets:
                    self.deliver(self.packets.pop(0))
            for name in NODES:
                self.history.take(("filled", name, ""))

    def value(self, node: Node, name: bytes) -> bytes | None:
        """What the node has, in whatever tier, that may be read."""
        holdings = node.shard._holdings
        entry = holdings.visible(name, self.now)
        if entry is None:
            return None
        row = node.cold.rows.get(name)
        return holdings.read_memory(entry, self.now) if entry.place < COLD else row and row[2]
