"""The keys of a game day: chosen by their owner, and enough of them for a tier to have work."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import count, islice

from tiercluster.checks import INF, Op
from tiercluster.cluster.routing import Router
from tiercluster.cluster.wire import wire_key
from tiercluster.tiermap import TierMap

from .gameday_traffic import TTL_S
from .session import ClientDoor

VALUE_BYTES = 16 * 2**10
BATCH = 32  # values in one call at most: half a MiB
BATCHES = 128  # at least, for all: a tier that is given much of its size at once drops what it has
SAMPLE, ENOUGH = 4000, 300  # keys looked at, and found, to keep a tier busy
FILLER = -1  # the client number of what fills
CONTENDED = "contended"  # begins the keys that several write


def keys_on(
    tier_map: TierMap, namespace: str, prefix: str, nodes: Collection[str] = ()
) -> Iterator[str]:
    """Keys that these nodes own, without end; no nodes, or none that own any: any keys."""
    router, space = Router(tier_map), namespace.encode()
    nodes = [m.id for m in tier_map.members if m.id in nodes and m.serves]
    for number in count():
        key = f"{prefix}{number}"
        if not nodes or router.owner_of(wire_key(space, key.encode())) in nodes:
            yield key


def mixed_keys(
    tier_map: TierMap, namespace: str, prefix: str, nodes: Collection[str], total: int
) -> list[str]:
    """Half of them on these nodes, the others anywhere."""
    on_them = keys_on(tier_map, namespace, f"{prefix}there-", nodes)
    anywhere = keys_on(tier_map, namespace, f"{prefix}any-")
    return [*islice(on_them, total // 2), *islice(anywhere, total - total // 2)]


@dataclass(slots=True)
class Filling:
    """What was written so that a tier has work: ``numbers`` by key, and the calls that wrote."""

    numbers: dict[str, int] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)

    def pour(self, client: ClientDoor, keys: Iterator[str], size_bytes: int) -> None:
        """Write so many bytes of values that cannot be compressed."""
        left = max(1, size_bytes // VALUE_BYTES)
        at_once = max(1, min(BATCH, left // BATCHES))
        while left > 0:
            batch = list(islice(keys, min(at_once, left)))
            self._store(client, batch)
            left -= len(batch)

    def _store(self, client: ClientDoor, keys: list[str]) -> None:
        pad, began = random.randbytes(VALUE_BYTES), time.monotonic()
        refused = set(client.set_many({key: [1, pad] for key in keys}, TTL_S))
        ended = time.monotonic()
        for key in keys:
            self.numbers[key] = 1
            until = INF if key in refused else ended
            self.ops.append(Op(FILLER, key, "w", 1, None, began, until))

    def found_in(self, client: ClientDoor, tier: str) -> list[str]:
        """Some keys whose value this tier holds now: reading them gives it work. What was written
        first has come down furthest."""
        oldest = islice(list(self.numbers), SAMPLE)
        there = (key for key in oldest if (item := client.gets(key)) and item.tier == tier)
        return list(islice(there, ENOUGH))

    def went_on(self, ops: list[Op]) -> None:
        """What later traffic wrote to these keys."""
        self.ops += [op for op in ops if op.f != "r" and op.key in self.numbers]
