"""A cluster in memory: real map, real machine and guard, no network; and a client of a dict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tiercluster import Item, Placement
from tiercluster.cli.session import Session
from tiercluster.cluster.errors import Refused, TierclusterError, Unavailable, UnknownRef
from tiercluster.cluster.wire import Decided
from tiercluster.tiermap import (
    LEVEL,
    Command,
    Drained,
    Event,
    MapState,
    NodeFilled,
    NodeJoined,
    NodeStopped,
    TierFailed,
    TierMap,
    TierRef,
    apply,
    outcome_of,
)

NODES = ("n1", "n2", "n3")


def joined(node: str) -> NodeJoined:
    at = int(node[1:])
    return NodeJoined(
        id=f"join-{node}",
        by=node,
        time=1000.0 + at,
        node=node,
        cluster="c1",
        address=f"127.0.0.1:{7700 + at}",
        raft=f"127.0.0.1:{7800 + at}",
        incarnation=f"{node}-a",
        level=LEVEL,
    )


def failed(ref: str, generation: int = 1) -> TierFailed:
    evidence = (("failures", 15), ("kind", "io_error"))
    return TierFailed(
        id=f"fail-{ref}",
        by=ref.partition("/")[0],
        time=2000.0,
        ref=TierRef.parse(ref),
        generation=generation,
        reason="15 of 15 operations failed: io_error",
        evidence=evidence,
    )


def drained(ref: str) -> Drained:
    parsed = TierRef.parse(ref)
    return Drained(
        id=f"drained-{ref}",
        by=parsed.node,
        node=parsed.node,
        tiers=(parsed.tier,),
        incarnation=f"{parsed.node}-a",
    )


def stopped(node: str) -> NodeStopped:
    return NodeStopped(id=f"stop-{node}", by=node, node=node, incarnation=f"{node}-a")


@dataclass
class FakeCluster:
    """``later``: commands applied one a watch, as nodes would propose them. ``silent``: nodes that
    do not answer. ``trouble``: what every admin call raises."""

    state: MapState = field(default_factory=MapState)
    later: list[Command] = field(default_factory=list)
    silent: set[str] = field(default_factory=set)
    trouble: TierclusterError | None = None
    trouble_of_proposals: TierclusterError | None = None
    said: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[tuple[Any, ...]] = field(default_factory=list)
    allows_faults: bool = True
    probe_answer: dict[str, Any] = field(default_factory=lambda: {"ok": True, "took_ms": 2.0})
    lagging: list[TierMap] = field(default_factory=list)  # what members tell first
    on_watch: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        for node in NODES:
            self.apply(joined(node))

    @property
    def map(self) -> TierMap:
        return self.state.map

    def apply(self, command: Command) -> None:
        """Nodes hold nothing, so that they have at once what they are to own."""
        self.state = apply(self.state, command)
        for member in self.map.members:
            if member.fills:
                name, stint = f"filled {member.incarnation}@{self.map.version}", member.incarnation
                filled = NodeFilled(id=name, by=member.id, node=member.id, incarnation=stint,
                                    known=self.map.version)  # fmt: skip
                self.state = apply(self.state, filled)

    def status_dict(self, node: str) -> dict[str, Any]:
        tiers = [
            {"tier": tier, "entries": 10, "bytes": 2048, "capacity_bytes": 2**20, "hits": 30,
             "misses": 10, "breaker": "closed"}
            for tier in ("hot", "warm", "cold")
        ]  # fmt: skip
        told = {
            "id": node, "version": self.map.version, "ring_version": self.map.ring_version,
            "leader": "n1", "quorum": True, "voting": True, "note": "", "serving": True,
            "serving_reason": "", "map_age_s": 0.5, "uptime_s": 60.0, "tiers": tiers,
            "counters": {}, "pid": 1, "digest": self.map.digest,
            "allows_faults": self.allows_faults,
        }  # fmt: skip
        return told | self.said.get(node, {})


class FakeAdmin:
    """The calls of `tiercluster.cluster.admin.Admin`."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster

    def _check(self) -> None:
        if self._cluster.trouble is not None:
            raise self._cluster.trouble

    def hello(self) -> TierMap:
        self._check()
        lagging = self._cluster.lagging
        return lagging.pop(0) if lagging else self._cluster.map

    def propose(self, command: Command) -> Decided:
        self._check()
        if self._cluster.trouble_of_proposals is not None:
            raise self._cluster.trouble_of_proposals
        self._cluster.apply(command)
        outcome = outcome_of(self._cluster.state, command.id)
        assert outcome is not None
        return Decided(str(outcome.code), outcome.reason, outcome.version)

    def status_of(self, address: str) -> dict[str, Any] | None:
        found = next((m.id for m in self._cluster.map.members if m.address == address), None)
        if found is None or found in self._cluster.silent:
            return None
        return self._cluster.status_dict(found)

    def events(self, since: int) -> list[Event]:
        self._check()
        return [event for event in self._cluster.state.events if event.version > since]

    def fault(
        self, node: str, tier: str, kind: str, ms: float, rate: float, for_ms: float = 0.0
    ) -> None:
        if not self._cluster.allows_faults:
            raise Refused(f"{node} runs without --allow-faults")
        self._cluster.faults.append((node, tier, kind, ms, rate, for_ms))

    def node_fault(
        self, node: str, kind: str, for_ms: float = 0.0, peers: Iterable[str] = ()
    ) -> None:
        if not self._cluster.allows_faults:
            raise Refused(f"{node} runs without --allow-faults")
        self._cluster.faults.append((node, kind, for_ms, tuple(peers)))

    def probe(self, node: str, tier: str) -> dict[str, Any]:
        if self._cluster.map.member(node) is None:
            raise UnknownRef(f"{node}/{tier}")
        return dict(self._cluster.probe_answer)

    def watch(self, version: int, timeout: float) -> TierMap:
        self._check()
        self._cluster.on_watch()
        if self._cluster.later:
            self._cluster.apply(self._cluster.later.pop(0))
        return self._cluster.map

    def close(self) -> None:
        pass


