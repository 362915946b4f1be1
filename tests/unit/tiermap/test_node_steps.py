"""Every command about nodes in every state of a node, written out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tiercluster.tiermap import (
    MAX_MEMBERS,
    Admin,
    Command,
    Health,
    MapState,
    Member,
    NodeJoined,
    NodeState,
    NodeStopped,
    OutcomeCode,
    RemoveNode,
    ReportReachable,
    ReportUnreachable,
    Tier,
    TierMap,
    TierRecord,
    apply,
)


def joined(**fields: object) -> NodeJoined:
    base = NodeJoined(
        id="c",
        by="n1",
        node="n1",
        cluster="c",
        address="b:1",
        expected="i",
        incarnation="j",
        keep_cold=True,
    )
    return replace(base, **fields)  # type: ignore[arg-type]


COMMANDS: dict[str, Command] = {
    "joined": joined(),
    "joined_first": joined(expected=""),
    "joined_again": joined(expected="h", incarnation="i"),
    "joined_late": joined(expected="h"),
    "joined_elsewhere": joined(cluster="other"),
    "stopped": NodeStopped(id="c", by="n1", node="n1", incarnation="i"),
    "stopped_late": NodeStopped(id="c", by="n1", node="n1", incarnation="h"),
    "reported": ReportUnreachable(id="c", by="n2", node="n1", incarnation="i"),
    "reported_late": ReportUnreachable(id="c", by="n2", node="n1", incarnation="h"),
    "reported_itself": ReportUnreachable(id="c", by="n1", node="n1", incarnation="i"),
    "reported_by_down": ReportUnreachable(id="c", by="n9", node="n1", incarnation="i"),
    "reported_by_unknown": ReportUnreachable(id="c", by="x", node="n1", incarnation="i"),
    "withdrawn": ReportReachable(id="c", by="n3", node="n1", incarnation="i"),
    "withdrawn_late": ReportReachable(id="c", by="n3", node="n1", incarnation="h"),
    "removed": RemoveNode(id="c", by="op", node="n1"),
    "removed_by_force": RemoveNode(id="c", by="op", node="n1", force=True),
}
# n1 is in the state of the column (with incarnation i where it is known); n2 to n5 are UP, n9 is
# DOWN. "reported" stands for an UP n1 that n3 has reported. A cell: state/number of reports if
# done, otherwise the outcome.
TABLE = """
command              absent   UP       reported  DOWN     LEFT
joined               stale    UP/0     UP/0      UP/0     UP/0
joined_first         UP/0     stale    stale     stale    stale
joined_again         stale    noop     noop      stale    stale
joined_late          stale    stale    stale     stale    stale
joined_elsewhere     refused  refused  refused   refused  refused
stopped              unknown  DOWN/0   DOWN/0    noop     noop
stopped_late         unknown  stale    stale     stale    stale
reported             unknown  UP/1     UP/2      noop     noop
reported_late        unknown  stale    stale     stale    stale
reported_itself      unknown  stale    stale     noop     noop
reported_by_down     unknown  stale    stale     noop     noop
reported_by_unknown  unknown  stale    stale     noop     noop
withdrawn            unknown  noop     UP/0      noop     noop
withdrawn_late       unknown  stale    stale     stale    stale
removed              unknown  refused  refused   LEFT/0   noop
removed_by_force     unknown  LEFT/0   LEFT/0    LEFT/0   noop
"""


def cells() -> list[tuple[str, str, str]]:
    head, *rows = TABLE.strip().splitlines()
    split = [row.split() for row in rows]
    return [
        (command, column, cell)
        for command, *row in split
        for column, cell in zip(head.split()[1:], row, strict=True)
    ]


def world(*firsts: Member) -> MapState:
    others = tuple(Member(f"n{i}", f"a:{i}", incarnation=f"i{i}") for i in range(2, 6))
    down = Member("n9", "a:9", incarnation="i9", state=NodeState.DOWN)
    return MapState(TierMap("c", 40, 3, (*firsts, *others, down), "d"))


def n1(state: NodeState = NodeState.UP, **fields: object) -> Member:
    return replace(Member("n1", "a:1", incarnation="i", state=state), **fields)  # type: ignore[arg-type]


COLUMNS = {
    "absent": world(),
    "UP": world(n1()),
    "reported": world(n1(unreachable_by=("n3",))),
    "DOWN": world(n1(NodeState.DOWN)),
    "LEFT": world(n1(NodeState.LEFT)),
}


@pytest.mark.parametrize(("command", "column", "expected"), cells())
def test_every_command_in_every_state(command: str, column: str, expected: str) -> None:
    before = COLUMNS[column]
    after = apply(before, COMMANDS[command])
    outcome, member = after.outcomes[-1], after.map.member("n1")
    if "/" in expected:
        assert outcome.code is OutcomeCode.DONE, outcome
        assert member is not None
        assert f"{member.state}/{len(member.unreachable_by)}" == expected
        assert after.map.version == 41
    else:
        assert (outcome.code.value, after.map, after.events) == (expected, before.map, ())
        assert outcome.reason


def test_the_first_to_join_names_the_cluster() -> None:
    after = apply(MapState(), joined(expected="", cluster="mine"))
    assert (after.map.cluster, after.map.version, after.map.ring_version) == ("mine", 1, 1)
    (event,) = after.events
    assert (event.ref, event.from_state, event.to_state, event.reason) == (
        "n1",
        "LEFT",
        "UP",
        "joined",
    )


def test_the_first_to_join_sets_the_limit_of_the_guard() -> None:
    after = apply(MapState(), joined(expected="", max_unavailable=0.25))
    assert after.map.max_unavailable == 0.25
    assert after.outcomes[-1].reason == "n1 UP"


@pytest.mark.parametrize("cluster", ["c", ""])
def test_who_joins_later_with_another_limit_is_told_and_changes_nothing(cluster: str) -> None:
    first = joined(expected="", cluster=cluster, max_unavailable=0.25)
    second = joined(id="d", node="n2", expected="", cluster=cluster, max_unavailable=0.5)
    after = apply(apply(MapState(), first), second)
    told = "joined; the cluster's max_unavailable is 0.25; this node's 0.5 is not used"
    outcome, event = after.outcomes[-1], after.events[-1]
    assert after.map.max_unavailable == 0.25
    assert (outcome.code, outcome.reason) == (OutcomeCode.DONE, told)
    assert (event.ref, event.reason) == ("n2", told)
    back = joined(id="e", expected="j", cluster=cluster, incarnation="k", max_unavailable=1.0)
    after = apply(after, back)
    assert after.map.max_unavailable == 0.25
    assert after.outcomes[-1].reason.startswith("restarted; the cluster's max_unavailable is 0.25")


def test_a_node_that_writes_the_same_limit_with_other_digits_is_told_nothing() -> None:
    after = apply(world(n1()), joined(max_unavailable=0.33333333))
    assert (after.map.max_unavailable, after.outcomes[-1].reason) == (1 / 3, "n1 UP")


def test_members_stand_in_the_order_of_their_ids() -> None:
    state = apply(world(n1()), joined(node="n10", expected=""))
    assert [m.id for m in state.map.members] == ["n1", "n10", "n2", "n3", "n4", "n5", "n9"]


def test_a_node_comes_back_with_new_addresses_weight_and_incarnation() -> None:
    after = apply(COLUMNS["reported"], joined(raft="b:2", weight=2.5))
    member = after.map.member("n1")
    assert member is not None
    assert (member.address, member.raft, member.weight) == ("b:1", "b:2", 2.5)
    assert (member.incarnation, member.since_version, member.reason) == ("j", 41, "restarted")
    assert after.map.ring_version == 41


def test_a_restart_alone_moves_the_ring() -> None:
    after = apply(COLUMNS["UP"], joined(address="a:1"))
    assert after.map.ring_version == after.map.version == 41


GENERATIONS_AFTER_A_JOIN = [
    # state before, keep_cold, generations of hot, warm, cold from 5, 5, 5
    (NodeState.UP, True, (6, 6, 5)),
    (NodeState.UP, False, (6, 6, 6)),
    (NodeState.DOWN, True, (6, 6, 6)),
    (NodeState.DOWN, False, (6, 6, 6)),
    (NodeState.LEFT, True, (6, 6, 6)),
]


@pytest.mark.parametrize(("state", "keep", "expected"), GENERATIONS_AFTER_A_JOIN)
def test_memory_is_forgotten_and_a_disk_kept_only_if_nobody_owned_the_keys_meanwhile(
    state: NodeState, keep: bool, expected: tuple[int, ...]
) -> None:
    tiers = tuple(TierRecord(t, generation=5) for t in Tier)
    after = apply(world(n1(state, tiers=tiers)), joined(keep_cold=keep))
    assert tuple(t.generation for t in after.map.members[0].tiers) == expected


def alone(*commands: Command) -> MapState:
    state = apply(MapState(), joined(id="first", expected="", incarnation="i"))
    for command in commands:
        state = apply(state, command)
    return state


def test_a_cluster_of_one_that_stopped_keeps_its_cold_tier() -> None:
    state = alone(replace(COMMANDS["stopped"], id="stop"), joined())
    assert [t.generation for t in state.map.members[0].tiers] == [2, 2, 1]


def test_a_node_that_another_stood_in_for_forgets_its_cold_tier() -> None:
    state = alone(
        replace(COMMANDS["stopped"], id="stop"),
        joined(id="other", node="n2", expected="", incarnation="k"),
        NodeStopped(id="stop2", by="n2", node="n2", incarnation="k"),
        joined(),
    )
    assert [t.generation for t in state.map.members[0].tiers] == [2, 2, 2]


def test_a_node_that_stopped_while_another_serves_forgets_its_cold_tier() -> None:
    state = alone(
        joined(id="other", node="n2", expected="", incarnation="k"),
        replace(COMMANDS["stopped"], id="stop"),
        joined(),
    )
    assert [t.generation for t in state.map.members[0].tiers] == [2, 2, 2]


def test_of_two_that_stopped_the_last_one_keeps_its_cold_tier() -> None:
    state = alone(
        joined(id="other", node="n2", expected="", incarnation="k"),
        replace(COMMANDS["stopped"], id="stop"),
        NodeStopped(id="stop2", by="n2", node="n2", incarnation="k"),
        joined(id="back", node="n2", expected="k", incarnation="l"),
    )
    assert [t.generation for t in state.map.members[1].tiers] == [2, 2, 1]


HEALTH_AFTER_A_JOIN = [
    # tier, health before, health after a restart
    (Tier.HOT, Health.DOWN, Health.UP),
    (Tier.HOT, Health.RECOVERING, Health.UP),
    (Tier.WARM, Health.DOWN, Health.UP),
    (Tier.WARM, Health.RECOVERING, Health.UP),
    (Tier.COLD, Health.DOWN, Health.DOWN),
    (Tier.COLD, Health.RECOVERING, Health.RECOVERING),
    (Tier.COLD, Health.UP, Health.UP),
]


@pytest.mark.parametrize(("tier", "before", "after"), HEALTH_AFTER_A_JOIN)
def test_a_restart_heals_memory_but_no_disk(tier: Tier, before: Health, after: Health) -> None:
    tiers = tuple(TierRecord(t, before if t is tier else Health.UP) for t in Tier)
    state = apply(world(n1(NodeState.DOWN, tiers=tiers)), joined())
    assert state.map.members[0].tier(tier).health is after
    changed = [e.ref for e in state.events if e.ref != "n1"]
    assert changed == ([f"n1/{tier}"] if before is not after else [])


@pytest.mark.parametrize("admin", Admin)
@pytest.mark.parametrize("tier", Tier)
def test_a_drain_outlives_a_restart(tier: Tier, admin: Admin) -> None:
    tiers = tuple(TierRecord(t, admin=admin if t is tier else Admin.IN) for t in Tier)
    state = apply(world(n1(tiers=tiers)), joined())
    assert state.map.members[0].tier(tier).admin is admin


def test_who_left_and_joins_again_starts_afresh() -> None:
    tiers = tuple(TierRecord(t, Health.DOWN, Admin.OUT, generation=3) for t in Tier)
    state = apply(world(n1(NodeState.LEFT, tiers=tiers)), joined())
    assert all(t.is_usable and t.generation == 4 for t in state.map.members[0].tiers)


@pytest.mark.parametrize("tier", Tier)
def test_suspicion_ends_with_the_process(tier: Tier) -> None:
    tiers = tuple(TierRecord(t, suspect=t is tier) for t in Tier)
    state = apply(world(n1(tiers=tiers)), joined())
    assert not any(t.suspect for t in state.map.members[0].tiers)


@pytest.mark.parametrize("command", ["stopped", "removed_by_force"])
def test_who_goes_away_while_draining_is_drained(command: str) -> None:
    tiers = (
        TierRecord(Tier.HOT),
        TierRecord(Tier.WARM),
        TierRecord(Tier.COLD, admin=Admin.DRAINING),
    )
    state = apply(world(n1(tiers=tiers)), COMMANDS[command])
    assert [t.admin for t in state.map.members[0].tiers] == [Admin.IN, Admin.IN, Admin.OUT]
    assert [(e.ref, e.to_state) for e in state.events][1:] == [("n1/cold", "DRAINED")]


def test_a_full_cluster_refuses_newcomers_but_forgets_who_left_the_longest_ago() -> None:
    up = [Member(f"m{i:04}", "a:1") for i in range(MAX_MEMBERS - 2)]
    gone = [
        Member("w1", "a:1", state=NodeState.LEFT, since_version=9),
        Member("w2", "a:1", state=NodeState.LEFT, since_version=8),
    ]
    full = MapState(TierMap("c", 40, 3, (*up, *gone), "d"))
    after = apply(full, joined(expected=""))
    assert after.map.member("n1")
    assert not after.map.member("w2")
    assert len(after.map.members) == MAX_MEMBERS
    after = apply(after, joined(id="d", node="n2", expected=""))
    assert not after.map.member("w1")
    refused = apply(after, joined(id="e", node="n3", expected=""))
    assert refused.outcomes[-1].code is OutcomeCode.REFUSED
    assert refused.map == after.map


def test_a_cluster_is_told_by_the_first_node_that_ever_joined() -> None:
    first = apply(MapState(), joined(node="n1", expected="", incarnation="a#1"))
    second = apply(first, joined(id="d", node="n2", expected="", incarnation="b#1"))
    assert first.map.founded == second.map.founded == "a#1"
    anew = apply(MapState(), joined(node="n1", expected="", incarnation="z#1"))
    assert anew.map.identity != first.map.identity
    assert anew.map.cluster == first.map.cluster
