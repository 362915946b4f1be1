"""The ring: the same everywhere, in proportion to the weights."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from tiercluster.cluster import ring as ring_module
from tiercluster.cluster.ring import SLOTS, Ring, ring_of, slot_of
from tiercluster.tiermap import Member, NodeState, TierMap

THREE = Ring([("n1", 1.0), ("n2", 1.0), ("n3", 1.0)])
UNEQUAL = Ring([("n1", 1.0), ("n2", 1.0), ("n3", 2.0)])


def test_slots_are_what_they_were_yesterday() -> None:
    # Clients of another release must compute the same; a change here strands every key.
    assert [slot_of(key) for key in (b"", b"user:1", b"user:2")] == [5314, 5377, 7170]


def test_preferences_are_what_they_were_yesterday() -> None:
    slots = (0, 1, 2, SLOTS - 1)
    assert [" ".join(THREE.preference(s)) for s in slots] == [
        "n2 n3 n1",
        "n1 n3 n2",
        "n2 n1 n3",
        "n1 n2 n3",
    ]
    assert [" ".join(UNEQUAL.preference(s)) for s in slots] == [
        "n2 n3 n1",
        "n3 n1 n2",
        "n2 n1 n3",
        "n1 n2 n3",
    ]


def test_another_process_with_another_hash_seed_computes_the_same() -> None:
    program = (
        "from tiercluster.cluster.ring import Ring\n"
        "r = Ring([('n3', 2.0), ('n1', 1.0), ('n2', 1.0)])\n"
        "print([r.preference(s) for s in range(0, 16384, 997)])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed.strip() == str([UNEQUAL.preference(s) for s in range(0, SLOTS, 997)])


@pytest.mark.parametrize("slot", [0, 1, 8191, SLOTS - 1])
def test_a_preference_names_every_node_once(slot: int) -> None:
    assert sorted(UNEQUAL.preference(slot)) == ["n1", "n2", "n3"]


@pytest.mark.parametrize(
    "weights", [(1, 1, 1), (1, 1, 2), (5, 3, 1, 1), (0.5, 0.5, 0.25), (1,) * 10]
)
def test_slots_are_shared_in_proportion_to_the_weights(weights: tuple[float, ...]) -> None:
    ring = Ring((f"n{i}", weight) for i, weight in enumerate(weights))
    owned = Counter(ring.preference(slot)[0] for slot in range(SLOTS))
    for i, weight in enumerate(weights):
        assert owned[f"n{i}"] / SLOTS == pytest.approx(weight / sum(weights), rel=0.08)


def test_the_second_choice_is_shared_in_proportion_too() -> None:
    seconds = Counter(
        THREE.preference(slot)[1] for slot in range(SLOTS) if THREE.preference(slot)[0] == "n1"
    )
    assert seconds["n2"] / seconds.total() == pytest.approx(0.5, abs=0.03)


def test_keys_spread_over_the_slots() -> None:
    slots = Counter(slot_of(f"user:{i}".encode()) >> 10 for i in range(16_000))
    assert len(slots) == 16
    assert max(slots.values()) < 1.15 * 1000


def test_equal_weights_rank_as_the_scores_would() -> None:
    almost = Ring([("n1", 1.0), ("n2", 1.0), ("n3", 1.0 + 1e-12)])
    assert all(almost.preference(s) == THREE.preference(s) for s in range(0, SLOTS, 17))


def test_the_order_in_which_nodes_are_named_does_not_matter() -> None:
    other = Ring([("n3", 2.0), ("n1", 1.0), ("n2", 1.0)])
    assert other == UNEQUAL
    assert hash(other) == hash(UNEQUAL)
    assert other.preference(5) == UNEQUAL.preference(5)


@pytest.mark.parametrize(
    "nodes", [[("n1", 1.0), ("n1", 2.0)], [("n1", 0.0)], [("n1", -1.0)], [("n1", float("nan"))]]
)
def test_a_node_twice_or_without_weight_is_refused(nodes: list[tuple[str, float]]) -> None:
    with pytest.raises(ValueError, match="ring"):
        Ring(nodes)


def test_an_empty_ring_prefers_nobody() -> None:
    assert Ring(()).preference(3) == ()


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "MAX_REMEMBERED", 30)
    ring = Ring(THREE.nodes)
    found = [ring.preference(slot) for slot in range(100)]
    assert sum(len(known or ()) for known in ring._remembered) <= 30
    assert found == [THREE.preference(slot) for slot in range(100)]


def test_the_ring_of_a_map_has_every_member_that_has_not_left() -> None:
    members = (
        Member("n1", "a:1", weight=2.0),
        Member("n2", "a:2", state=NodeState.DOWN),
        Member("n3", "a:3", state=NodeState.LEFT),
    )
    tier_map = TierMap(members=members)
    ring = ring_of(tier_map)
    assert ring.nodes == (("n1", 2.0), ("n2", 1.0))
    assert ring_of(tier_map, before=ring) is ring
    assert ring_of(TierMap(members=members[:1]), before=ring) is not ring
    assert repr(ring) == "Ring(n1*2, n2*1)"


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (1.0, 2.0, 1.0, 0.5)])
def test_the_owners_of_all_slots_are_those_of_each_preference(weights):
    ring = Ring(zip(("n1", "n2", "n3", "n4"), weights, strict=True))
    serving = {"n2", "n3"}
    expected = [next(n for n in ring.preference(s) if n in serving) for s in range(SLOTS)]
    assert ring.owners(serving) == expected
    assert ring.owners(set()) == [None] * SLOTS


def test_an_heir_answers_as_if_it_had_computed_everything_itself():
    before = Ring([("n1", 1.0), ("n2", 1.0)])
    before.owners({"n1", "n2"})
    nodes = [("n1", 1.0), ("n3", 1.0)]
    assert Ring(nodes).heir_of(before).owners({"n1", "n3"}) == Ring(nodes).owners({"n1", "n3"})
