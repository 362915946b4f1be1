"""The level of a map: how it rises, what is above it, and what is written at which version."""

from __future__ import annotations

from dataclasses import replace

import cbor2
import pytest

from tiercluster.tiermap import (
    LEVEL,
    Barrier,
    Command,
    LevelRaised,
    MapState,
    Member,
    NodeJoined,
    NodeState,
    OutcomeCode,
    TierMap,
    apply,
    decode_command,
    decode_delta,
    decode_map,
    decode_state,
    diff,
    encode_command,
    encode_delta,
    encode_map,
    encode_state,
)


def joined(node: str = "n1", **fields: object) -> NodeJoined:
    base = NodeJoined(
        id=f"j-{node}", by=node, node=node, cluster="c", address="a:1", incarnation="i"
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def of_levels(*levels: int, state: NodeState = NodeState.UP) -> MapState:
    members = tuple(
        Member(f"n{i}", "a:1", incarnation="i", level=level, state=state)
        for i, level in enumerate(levels, 1)
    )
    replicas = 2 if levels and min(levels) > 1 else 0
    return MapState(TierMap("c", 5, 5, members, "d", replicas=replicas))


def raised(state: MapState, **fields: object) -> LevelRaised:
    command = LevelRaised(id="r", by="n1", level=2, map_digest=state.map.digest, replicas=3)
    return replace(command, **fields)  # type: ignore[arg-type]


def last(state: MapState) -> tuple[OutcomeCode, str]:
    return state.outcomes[-1].code, state.outcomes[-1].reason


# --- what a map's level is ------------------------------------------------------------------------


@pytest.mark.parametrize(("levels", "level"), [((), 1), ((1,), 1), ((2, 1), 1), ((2, 3), 2)])
def test_the_level_is_the_lowest_of_the_members(levels: tuple[int, ...], level: int) -> None:
    assert of_levels(*levels).map.level == level


def test_a_member_that_is_down_counts_and_one_that_left_does_not() -> None:
    state = of_levels(2, 1)
    down, left = (
        replace(state.map, members=(state.map.members[0], replace(state.map.members[1], state=out)))
        for out in (NodeState.DOWN, NodeState.LEFT)
    )
    assert (down.level, left.level) == (1, 2)


def test_a_map_that_all_have_left_keeps_its_level() -> None:
    assert of_levels(1, 2, state=NodeState.LEFT).map.level == 2
    assert of_levels(1, 1, state=NodeState.LEFT).map.level == 1


# --- how it rises ---------------------------------------------------------------------------------


def test_the_first_member_brings_its_level_and_its_replicas() -> None:
    after = apply(MapState(), joined(level=2, replicas=3)).map
    assert (after.level, after.replicas, after.version) == (2, 3, 1)


def test_a_first_member_of_level_one_brings_no_replicas() -> None:
    after = apply(MapState(), joined()).map
    assert (after.level, after.replicas) == (1, 0)


def test_a_later_member_is_told_that_its_replicas_are_not_used() -> None:
    state = apply(of_levels(2, 2), joined("n3", level=2, replicas=3))
    told = "joined; the cluster's replicas is 2; this node's 3 is not used"
    assert state.map.member("n3").reason == told  # type: ignore[union-attr]
    assert (last(state), state.map.replicas) == ((OutcomeCode.DONE, told), 2)


def test_whoever_speaks_less_is_refused_and_told_what_to_do() -> None:
    before = of_levels(2, 2)
    state = apply(before, joined("n3"))
    told = "this cluster runs at level 2; this node speaks 1: upgrade it"
    assert (last(state), state.map) == ((OutcomeCode.REFUSED, told), before.map)


def test_a_raise_lifts_all_members_that_have_not_left_and_brings_the_replicas() -> None:
    state = of_levels(1, 1, 1)
    gone = replace(state.map.members[2], state=NodeState.LEFT)
    state = replace(state, map=replace(state.map, members=(*state.map.members[:2], gone)))
    after = apply(state, raised(state))
    assert [m.level for m in after.map.members] == [2, 2, 1]
    assert (after.map.level, after.map.replicas, after.map.version) == (2, 3, 6)
    assert after.map.ring_version == 5, "who may own keys has not changed"
    assert after.map.digest != state.map.digest
    assert last(after) == (OutcomeCode.DONE, "the cluster runs at level 2")


def test_a_raise_does_not_change_replicas_that_are_agreed() -> None:
    state = of_levels(2, 2)
    after = apply(state, raised(state, level=3))
    assert (after.map.level, after.map.replicas) == (3, 2)


def test_a_second_raise_is_too_late() -> None:
    state = of_levels(1)
    once = apply(state, raised(state))
    twice = apply(once, raised(state, id="r2"))
    assert last(twice) == (OutcomeCode.NOOP, "the cluster runs at level 2 already")
    assert twice.map == once.map


# --- what is above it is passed over --------------------------------------------------------------


def with_one_down() -> MapState:
    state = of_levels(1, 1)
    first, second = state.map.members
    members = (first, replace(second, state=NodeState.DOWN))
    return replace(state, map=replace(state.map, members=members))


@pytest.mark.parametrize(
    ("before", "command"),
    [
        (of_levels(1, 1), raised(of_levels(1, 1), map_digest="other")),
        (with_one_down(), raised(with_one_down())),
        (MapState(), raised(MapState())),
        (of_levels(1, 1), joined("n3", level=2)),
        (of_levels(1, 1), joined("n3", replicas=3)),
        (of_levels(1, 1, state=NodeState.LEFT), joined("n3", level=2)),
        (of_levels(1, state=NodeState.LEFT), raised(of_levels(1, state=NodeState.LEFT))),
    ],
    ids=[
        "another map",
        "a member is DOWN",
        "no member",
        "a join",
        "a join with replicas",
        "a join where all have left",
        "all have left",
    ],
)
def test_what_the_map_s_level_cannot_read_leaves_no_trace(
    before: MapState, command: Command
) -> None:
    assert apply(before, command) is before


# --- what is written ------------------------------------------------------------------------------


def version_in(frame: bytes) -> int:
    version = cbor2.loads(frame)[0]
    assert isinstance(version, int)
    return version


@pytest.mark.parametrize(
    ("command", "version"),
    [
        (Barrier(id="b", by="n1"), 1),
        (joined(), 1),
        (joined(level=2), 2),
        (joined(replicas=3), 2),
        (raised(of_levels(1)), 2),
    ],
)
def test_a_command_is_written_in_the_lowest_version_that_can_say_it(
    command: Command, version: int
) -> None:
    frame = encode_command(command)
    assert version_in(frame) == version
    assert decode_command(frame) == command


def test_a_join_for_members_of_level_one_says_nothing_of_levels() -> None:
    frame = encode_command(joined(level=2, replicas=3), newest=1)
    assert frame == encode_command(joined())


def test_what_level_one_has_no_word_for_cannot_be_written_for_it() -> None:
    with pytest.raises(ValueError, match="level_raised cannot be said in version 1"):
        encode_command(raised(of_levels(1)), newest=1)


def test_a_command_that_an_older_version_can_say_is_not_read_in_a_newer_one() -> None:
    # Members that do not know the newer one would pass it over, and the rest would carry it out.
    fields = cbor2.loads(encode_command(Barrier(id="b", by="n1")))
    with pytest.raises(ValueError, match="a command in version 2 that 1 can say"):
        decode_command(cbor2.dumps([2, *fields[1:]]))


@pytest.mark.parametrize(("levels", "version"), [((), 1), ((1, 1), 1), ((2, 2), 2)])
def test_maps_and_snapshots_are_written_in_the_lowest_version_too(
    levels: tuple[int, ...], version: int
) -> None:
    state = of_levels(*levels)
    delta = diff(MapState().map, state.map)
    frames = encode_map(state.map), encode_state(state), encode_delta(delta)
    assert [version_in(frame) for frame in frames] == [version] * 3
    assert decode_map(frames[0]) == state.map
    assert decode_state(frames[1]) == state
    assert decode_delta(frames[2]) == delta


def test_a_reader_of_version_one_gets_what_it_can_know_of() -> None:
    new = of_levels(2, 2).map
    known = replace(new, replicas=0, members=tuple(replace(m, level=1) for m in new.members))
    assert decode_map(encode_map(new, newest=1)) == known
    assert encode_map(new, newest=1) == encode_map(known)
    delta = decode_delta(encode_delta(diff(TierMap(), new), newest=1))
    assert delta == diff(TierMap(), known)


@pytest.mark.parametrize("fields", [{"level": 0}, {"level": 1001}, {"replicas": 4, "level": 2}])
def test_a_level_or_replicas_out_of_range_are_not_written(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="a whole number from"):
        encode_command(joined(**fields))


def test_this_software_speaks_the_newest_codec() -> None:
    assert version_in(encode_map(of_levels(LEVEL, LEVEL).map)) == LEVEL
