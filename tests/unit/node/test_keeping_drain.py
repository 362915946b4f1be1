"""A drain is several decisions within milliseconds: who saw only some of them keeps its copies."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

from tiercluster.node.keeping import Keeping
from tiercluster.tiermap import TIERS, Admin, Member, TierMap, TierRecord

_IN, _GOING, _OUT = Admin.IN, Admin.DRAINING, Admin.OUT
_STEPS = (  # version, ring version, and of each tier of n1: admin, since
    (4, 3, ((_IN, 0), (_IN, 0), (_IN, 0))),
    (5, 3, ((_GOING, 5), (_GOING, 5), (_GOING, 5))),
    (6, 3, ((_GOING, 5), (_OUT, 6), (_GOING, 5))),
    (7, 3, ((_OUT, 7), (_OUT, 6), (_GOING, 5))),
    (8, 8, ((_OUT, 7), (_OUT, 6), (_OUT, 8))),
)


def _map(version: int, ring: int, states: tuple[tuple[Admin, int], ...]) -> TierMap:
    records = tuple(TierRecord(tier) for tier in TIERS)
    drained = tuple(
        replace(record, admin=admin, since_version=since)
        for record, (admin, since) in zip(records, states, strict=True)
    )
    members = tuple(
        Member(node, f"h:{at}", incarnation=f"{node}#1", tiers=drained if at == 0 else records)
        for at, node in enumerate(("n1", "n2", "n3"))
    )
    return TierMap("c", version, ring, members, f"d{version}", replicas=2)


@pytest.mark.parametrize("node", ["n2", "n3"])
@pytest.mark.parametrize("seen", [m for r in range(4) for m in combinations((1, 2, 3), r)])
def test_a_node_that_saw_part_of_a_drain_keeps_its_copies(node: str, seen: tuple[int, ...]) -> None:
    maps = [_map(*step) for step in _STEPS]
    keeping = Keeping(node, node)
    keeping.use_map(maps[0])
    before, floors = keeping.table, list(keeping.floors)
    for at in (*seen, 4):
        keeping.use_map(maps[at])
    for slot, kept_by in enumerate(before):
        if kept_by[0] == "n1" and node in kept_by and keeping.owner_of(slot) == node:
            assert keeping.floors[slot] == floors[slot]
