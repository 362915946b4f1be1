"""Requests to the nodes that stand in for our cold tier: bounded, each with a deadline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xxhash import xxh3_64_intdigest

from tiercluster.cluster.ring import SLOT_MASK, Ring, ring_of
from tiercluster.cluster.routing import failover_cold
from tiercluster.cluster.wire import Fields, Kind, Reply, Status
from tiercluster.tiermap import NodeState, Tier, TierMap

from .effects import Effects, ToPeer

MAX_ASKED = 64  # requests under way
MAX_BYTES = 16 * 2**20  # of values under way
SHED_PAUSE_S = 0.25  # nothing is sent to be kept after the other node has refused it
REMOTE_TTL_S = 300.0  # the longest that another node keeps an entry for us

Finish = Callable[[Reply | None, float], None]


@dataclass(slots=True)
class _Asked:
    finish: Finish
    due: float
    size: int


class PeerBook:
    """``finish`` is called exactly once, with None for a peer that failed or was late."""

    def __init__(self, node: str, deadline_s: float, effects: Effects) -> None:
        self._node = node
        self._deadline_s = deadline_s
        self._effects = effects
        self._asked: dict[int, _Asked] = {}
        self._bytes = 0
        self._token = 0
        self._map = TierMap()
        self._ring: Ring = Ring(())
        self._paused: dict[str, float] = {}  # nodes that shed, until when
        self.failures = 0
        self.refusals = 0  # of entries that another node was to keep: by it, or for its sake

    def use_map(self, tier_map: TierMap) -> None:
        self._ring = ring_of(tier_map, self._ring)
        self._map = tier_map

    def stand_in(self, key: bytes) -> str:
        """The node whose cold tier stands in for ours; "" for none."""
        slot = xxh3_64_intdigest(key) & SLOT_MASK
        ref = failover_cold(self._ring, self._map, slot, self._node)
        return ref.node if ref is not None and ref.node != self._node else ""

    def has_cold(self, node: str) -> bool:
        """Whether what the node keeps for us may be had."""
        member = self._map.member(node)
        if member is None or member.state is not NodeState.UP:
            return False
        return member.tier(Tier.COLD).is_readable

    def ask(
        self, node: str, kind: Kind, fields: Fields, body: bytes, finish: Finish, now: float
    ) -> bool:
        """False, and ``finish`` is not called, if too much is under way, or for an entry that the
        node was to keep if it has just refused one."""
        if kind is Kind.COLD_PUT:
            if now < self._paused.get(node, now):
                self.refusals += 1
                return False
            finish = self._watched(node, finish)
        if len(self._asked) >= MAX_ASKED or self._bytes + len(body) > MAX_BYTES:
            return False
        self._token += 1
        self._asked[self._token] = _Asked(finish, now + self._deadline_s, len(body))
        self._bytes += len(body)
        self._effects.waiting.append(ToPeer(node, kind, fields, body, self._token))
        return True

    def _watched(self, node: str, finish: Finish) -> Finish:
        def watched(reply: Reply | None, now: float) -> None:
            if reply is not None and reply.status is Status.SHED:
                self.refusals += 1
                self._paused[node] = now + SHED_PAUSE_S
            finish(reply, now)

        return watched

    def answered(self, token: int, reply: Reply | None, now: float) -> None:
        asked = self._asked.pop(token, None)
        if asked is None:
            return
        self._bytes -= asked.size
        self.failures += reply is None
        asked.finish(reply, now)

    def tick(self, now: float) -> None:
        self._paused = {node: until for node, until in self._paused.items() if now < until}
        late = [token for token, asked in self._asked.items() if asked.due <= now]
        for token in late:
            self.answered(token, None, now)
