"""A cluster in memory behind real sockets: it speaks the wire protocol and does as it is told.

Each FakeNode is a thread with a ROUTER socket and a dict. What a test changes it changes through
`FakeNode.do`, which runs in that thread. `script` takes over the answers to a kind of request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import cbor2
import zmq

from tiercluster.cluster.codec import decode_request, encode_reply
from tiercluster.cluster.ring import slot_of
from tiercluster.cluster.routing import Router
from tiercluster.cluster.values import INT
from tiercluster.cluster.wire import (
    VERSION,
    Count,
    Counter,
    Decided,
    DeletePrefix,
    EventList,
    Flags,
    Incr,
    Kind,
    MapUpdate,
    Mode,
    Page,
    Peeked,
    Refusal,
    Reply,
    Report,
    Request,
    Result,
    Scan,
    Status,
    Store,
    Stored,
    UnknownKind,
    Values,
    Welcome,
)
from tiercluster.tiermap import (
    Event,
    Member,
    NodeState,
    TierMap,
    diff,
    encode_delta,
    encode_event,
    encode_map,
)

Answer = tuple[Status, Result, bytes]
Script = Callable[[Request], Answer | None]
TURN_MS = 5


class Entry:
    def __init__(self, data: bytes, flags: int, ttl: float | None, version: int) -> None:
        self.data, self.flags, self.version = data, flags, version
        self.expires = None if ttl is None else time.monotonic() + ttl

    @property
    def left(self) -> float | None:
        return None if self.expires is None else self.expires - time.monotonic()


class FakeNode:
    """``seen``: every data request in the order of arrival. Times and clocks are this process's,
    ahead by ``skew_ms``."""

    def __init__(self, context: zmq.Context[Any], port: int = 0, skew_ms: int = 0) -> None:
        self.id = ""
        self.skew_ms = skew_ms
        self.seen: list[Request] = []
        self.unknown: set[Kind] = set()  # as if they had come in a later version
        self.map = TierMap()
        self.router = Router(self.map)
        self.entries: dict[bytes, Entry] = {}
        self.events: list[Event] = []
        self.subscribers: set[bytes] = set()
        self.scripts: dict[Kind, Script] = {}
        self.applied: dict[tuple[bytes, int], Answer] = {}
        self.is_frozen = False
        self.greets = True
        self.proposed: list[Request] = []
        self._counter = 0
        self._orders: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._context = context
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        if port:
            self._bind_again(port)
        else:
            port = self._socket.bind_to_random_port("tcp://127.0.0.1", 20000, 32000)
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _bind_again(self, port: int) -> None:
        """The socket that had this port closes in the background."""
        for _ in range(500):
            try:
                self._socket.bind(f"tcp://127.0.0.1:{port}")
                return
            except zmq.ZMQError:
                time.sleep(0.01)
        self._socket.close(0)
        raise AssertionError(f"port {port} is not free again")

    def start(self) -> None:
        self._thread.start()

    def do(self, change: Callable[[], None]) -> None:
        """Run in the node's thread; returns when it is done."""
        done = threading.Event()
        self._orders.put(lambda: (change(), done.set())[0])
        assert done.wait(5), "the fake node hangs"

    def stop(self) -> None:
        """As a killed process: the sockets close, nobody says goodbye."""
        if self._thread.is_alive():
            self._orders.put(None)
            self._thread.join(5)

    def script(self, kind: Kind, answer: Script | None) -> None:
        """``answer`` returns what to say, or None for silence; None ends the script."""
        if answer is None:
            self.do(lambda: self.scripts.pop(kind, None) and None)
        else:
            self.do(lambda: self.scripts.__setitem__(kind, answer))

    def use_map_before_start(self, tier_map: TierMap) -> None:
        self.map, self.router = tier_map, Router(tier_map)

    def use_map(self, tier_map: TierMap, push: bool = True) -> None:
        self.do(lambda: self._use_map(tier_map, push))

    def asked(self, *kinds: Kind) -> list[Request]:
        return [r for r in self.seen if r.kind in kinds]

    # --- in the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            while not self._orders.empty():
                order = self._orders.get()
                if order is None:
                    self._socket.close(0)
                    return
                order()
            if self.is_frozen:
                time.sleep(TURN_MS / 1000)
            elif self._socket.poll(TURN_MS):
                identity, *frames = self._socket.recv_multipart()
                self._serve(identity, decode_request(frames))

    def _use_map(self, tier_map: TierMap, push: bool) -> None:
        old, self.map = self.map, tier_map
        self.router = Router(tier_map)
        if push and old.version:
            update = MapUpdate(old.version, encode_delta(diff(old, tier_map)))
            for identity in self.subscribers:
                self.send(identity, Reply(Kind.MAP_PUSH, 0, 0, 0, Status.OK, update))

    def send(self, identity: bytes, reply: Reply) -> None:
        clock = int(time.monotonic() * 1000) + self.skew_ms
        stamped = reply._replace(clock_ms=clock, map_version=self.map.version)
        self._socket.send_multipart([identity, *encode_reply(stamped)])

    def _serve(self, identity: bytes, request: Request) -> None:
        self.seen.append(request)
        if request.kind in self.unknown:
            text = str(UnknownKind(request.kind, request.rid, request.protocol))
            refused = Refusal(text)
            self.send(identity, Reply(Kind.HELLO, request.rid, 0, 0, Status.BAD_REQUEST, refused))
            return
        answer = self._answer(identity, request)
        if answer is not None:
            self.send(
                identity, Reply(request.kind, request.rid, 0, 0, *answer, protocol=request.protocol)
            )

    def _answer(self, identity: bytes, request: Request) -> Answer | None:
        if request.kind in self.scripts:
            return self.scripts[request.kind](request)
        snapshot = MapUpdate(0, encode_map(self.map))
        match request.kind:
            case Kind.HELLO:
                if not self.greets:
                    return None
                return Status.OK, Welcome(self.id, f"{self.id}-1", VERSION, snapshot.data), b""
            case Kind.SUBSCRIBE:
                self.subscribers.add(identity)
                return Status.OK, snapshot, b""
            case Kind.STATUS:
                return Status.OK, Report(cbor2.dumps(self._status())), b""
            case Kind.PROBE:
                return Status.OK, Report(cbor2.dumps({"ok": True})), b""
            case Kind.EVENTS:
                later = [e for e in self.events if e.version > request.fields.since]
                return Status.OK, EventList(tuple(map(encode_event, later))), b""
            case Kind.PROPOSE:
                self.proposed.append(request)
                return Status.OK, Decided("done", "", self.map.version), b""
        if request.map_version < self.map.ring_version:
            return Status.STALE_MAP, snapshot, b""
        now_ms = time.monotonic() * 1000 + self.skew_ms
        if request.deadline_ms and now_ms > request.deadline_ms:
            return Status.DEADLINE, Refusal("too late"), b""
        return self.apply_once(request)

    def apply_once(self, request: Request) -> Answer:
        name = request.client, request.rid
        if name not in self.applied:
            self.applied[name] = self.apply(request)
        return self.applied[name]

    def apply(self, request: Request) -> Answer:
        """What a node without failing tiers would do."""
        fields = request.fields
        if any(self.router.owner_of(key) != self.id for key in getattr(fields, "keys", ())):
            return Status.STALE_MAP, MapUpdate(0, encode_map(self.map)), b""
        verb = getattr(self, f"_{request.kind.name.lower()}")
        answer: Answer = verb(fields, request.body)
        return answer

    def _live(self, key: bytes) -> Entry | None:
        entry = self.entries.get(key)
        if entry is not None and entry.left is not None and entry.left <= 0:
            del self.entries[key]
            return None
        return entry

    def _store_one(self, key: bytes, data: bytes, flags: int, ttl: float | None) -> int:
        self._counter += 1
        version = (self.map.ring_version << 40) + self._counter
        self.entries[key] = Entry(data, flags, ttl, version)
        return version

    def _get(self, fields: Any, body: bytes) -> Answer:
        found = [self._live(key) for key in fields.keys]
        sizes = tuple(-1 if e is None else len(e.data) for e in found)
        flags = bytes(0 if e is None else e.flags for e in found)
        metas: tuple[Any, ...] = ()
        if fields.meta:
            metas = (
                tuple(0 if e is None else e.version for e in found),
                tuple(None if e is None else e.left for e in found),
                bytes(len(found)),
            )
        datas = b"".join(e.data for e in found if e is not None)
        return Status.OK, Values(sizes, flags, *metas), datas

    def _store(self, fields: Store, body: bytes) -> Answer:
        at, versions = 0, []
        for i, key in enumerate(fields.keys):
            data = body[at : at + fields.sizes[i]]
            at += fields.sizes[i]
            ttl = fields.ttls[i if len(fields.ttls) > 1 else 0]
            old = self._live(key)
            allowed = {
                Mode.SET: True,
                Mode.ADD: old is None,
                Mode.REPLACE: old is not None,
                Mode.CAS: old is not None and old.version == (fields.versions or (0,))[0],
            }[Mode(fields.mode)]
            versions.append(self._store_one(key, data, fields.flags[i], ttl) if allowed else 0)
        return Status.OK, Stored(tuple(versions)), b""

    def _delete(self, fields: Any, body: bytes) -> Answer:
        found = []
        for key in fields.keys:
            entry = self._live(key)
            is_it = entry is not None and fields.version in (None, entry.version)
            found.append(is_it)
            if is_it:
                del self.entries[key]
        return Status.OK, Flags(tuple(found)), b""

    def _incr(self, fields: Incr, body: bytes) -> Answer:
        entry = self._live(fields.key)
        if entry is None:
            if fields.initial is None:
                return Status.OK, Counter(False, True, 0, 0), b""
            version = self._store_one(fields.key, b"%d" % fields.initial, INT, fields.ttl)
            return Status.OK, Counter(True, True, fields.initial, version), b""
        if entry.flags != INT:
            return Status.OK, Counter(True, False, 0, 0), b""
        value = int(entry.data) + fields.delta
        ttl = entry.left if fields.keep_ttl else fields.ttl
        version = self._store_one(fields.key, b"%d" % value, INT, ttl)
        return Status.OK, Counter(True, True, value, version), b""

    def _touch(self, fields: Any, body: bytes) -> Answer:
        entries = [self._live(key) for key in fields.keys]
        for entry in entries:
            if entry is not None:
                entry.expires = None if fields.ttl is None else time.monotonic() + fields.ttl
        return Status.OK, Flags(tuple(e is not None for e in entries)), b""

    def _peek(self, fields: Any, body: bytes) -> Answer:
        entries = [self._live(key) for key in fields.keys]
        versions = tuple(0 if e is None else e.version for e in entries)
        return (
            Status.OK,
            Peeked(versions, tuple(None if e is None else e.left for e in entries)),
            b"",
        )

    def _bucket(self, prefix: bytes, cursor: int) -> tuple[list[bytes], int]:
        """The keys of the next 64 buckets."""
        wanted = range(cursor, cursor + 64)
        keys = [k for k in list(self.entries) if k.startswith(prefix) and self._live(k)]
        here = [k for k in keys if slot_of(k) >> 6 in wanted]
        return here, cursor + 64 if cursor + 64 < 256 else -1

    def _scan(self, fields: Scan, body: bytes) -> Answer:
        return (
            Status.OK,
            Page(*(lambda k, c: (tuple(k), c))(*self._bucket(fields.prefix, fields.cursor))),
            b"",
        )

    def _delete_prefix(self, fields: DeletePrefix, body: bytes) -> Answer:
        keys, cursor = self._bucket(fields.prefix, fields.cursor)
        for key in keys:
            del self.entries[key]
        return Status.OK, Count(len(keys), cursor), b""

    def _status(self) -> dict[str, Any]:
        figures = {"bytes": 1, "capacity_bytes": 2, "hits": 3, "misses": 4}
        tiers = [{"tier": t, "entries": len(self.entries), **figures} for t in ("hot", "warm")]
        return {"id": self.id, "tiers": tiers}


