"""The auditor of copies finds a staleness bug, and nothing where there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tiercluster.node.placing import Placing

from .copies import Copies
from .plan import plan_of
from .world import World

SEED = 2  # a world of three nodes


def audited(seed: int) -> tuple[int, int]:
    """Copies looked at, and found stale, in a world in which nothing fails."""
    world = World(seed, plan=replace(plan_of(seed), nodes=3, fault_every_s=1e6, rough_s=8.0))
    world.run()
    auditors: list[Any] = [node.front._shard._auditor for node in world.nodes if node.front]
    return sum(a.checked for a in auditors), sum(a.stale for a in auditors)


def test_copies_are_what_their_owners_have() -> None:
    checked, stale = audited(SEED)
    assert checked > 50
    assert stale == 0


def test_a_node_that_keeps_what_it_had_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    keep = Placing.keep

    def forgets(self: Placing, key: bytes, *args: Any) -> None:
        if self._holdings.directory.get(key) is None:
            keep(self, key, *args)

    monkeypatch.setattr(Placing, "keep", forgets)
    # Which would find it at once.
    for judge in ("looked_at", "_judge", "_judge_keepers", "compare"):
        monkeypatch.setattr(Copies, judge, lambda *told: None)
    assert audited(SEED)[1] > 0