class FakeClient:
    """The calls of `tiercluster.Client` that the commands make."""

    def __init__(self, store: dict[str, Any], trouble: Exception | None = None) -> None:
        self.store = store
        self.ttls: dict[str, float | None] = {}
        self.trouble = trouble
        self.full = False

    def _check(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def get(self, key: str, default: Any = None) -> Any:
        self._check()
        return self.store.get(key, default)

    def gets(self, key: str) -> Item[Any] | None:
        self._check()
        if key not in self.store:
            return None
        return Item(self.store[key], 7, self.ttls.get(key), "hot", "n1", False)

    def get_many(self, keys: list[str]) -> dict[str, Any]:
        self._check()
        return {key: self.store[key] for key in keys if key in self.store}

    def set(self, key: str, value: Any, ttl: float | None = None) -> bool:
        self._check()
        if self.full:
            return False
        self.store[key], self.ttls[key] = value, ttl
        return True

    def set_many(self, mapping: dict[str, Any], ttl: float | None = None) -> list[str]:
        return [key for key, value in mapping.items() if not self.set(key, value, ttl)]

    def delete(self, key: str) -> bool:
        self._check()
        return self.store.pop(key, self) is not self

    def clear(self) -> int:
        count = len(self.store)
        self.store.clear()
        return count

    def explain(self, key: str) -> Placement:
        self._check()
        tiers = {"hot": "n2/hot", "warm": "n2/warm", "cold": "n3/cold"}
        return Placement("n2", ("n2", "n3", "n1"), tiers, 9, {"n2/cold": "DOWN: io_error"})

    def close(self) -> None:
        pass


def session(cluster: FakeCluster | None = None, client: FakeClient | None = None) -> Session:
    """A session that reaches these instead of a network."""
    opened: list[Any] = [cluster or FakeCluster(), client or FakeClient({})]

    @contextmanager
    def admin(_: Session) -> Iterator[FakeAdmin]:
        yield FakeAdmin(opened[0])

    @contextmanager
    def make_client(_s: Session, _namespace: str, _timeout: float) -> Iterator[FakeClient]:
        yield opened[1]

    return replace(Session(), make_admin=admin, make_client=make_client)


UNREACHABLE = Unavailable("no member answers at 127.0.0.1:7701")