class FakeCluster:
    """Nodes n1..nN that share one map; `change` commits a new one everywhere."""

    def __init__(self, size: int = 3, skew_ms: int = 0) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.nodes = {f"n{i + 1}": FakeNode(self.context, skew_ms=skew_ms) for i in range(size)}
        for name, node in self.nodes.items():
            node.id = name
        members = tuple(Member(n, node.address, incarnation="a") for n, node in self.nodes.items())
        self.map = TierMap("c1", 10, 10, members, "d10")
        for node in self.nodes.values():
            node.map, node.router = self.map, Router(self.map)
            node.start()

    def __getitem__(self, node: str) -> FakeNode:
        return self.nodes[node]

    @property
    def address(self) -> str:
        return ",".join(node.address for node in self.nodes.values())

    def owner(self, wire: bytes) -> str:
        return Router(self.map).owner_of(wire) or ""

    def key_of(self, node: str, start: int = 0) -> str:
        """A key (of the empty namespace) that this node owns."""
        return next(f"key{i}" for i in range(start, 10_000) if self.owner(b"\0key%d" % i) == node)

    def change(self, node: str, push: bool = True, ring: bool = True, **fields: Any) -> None:
        """Commit a change of one member; nodes whose thread has ended do not hear of it."""
        members = tuple(replace(m, **fields) if m.id == node else m for m in self.map.members)
        version = self.map.version + 1
        self.map = TierMap(
            "c1", version, version if ring else self.map.ring_version, members, f"d{version}"
        )
        for fake in self.nodes.values():
            if fake._thread.is_alive() and not fake.is_frozen:
                fake.use_map(self.map, push)

    def down(self, node: str, push: bool = True) -> None:
        self.change(node, push, state=NodeState.DOWN)

    def stop(self) -> None:
        for node in self.nodes.values():
            node.stop()
        self.context.term()
