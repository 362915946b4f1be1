"""What a node wants the map to say about copies."""

from __future__ import annotations

from dataclasses import replace

from tiercluster.node.copywatch import (
    CALM_S,
    FILL_PATIENCE_S,
    LONGEST_AFTER_S,
    TOGETHER_AFTER_S,
    CopyWatch,
)
from tiercluster.node.messages import ShardTurn
from tiercluster.tiermap import (
    Command,
    CopiesApart,
    CopiesTogether,
    Member,
    NodeFilled,
    NodeState,
    TierMap,
)

N1, N2, N3 = (Member(f"n{i}", "a:1", incarnation=f"i{i}") for i in (1, 2, 3))
FILLING = replace(N1, filling=True)
APART = replace(N2, apart=("n1",))


def map_of(*members: Member, replicas: int = 2) -> TierMap:
    return TierMap("c", 1, 1, members, replicas=replicas)


def turn(at: float, *unreachable: str, whole: bool = False) -> ShardTurn:
    return ShardTurn(at, frozenset(), 1, whole, frozenset(unreachable))


def wanted(watch: CopyWatch, tier_map: TierMap, now: float, stint: str = "i1") -> list[Command]:
    return [desire.command for desire in watch.desires(tier_map, stint, now)]


def test_a_node_that_fills_serves_when_all_is_here() -> None:
    watch, tier_map = CopyWatch("n1"), map_of(FILLING, N2, N3)
    watch.shard_turned(turn(1.0))
    assert wanted(watch, tier_map, 1.0) == []
    watch.shard_turned(turn(2.0, whole=True))
    [filled] = wanted(watch, tier_map, 2.0)
    assert isinstance(filled, NodeFilled)
    assert (filled.node, filled.incarnation, filled.evidence) == ("n1", "i1", (("whole", 1),))
    assert wanted(watch, map_of(N1, N2, N3), 3.0) == []


def test_a_node_that_cannot_be_filled_serves_with_what_it_has_in_the_end() -> None:
    watch, tier_map = CopyWatch("n1"), map_of(FILLING, N2, N3)
    watch.shard_turned(turn(10.0))
    assert wanted(watch, tier_map, 10.0) == []
    assert wanted(watch, tier_map, 10.0 + FILL_PATIENCE_S) == []
    [filled] = wanted(watch, tier_map, 10.1 + FILL_PATIENCE_S)
    assert isinstance(filled, NodeFilled)
    assert filled.evidence == (("whole", 0),)


def test_the_patience_begins_anew_with_each_stint() -> None:
    watch = CopyWatch("n1")
    wanted(watch, map_of(FILLING, N2, N3), 10.0)
    anew = map_of(replace(FILLING, incarnation="i1b"), N2, N3)
    assert wanted(watch, anew, 11.0 + FILL_PATIENCE_S, "i1b") == []


def test_who_confirms_nothing_is_to_be_apart_and_together_again_after_a_while_without_silence() -> (
    None
):
    watch = CopyWatch("n1")
    watch.shard_turned(turn(5.0, "n2"))
    [apart] = wanted(watch, map_of(N1, N2, N3), 5.0)
    assert isinstance(apart, CopiesApart)
    assert (apart.node, apart.incarnation, apart.by, apart.by_incarnation) == (
        "n2", "i2", "n1", "i1",
    )  # fmt: skip
    assert wanted(watch, map_of(N1, APART, N3), 5.1) == []
    watch.shard_turned(turn(6.0))
    assert wanted(watch, map_of(N1, APART, N3), 5.0 + TOGETHER_AFTER_S) == []
    [together] = wanted(watch, map_of(N1, APART, N3), 5.1 + TOGETHER_AFTER_S)
    assert isinstance(together, CopiesTogether)
    watch.shard_turned(turn(6.2, "n2"))
    assert wanted(watch, map_of(N1, APART, N3), 6.2) == []
    assert wanted(watch, map_of(N1, N2, N3), 6.3) != []


def quiet_until_together(watch: CopyWatch, at: float) -> float:
    """How long after the last silence, at ``at``, n2 is to be together again; seconds."""
    watch.shard_turned(turn(at, "n2"))
    wanted(watch, map_of(N1, N2, N3), at)
    watch.shard_turned(turn(at + 0.01))
    waits = [0.25 * i for i in range(1, 400)]
    found = next(w for w in waits if wanted(watch, map_of(N1, APART, N3), at + w))
    wanted(watch, map_of(N1, N2, N3), at + found)
    return found


def test_a_peer_that_comes_and_goes_waits_longer_each_time_until_it_has_been_calm() -> None:
    watch, at, waits = CopyWatch("n1"), 5.0, []
    for _ in range(8):
        waits.append(quiet_until_together(watch, at) - 0.25)
        at += 100.0
    assert waits == [TOGETHER_AFTER_S * 2**i for i in range(6)] + [LONGEST_AFTER_S] * 2
    wanted(watch, map_of(N1, N2, N3), at + CALM_S)
    assert quiet_until_together(watch, at + CALM_S) - 0.25 == TOGETHER_AFTER_S


def test_of_others_grudges_and_of_who_is_out_it_says_nothing() -> None:
    watch = CopyWatch("n1")
    watch.shard_turned(turn(5.0, "n2"))
    assert wanted(watch, map_of(N1, replace(N2, state=NodeState.DOWN), N3), 5.0) == []
    assert wanted(watch, map_of(N1, N2, replace(N3, apart=("n2",))), 9.0) != []
    other = replace(N3, apart=("n2",))
    assert [c.node for c in wanted(watch, map_of(N1, N2, other), 9.0)] == ["n2"]  # type: ignore[union-attr]


def test_without_copies_or_as_another_stint_it_wants_nothing() -> None:
    watch = CopyWatch("n1")
    watch.shard_turned(turn(5.0, "n2", whole=True))
    assert wanted(watch, map_of(FILLING, N2, N3, replicas=1), 5.0) == []
    assert wanted(watch, map_of(FILLING, N2, N3), 5.0, "i1b") == []
    assert wanted(watch, map_of(N2, N3), 5.0) == []
