"""What members are heard to speak, when the level may rise, and what a join says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.node.test_coordinator import LEADS, World, join
from tiercluster.node.levels import PeerLevels, level_to_join, raise_desire
from tiercluster.node.membership import Membership
from tiercluster.node.messages import LevelHeard
from tiercluster.node.settings import NodeSettings
from tiercluster.tiermap import (
    LEVEL,
    LevelRaised,
    MapState,
    Member,
    NodeJoined,
    NodeState,
    TierMap,
    apply,
)

SETTINGS = NodeSettings(id="n1", replicas=3)


def members(*nodes: str, level: int = 1) -> TierMap:
    found = tuple(Member(n, "a:1", incarnation=f"{n}-p#1", level=level) for n in nodes)
    return TierMap("c", 4, 4, found, "d")


def with_state(tier_map: TierMap, node: str, state: NodeState) -> TierMap:
    found = tuple(replace(m, state=state) if m.id == node else m for m in tier_map.members)
    return replace(tier_map, members=found)


THREE = members("n1", "n2", "n3")


@pytest.fixture
def levels() -> PeerLevels:
    levels = PeerLevels("n1")
    levels.heard("n2", "n2-p#1", 2)
    return levels


def test_who_has_not_said_what_it_speaks_is_asked(levels: PeerLevels) -> None:
    assert levels.to_ask(THREE) == ["n3"]
    assert levels.all_heard(THREE) is None
    levels.heard("n3", "n3-p#1", 2)
    assert levels.to_ask(THREE) == []
    assert levels.all_heard(THREE) == LevelHeard("d", 2)


def test_nobody_is_asked_once_the_level_is_ours(levels: PeerLevels) -> None:
    tier_map = members("n1", "n2", "n3", level=LEVEL)
    assert levels.to_ask(tier_map) == []
    levels.heard("n3", "n3-p#1", LEVEL)
    assert levels.all_heard(tier_map) is None


def test_the_lowest_counts_and_nothing_is_said_of_what_the_map_has(levels: PeerLevels) -> None:
    levels.heard("n3", "n3-p#1", 1)
    assert levels.all_heard(THREE) is None


def test_what_an_earlier_process_said_does_not_count(levels: PeerLevels) -> None:
    levels.heard("n3", "another#4", 2)
    assert levels.to_ask(THREE) == ["n3"]
    assert levels.all_heard(THREE) is None
    levels.heard("n3", "n3-p#2", 2)
    assert levels.all_heard(THREE) is not None, "the process is what has software"


def test_a_member_that_is_down_keeps_the_level_and_one_that_left_does_not(
    levels: PeerLevels,
) -> None:
    levels.heard("n3", "n3-p#1", 2)
    assert levels.all_heard(with_state(THREE, "n3", NodeState.DOWN)) is None
    assert PeerLevels("n1").all_heard(with_state(members("n1", "n3"), "n3", NodeState.LEFT))


def test_a_cluster_of_one_hears_nobody_and_may_rise() -> None:
    assert PeerLevels("n1").all_heard(members("n1")) == LevelHeard("d", LEVEL)
    assert PeerLevels("n1").all_heard(TierMap()) is None


def test_newer_software_than_ours_raises_to_ours(levels: PeerLevels) -> None:
    levels.heard("n2", "n2-p#1", 7)
    levels.heard("n3", "n3-p#1", 9)
    assert levels.all_heard(THREE) == LevelHeard("d", LEVEL)


def test_the_raise_is_wanted_while_that_map_stands_and_a_majority_of_voters_goes_along() -> None:
    heard = LevelHeard("d", 2)
    (desire,) = raise_desire(THREE, heard, 2, SETTINGS)
    assert desire.command == LevelRaised(id="", by="n1", level=2, map_digest="d", replicas=3)
    assert raise_desire(THREE, None, 2, SETTINGS) == []
    assert raise_desire(replace(THREE, digest="e"), heard, 2, SETTINGS) == []
    assert raise_desire(THREE, heard, 1, SETTINGS) == []


@pytest.mark.parametrize(
    ("tier_map", "voters", "level"),
    [
        (TierMap(), 1, 1),
        (TierMap(), 2, 2),
        (THREE, 2, 1),
        (members("n1", level=2), 1, 2),
        (members("n1", level=9), 9, LEVEL),
    ],
)
def test_a_join_says_what_everybody_can_read(tier_map: TierMap, voters: int, level: int) -> None:
    assert level_to_join(tier_map, voters) == level


def test_a_join_carries_level_and_replicas_only_where_they_can_be_read() -> None:
    def join(level: int) -> NodeJoined:
        desire = Membership(SETTINGS, "t").join_desire(TierMap(), None, level, 0.0)
        assert desire is not None
        assert isinstance(desire.command, NodeJoined)
        return desire.command

    assert (join(1).level, join(1).replicas) == (1, 2)
    assert (join(2).level, join(2).replicas) == (LEVEL, 3)


# --- all together, in the coordinator -------------------------------------------------------------


def test_a_coordinator_raises_the_level_once_all_were_heard() -> None:
    world = World(state=apply(MapState(), replace(join("n2"), level=1)))
    world.others.append("n2")
    assert world.state.map.level == 1
    world.tell(LevelHeard("of an earlier map", 2))
    world.run(1.0)
    assert world.state.map.level == 1
    world.tell(LevelHeard(world.state.map.digest, 2))
    world.run(0.1)
    assert (world.state.map.level, world.state.map.replicas) == (2, 2)
    raises = [c for c in world.proposed if isinstance(c, LevelRaised)]
    world.run(5.0)
    assert [c for c in world.proposed if isinstance(c, LevelRaised)] == raises, "once is enough"


def test_a_new_cluster_begins_at_the_level_of_its_voters() -> None:
    assert World().state.map.level == LEVEL
    older = World(leads=replace(LEADS, level=1))
    assert older.state.map.level == 1, "a majority of the voters speaks nothing newer"


def test_a_join_says_its_level_where_it_can_be_read() -> None:
    assert [m.level for m in World("n2").state.map.members] == [LEVEL, LEVEL]
    older = World(state=apply(MapState(), replace(join("n2"), level=1)))
    assert [m.level for m in older.state.map.members] == [1, 1]
