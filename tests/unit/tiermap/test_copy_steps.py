"""What the commands about copies make of the map."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tiercluster.tiermap import (
    Command,
    CopiesApart,
    CopiesTogether,
    MapState,
    Member,
    NodeFilled,
    NodeJoined,
    NodeState,
    NodeStopped,
    OutcomeCode,
    RemoveNode,
    apply,
)


def joined(node: str, stint: str = "i1", expected: str = "") -> NodeJoined:
    return NodeJoined(id=f"j-{node}-{stint}", by=node, node=node, cluster="c", address="a:1",
                      incarnation=stint, expected=expected, level=2, replicas=2)  # fmt: skip


def cluster(*commands: Command, count: int = 3) -> MapState:
    """n1 to n``count`` have joined, one after the other, and filled."""
    state = MapState()
    for i in range(1, count + 1):
        state = apply(state, joined(f"n{i}"))
        state = apply(
            state, NodeFilled(id=f"f{i}", by=f"n{i}", node=f"n{i}", incarnation="i1", known=99)
        )
    for command in commands:
        state = apply(state, command)
    return state


def apart(node: str = "n2", by: str = "n1", **fields: object) -> CopiesApart:
    base = CopiesApart(id=f"a-{node}-{by}", by=by, node=node, incarnation="i1", by_incarnation="i1")
    return replace(base, **fields)  # type: ignore[arg-type]


def together(node: str = "n2", by: str = "n1", **fields: object) -> CopiesTogether:
    base = CopiesTogether(id=f"t-{node}-{by}", by=by, node=node, incarnation="i1",
                          by_incarnation="i1")  # fmt: skip
    return replace(base, **fields)  # type: ignore[arg-type]


def member(state: MapState, node: str) -> Member:
    found = state.map.member(node)
    assert found is not None
    return found


def code(state: MapState) -> OutcomeCode:
    return state.outcomes[-1].code


# --- filling --------------------------------------------------------------------------------------


def test_the_third_that_comes_fills_before_it_serves() -> None:
    state = apply(apply(MapState(), joined("n1")), joined("n2"))
    assert all(m.serves for m in state.map.members)
    state = apply(state, joined("n3"))
    assert (member(state, "n3").fills, member(state, "n3").serves) == (True, False)
    ring = state.map.ring_version
    filled = apply(state, NodeFilled(id="f", by="n3", node="n3", incarnation="i1", known=99))
    assert (code(filled), member(filled, "n3").serves) == (OutcomeCode.DONE, True)
    assert filled.map.ring_version == filled.map.version > ring


def test_a_member_that_starts_anew_fills_anew_even_if_it_was_up() -> None:
    state = cluster(joined("n2", "i2", "i1"))
    assert member(state, "n2").fills


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (NodeFilled(id="f", by="n9", node="n9", incarnation="i1", known=99), OutcomeCode.UNKNOWN),
        (NodeFilled(id="f", by="n2", node="n2", incarnation="i0", known=99), OutcomeCode.STALE),
        (NodeFilled(id="f", by="n2", node="n2", incarnation="i1", known=99), OutcomeCode.NOOP),
    ],
)
def test_who_is_another_or_serves_already_is_not_filled(
    command: NodeFilled, expected: OutcomeCode
) -> None:
    before = cluster()
    after = apply(before, command)
    assert (code(after), after.map) == (expected, before.map)


def test_a_node_that_was_called_apart_while_it_said_so_has_not_all_that_it_will_own() -> None:
    state = cluster(joined("n2", "i2", "i1"))
    known = state.map.version
    state = apply(state, replace(apart(node="n2", by="n1"), incarnation="i2"))
    late = NodeFilled(id="late", by="n2", node="n2", incarnation="i2", known=known)
    refused = apply(state, late)
    assert (code(refused), member(refused, "n2").fills) == (OutcomeCode.STALE, True)
    state = apply(state, replace(together(node="n2", by="n1"), incarnation="i2"))
    assert code(apply(state, replace(late, id="later"))) == OutcomeCode.STALE
    anew = replace(late, id="anew", known=state.map.version)
    assert member(apply(state, anew), "n2").serves


def test_where_nobody_is_left_who_serves_all_who_fill_do() -> None:
    state = cluster(joined("n2", "i2", "i1"), joined("n3", "i2", "i1"))
    assert [m.fills for m in state.map.members] == [False, True, True]
    state = apply(state, NodeStopped(id="s", by="n1", node="n1", incarnation="i1"))
    assert [m.serves for m in state.map.members] == [False, True, True]
    assert not any(m.filling for m in state.map.members)


def test_the_first_of_a_cluster_that_was_all_down_serves_at_once() -> None:
    stops = [NodeStopped(id=f"s{i}", by="op", node=f"n{i}", incarnation="i1") for i in (1, 2, 3)]
    state = cluster(*stops, joined("n2", "i2", "i1"))
    assert member(state, "n2").serves
    state = apply(state, joined("n1", "i2", "i1"))
    assert member(state, "n1").fills


def test_with_too_few_members_for_copies_nobody_fills_and_nobody_is_apart() -> None:
    state = cluster(apart(), joined("n3", "i2", "i1"))
    assert member(state, "n3").fills
    assert member(state, "n2").apart == ("n1",)
    stop = NodeStopped(id="s", by="op", node="n3", incarnation="i2")
    state = apply(apply(state, stop), RemoveNode(id="r", by="op", node="n3"))
    assert state.map.copies == 1
    assert not any(m.filling or m.apart for m in state.map.members)


# --- apart ----------------------------------------------------------------------------------------


def test_who_confirms_no_writes_is_apart_until_it_does() -> None:
    state = cluster(apart())
    since = state.map.version
    assert (member(state, "n2").apart, member(state, "n2").apart_version) == (("n1",), since)
    state = apply(state, apart(by="n3"))
    assert member(state, "n2").apart == ("n1", "n3")
    assert member(state, "n2").apart_version == since + 1
    state = apply(state, together())
    assert member(state, "n2").apart == ("n3",)
    assert member(state, "n2").apart_version == since + 1
    assert state.map.ring_version < since


@pytest.mark.parametrize(
    "command",
    [
        apart(node="n9"), apart(by="n9"), apart(by=""), apart(node="n1"),
        apart(incarnation="i0"), apart(by_incarnation="i0"),
        together(node="n9"), together(by="n9"), together(node="n1"),
        together(incarnation="i0"), together(by_incarnation="i0"),
    ],
)  # fmt: skip
def test_what_is_about_others_than_those_of_the_map_is_stale(command: Command) -> None:
    before = cluster()
    after = apply(before, command)
    assert (code(after), after.map) == (OutcomeCode.STALE, before.map)


def test_where_nobody_keeps_copies_nobody_comes_to_be_apart() -> None:
    before = cluster(count=2)
    after = apply(before, apart())
    assert (code(after), after.map) == (OutcomeCode.STALE, before.map)


def test_what_is_so_already_changes_nothing() -> None:
    state = cluster(apart())
    again = apply(state, apart(id="again"))
    assert (code(again), again.map) == (OutcomeCode.NOOP, state.map)
    other = apply(state, together(by="n3"))
    assert (code(other), other.map) == (OutcomeCode.NOOP, state.map)


@pytest.mark.parametrize("who", ["n1", "n2"])
def test_a_new_stint_of_one_of_the_two_is_not_apart(who: str) -> None:
    state = cluster(apart(), joined(who, "i2", "i1"))
    assert member(state, "n2").apart == ()


def test_an_owner_that_has_left_keeps_nobody_apart() -> None:
    state = cluster(apart(by="n4"), RemoveNode(id="r", by="op", node="n4", force=True), count=4)
    assert member(state, "n4").state is NodeState.LEFT
    assert member(state, "n2").apart == ()


def test_a_cluster_of_level_1_knows_nothing_of_this() -> None:
    state = MapState()
    for i in (1, 2, 3):
        state = apply(state, replace(joined(f"n{i}"), level=1))
    before = state
    assert before.map.copies == 1
    for command in (
        apart(),
        together(),
        NodeFilled(id="f", by="n1", node="n1", incarnation="i1", known=99),
    ):
        assert apply(before, command) == before
