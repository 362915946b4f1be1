"""What a node says it has kept without a gap, against all maps there were, of which it saw some."""

from __future__ import annotations

from copy import copy
from itertools import pairwise

from copy_maps import STEPS, Step, begun
from hypothesis import given, settings
from hypothesis import strategies as st

from tiercluster.cluster.holders import holders_of
from tiercluster.cluster.ring import ring_of
from tiercluster.node.keeping import NOBODYS, Keeping
from tiercluster.tiermap import TierMap

ME = "n1"
SLOTS = range(0, 16384, 500)
Tables = list[dict[int, tuple[str, ...]]]


@settings(max_examples=25)
@given(st.integers(1, 3), st.lists(st.tuples(STEPS, st.booleans()), min_size=8, max_size=14))
def test_what_was_kept_without_a_gap_was_kept_in_every_map(
    replicas: int, plan: list[tuple[Step, bool]]
) -> None:
    history = begun(replicas)
    seen = [0]
    for step, is_seen in plan:
        history.take(step)
        if is_seen and seen[-1] < len(history.maps) - 1:
            seen.append(len(history.maps) - 1)
    check(history.maps, seen)


def check(maps: list[TierMap], seen: list[int]) -> None:
    tables = [{s: holders_of(ring_of(m), m, s) for s in SLOTS} for m in maps]
    keeping, snapshots = Keeping(ME, "boot"), []
    for index in seen:
        keeping.use_map(maps[index])
        snapshots.append((index, keeping.era, copy(keeping.floors)))
        for slot in SLOTS:
            assert keeping.table[slot] == (tables[index][slot] if ours(maps[index]) else ())
            assert (keeping.floors[slot] != NOBODYS) == (ME in keeping.table[slot])
    for at, (early, era, floors) in enumerate(snapshots):
        for late, _, floors_then in snapshots[at + 1 :]:
            for slot in SLOTS:
                # What was stored then is visible now.
                if floors[slot] != NOBODYS and floors_then[slot] <= era:
                    stretch = [i for i in seen if early <= i <= late]
                    check_kept(maps, tables, stretch, slot)


def ours(tier_map: TierMap) -> bool:
    me = tier_map.member(ME)
    return me is not None and (me.serves or me.fills)


def check_kept(maps: list[TierMap], tables: Tables, stretch: list[int], slot: int) -> None:
    for first, last in pairwise(stretch):
        before, after = tables[first][slot], tables[last][slot]
        assert maps[first].member(ME).incarnation == maps[last].member(ME).incarnation  # type: ignore[union-attr]
        if before[0] == after[0] == ME:
            continue  # nobody else served before this node had confirmed it
        between = [tables[i][slot] for i in range(first, last + 1)]
        assert all(ME in kept_by for kept_by in between), (slot, between)
        if ME not in (before[0], after[0]) and before[0] != after[0]:
            # The new owner did not keep it beside this node, for the owner that was before.
            assert not any(after[0] in kept_by for kept_by in between[:-1]), (slot, between)
