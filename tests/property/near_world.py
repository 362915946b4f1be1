"""A near cache and the nodes that keep it coherent, as they are, with a network that loses things.

Every step is one event, drawn from a seed. A copy that is served is compared with what was
acknowledged, by whom and when.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from tiercluster.cluster.nearcache import ABSENT, FOREVER, NearCache, Read
from tiercluster.cluster.nearfeed import OVERDUE_S
from tiercluster.cluster.ring import slot_of
from tiercluster.cluster.values import RAW, Values
from tiercluster.cluster.wire import Invalidated
from tiercluster.node.announcer import NEAR_LEASE_S
from tiercluster.node.watches import Watches, Watching

KEYS = tuple(b"\0key%d" % i for i in range(4))
CLIENT = b"watching"
LIMIT = 3  # copies, fewer than keys
RARE = 0.98


@dataclass
class Told:
    """On its way from a node; ``versions`` of the keys when it was sent."""

    message: Invalidated
    versions: dict[bytes, int]


@dataclass
class Granted:
    sent_at: float
    stint: int
    seq: int


@dataclass
class Node:
    name: str
    watches: Watches
    connection: int = 1
    patient_until: float = 0.0  # an answer is awaited
    asked: deque[tuple[float, int]] = field(default_factory=deque)  # questions on their way
    link: deque[Told | Granted] = field(default_factory=deque)


@dataclass
class Reading:
    """A read: on its way there, or on its way back once ``read`` is set."""

    key: bytes
    ticket: int
    read: Read | None = None


@dataclass
class Writing:
    key: bytes
    is_own: bool
    version: int = 0  # once the node has applied it


class NearWorld:
    """``steps`` counts what happened, by name, so that a test can ask whether anything did."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 100.0
        self.cache = NearCache(LIMIT, Values("bytes"))
        self.nodes = [Node("n1", Watches(1000)), Node("n2", Watches(5000))]
        self.owner = {key: self.nodes[i % 2] for i, key in enumerate(KEYS)}
        self.version = dict.fromkeys(KEYS, 1)
        self.next_version = 1
        self.acknowledged: dict[bytes, list[tuple[float, int]]] = {key: [] for key in KEYS}
        self.own = dict.fromkeys(KEYS, 0)
        self.heard = dict.fromkeys(KEYS, 0)  # the newest version a delivered message told of
        self.reads: list[Reading] = []
        self.writes: list[Writing] = []
        self.steps: dict[str, int] = {}

    def run(self, count: int) -> None:
        actions = (
            [self.find] * 12 + [self.send_read] * 3 + [self.answer_read] * 3 + [self.take_read] * 3
            + [self.send_write] * 2 + [self.apply_write] * 2 + [self.acknowledge_write] * 2
            + [self.ask_lease] * 2 + [self.grant_lease] * 2 + [self.deliver] * 6
            + [self.pass_time] * 2 + [self.lose, self.reconnect, self.hand_over, self.forget]
        )  # fmt: skip
        for _ in range(count):
            action = self.rng.choice(actions)
            if action():
                self.steps[action.__name__] = self.steps.get(action.__name__, 0) + 1

    # --- what is judged -------------------------------------------------------------------------

    def find(self) -> bool:
        key = self.rng.choice(KEYS)
        value = self.cache.find(key, self.now)
        if value is ABSENT:
            return False
        version = int(value)
        past = [v for at, v in self.acknowledged[key] if at <= self.now - NEAR_LEASE_S]
        assert version >= max(past, default=0), "older than a lease"
        assert version >= self.own[key], "not our own write"
        assert version >= self.heard[key], "recalled and served"
        assert version <= self.version[key], "invented"
        return True

    # --- reads ----------------------------------------------------------------------------------

    def send_read(self) -> bool:
        self.reads.append(Reading(self.rng.choice(KEYS), self.cache.begin_read()))
        return True

    def answer_read(self) -> bool:
        waiting = [r for r in self.reads if r.read is None]
        if not waiting:
            return False
        reading = self.rng.choice(waiting)
        key, node = reading.key, self.owner[reading.key]
        watching: Watching = node.watches.watch(CLIENT, [key], [slot_of(key)])
        version = self.version[key]
        reading.read = Read(node.name, watching.stint, watching.seq, key, b"%d" % version, RAW,
                            version, FOREVER, reading.ticket)  # fmt: skip
        if not watching.stint:
            self.reads.remove(reading)
        return True

    def take_read(self) -> bool:
        back = [r for r in self.reads if r.read is not None]
        if not back:
            return False
        reading = self.rng.choice(back)
        self.reads.remove(reading)
        assert reading.read is not None
        return self.cache.keep(reading.read)

    # --- writes, of others and our own ----------------------------------------------------------

    def send_write(self) -> bool:
        writing = Writing(self.rng.choice(KEYS), self.rng.random() < 0.4)
        self.writes.append(writing)
        if writing.is_own:
            self.cache.begin_write([writing.key])
        return True

    def apply_write(self) -> bool:
        waiting = [w for w in self.writes if not w.version]
        if not waiting:
            return False
        writing = self.rng.choice(waiting)
        node = self.owner[writing.key]
        node.watches.fire(writing.key, slot_of(writing.key))
        self.next_version += 1
        writing.version = self.version[writing.key] = self.next_version
        self.flush(node)
        return True

    def acknowledge_write(self) -> bool:
        applied = [w for w in self.writes if w.version]
        if not applied:
            return False
        writing = self.rng.choice(applied)
        self.writes.remove(writing)
        if writing.is_own:
            self.cache.wrote([writing.key])
            self.own[writing.key] = max(self.own[writing.key], writing.version)
        self.acknowledged[writing.key].append((self.now, writing.version))
        return True

    # --- leases and news ------------------------------------------------------------------------

    def ask_lease(self) -> bool:
        node = self.rng.choice(self.nodes)
        if self.now < node.patient_until:
            return False
        node.patient_until = self.now + OVERDUE_S
        node.asked.append((self.now, self.cache.stint(node.name)))
        return True

    def grant_lease(self) -> bool:
        node = self.rng.choice(self.nodes)
        if not node.asked:
            return False
        sent_at, stint = node.asked.popleft()
        identity = b"%d" % node.connection
        watching = node.watches.renew(CLIENT, identity, stint, self.now)
        self.flush(node)
        node.link.append(Granted(sent_at, watching.stint, watching.seq))
        return True

    def flush(self, node: Node) -> None:
        for identity, message in node.watches.take():
            if identity == b"%d" % node.connection:
                keys = KEYS if message.everything else message.keys
                node.link.append(Told(message, {key: self.version[key] for key in keys}))

    def deliver(self) -> bool:
        node = self.rng.choice(self.nodes)
        if not node.link:
            return False
        came = node.link.popleft()
        if isinstance(came, Granted):
            until = came.sent_at + NEAR_LEASE_S
            node.patient_until = self.now
            return self.cache.granted(node.name, came.stint, came.seq, until)
        told = came.message
        is_current = self.cache.stint(node.name) == told.stint
        is_whole = self.cache.invalidated(
            node.name, told.stint, told.seq, told.keys, told.everything
        )
        if is_current and is_whole and not told.everything:
            for key, version in came.versions.items():
                self.heard[key] = max(self.heard[key], version)
        return is_whole

    # --- what goes wrong ------------------------------------------------------------------------

    def pass_time(self) -> bool:
        self.now += self.rng.choice((0.001, 0.01, 0.02, 0.05, 0.3))
        return True

    def lose(self) -> bool:
        """A message that a full queue did not take."""
        node = self.rng.choice(self.nodes)
        if not node.link or self.rng.random() < 0.7:
            return False
        del node.link[self.rng.randrange(len(node.link))]
        return True

    def reconnect(self) -> bool:
        if self.rng.random() < RARE:
            return False
        node = self.rng.choice(self.nodes)
        node.connection += 1
        node.link.clear()
        node.asked.clear()
        node.patient_until = self.now
        self.cache.lost(node.name)
        return True

    def hand_over(self) -> bool:
        """Another ring: some keys have another owner, which both know at once."""
        if self.rng.random() < RARE:
            return False
        for key in KEYS:
            self.owner[key] = self.rng.choice(self.nodes)
        for node in self.nodes:
            node.watches.drop_all()
            self.flush(node)
        return True

    def forget(self) -> bool:
        """A node has not heard from us for long."""
        if self.rng.random() < RARE:
            return False
        self.rng.choice(self.nodes).watches.expire(self.now + 1000)
        return True
