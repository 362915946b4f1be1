"""What the shard tells about itself and the map: HELLO, STATUS, EVENTS, and its counters."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import cbor2

from tiercluster.cluster.codec import no_common
from tiercluster.cluster.wire import (
    OLDEST_VERSION,
    VERSION,
    EventList,
    EventsQuery,
    Hello,
    Refusal,
    Report,
    Request,
    Result,
    Status,
    Welcome,
)
from tiercluster.tiermap import LEVEL, TIERS, MapState, TierMap, encode_event, encode_map

from .messages import ShardStats, StandingKnown
from .settings import NodeSettings

LONGEST_CALL_S = 60.0  # how long a write without a deadline is remembered


class Desk:
    """The shard's answers that touch no entry."""

    def __init__(self, settings: NodeSettings, token: str, now: float) -> None:
        self._settings = settings
        self._token = token
        self._state = MapState()
        self._map_at = self._started = now
        self.standing = StandingKnown(None, False, bool(not settings.join), "starting")
        self.counters: Counter[str] = Counter()

    def use_state(self, state: MapState, now: float) -> TierMap:
        self._state, self._map_at = state, now
        return state.map

    def count(self, name: str) -> None:
        self.counters[name] += 1

    def count_refused(self, status: Status) -> None:
        self.counters[f"refused_{status.name.lower()}"] += 1

    def counted(self, stats: ShardStats) -> ShardStats:
        """With what was counted here, too."""
        return replace(stats, counters=(*stats.counters, *sorted(self.counters.items())))

    def answer(self, request: Request) -> tuple[Status, Result]:
        """HELLO and EVENTS."""
        match request.fields:
            case Hello(oldest, newest):
                return self._welcome(oldest, newest)
            case EventsQuery(since):
                events = (e for e in self._state.events if e.version > since)
                return Status.OK, EventList(tuple(map(encode_event, events)))
            case _:
                return Status.BAD_REQUEST, Refusal(f"no answer to {request.kind.name}")

    def _welcome(self, oldest: int, newest: int) -> tuple[Status, Result]:
        protocol = min(newest, VERSION)
        if protocol < max(oldest, OLDEST_VERSION):
            return Status.BAD_REQUEST, Refusal(no_common(oldest, newest, "this node"))
        me = self._state.map.member(self._settings.id)
        incarnation = me.incarnation if me else self._token
        return Status.OK, Welcome(
            self._settings.id, incarnation, protocol, encode_map(self._state.map, protocol)
        )

    def report(self, stats: ShardStats, serving: bool, reason: str, now: float) -> Result:
        """STATUS: plain values, measured here."""
        tiers = [
            {"tier": str(tier), "entries": s.entries, "bytes": s.bytes,
             "capacity_bytes": s.capacity_bytes, "hits": s.hits, "misses": s.misses,
             "breaker": breaker}
            for tier, s, breaker in zip(TIERS, stats.tiers, stats.breakers, strict=True)
        ]  # fmt: skip
        standing, stats = self.standing, self.counted(stats)
        return Report(cbor2.dumps({
            "id": self._settings.id, "pid": os.getpid(), "incarnation": self._token,
            "version": self._state.map.version, "ring_version": self._state.map.ring_version,
            "digest": self._state.map.digest, "cluster": self._state.map.cluster,
            "speaks": LEVEL, "level": self._state.map.level, "replicas": self._state.map.replicas,
            "leader": standing.leader, "quorum": standing.quorum, "voting": standing.voting,
            "note": standing.note, "serving": serving, "serving_reason": reason,
            "map_age_s": round(now - self._map_at, 3), "uptime_s": round(now - self._started, 3),
            "tiers": tiers, "counters": dict(stats.counters),
            "digest_mismatches": standing.digest_mismatches,
            "allows_faults": self._settings.allow_faults,
            "on_quorum_loss": self._settings.on_quorum_loss,
            "write_ack": self._settings.write_ack,
        }))  # fmt: skip
