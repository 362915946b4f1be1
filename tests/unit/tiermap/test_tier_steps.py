"""Every command about tiers in every state of a tier, written out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tiercluster.tiermap import (
    TIERS,
    Admin,
    Command,
    Drain,
    Drained,
    Health,
    MapState,
    Member,
    NodeState,
    OutcomeCode,
    Restore,
    Tier,
    TierFailed,
    TierMap,
    TierRecord,
    TierRecovered,
    TierRecovering,
    TierRef,
    apply,
)

REF = TierRef("n1", Tier.COLD)
COMMANDS: dict[str, Command] = {
    "failed": TierFailed(id="c", by="n1", ref=REF, generation=7, reason="EIO"),
    "probed": TierRecovering(id="c", by="n1", ref=REF, generation=7),
    "recovered": TierRecovered(id="c", by="n1", ref=REF, generation=7),
    "kept": TierRecovered(id="c", by="n1", ref=REF, generation=7, keep=True),
    "drain": Drain(id="c", by="op", node="n1", tiers=(Tier.COLD,)),
    "drained": Drained(id="c", by="n1", node="n1", tiers=(Tier.COLD,), incarnation="i"),
    "restore": Restore(id="c", by="op", node="n1", tiers=(Tier.COLD,)),
}

# The tier is at generation 7. A cell is the outcome; where it is done, health/admin/generation.
ON_A_NODE_THAT_IS_UP = """
state                failed      probed             recovered      kept           drain            drained           restore
UP/IN                DOWN/IN/7   stale              noop           noop           UP/DRAINING/7    stale             noop
UP/DRAINING          DOWN/OUT/7  stale              noop           noop           noop             UP/OUT/7          UP/IN/7
UP/OUT               DOWN/OUT/7  stale              noop           noop           noop             noop              RECOVERING/IN/8
DOWN/IN              noop        RECOVERING/IN/7    UP/IN/8        UP/IN/7        DOWN/OUT/7       stale             RECOVERING/IN/7
DOWN/OUT             noop        RECOVERING/OUT/7   UP/OUT/8       UP/OUT/7       noop             noop              RECOVERING/IN/8
RECOVERING/IN        DOWN/IN/7   noop               UP/IN/8        UP/IN/7        RECOVERING/OUT/7 stale             noop
RECOVERING/OUT       DOWN/OUT/7  noop               UP/OUT/8       UP/OUT/7       noop             noop              RECOVERING/IN/8
"""  # noqa: E501
# Draining goes with health UP on a node that is UP, and with nothing else (see test_map_rules).
ON_A_NODE_THAT_IS_DOWN = """
state                failed      probed             recovered      kept           drain            drained           restore
UP/IN                DOWN/IN/7   stale              noop           noop           UP/OUT/7         stale             noop
UP/OUT               DOWN/OUT/7  stale              noop           noop           noop             noop              RECOVERING/IN/8
DOWN/IN              noop        RECOVERING/IN/7    UP/IN/8        UP/IN/7        DOWN/OUT/7       stale             RECOVERING/IN/7
DOWN/OUT             noop        RECOVERING/OUT/7   UP/OUT/8       UP/OUT/7       noop             noop              RECOVERING/IN/8
RECOVERING/IN        DOWN/IN/7   noop               UP/IN/8        UP/IN/7        RECOVERING/OUT/7 stale             noop
RECOVERING/OUT       DOWN/OUT/7  noop               UP/OUT/8       UP/OUT/7       noop             noop              RECOVERING/IN/8
"""  # noqa: E501


def cells(table: str) -> list[tuple[str, str, str]]:
    head, *rows = table.strip().splitlines()
    names = head.split()[1:]
    split = [row.split() for row in rows]
    return [
        (state, name, cell) for state, *row in split for name, cell in zip(names, row, strict=True)
    ]


def world(record: TierRecord, node: NodeState = NodeState.UP) -> MapState:
    """n1 with this cold tier, and n2, n3 in good health."""
    tiers = (TierRecord(Tier.HOT), TierRecord(Tier.WARM), record)
    members = (
        Member("n1", "a:1", incarnation="i", state=node, tiers=tiers),
        Member("n2", "a:2"),
        Member("n3", "a:3"),
    )
    return MapState(TierMap("c", 40, 3, members, "d"))


def tier_in(state: str, **fields: object) -> TierRecord:
    health, admin = state.split("/")
    record = TierRecord(Tier.COLD, Health(health), Admin(admin), generation=7)
    return replace(record, **fields)  # type: ignore[arg-type]


def result(state: MapState) -> str:
    outcome = state.outcomes[-1]
    if outcome.code is not OutcomeCode.DONE:
        return outcome.code.value
    record = state.map.record(REF)
    assert record is not None
    return f"{record.health}/{record.admin}/{record.generation}"


@pytest.mark.parametrize(("state", "command", "expected"), cells(ON_A_NODE_THAT_IS_UP))
def test_on_a_node_that_is_up(state: str, command: str, expected: str) -> None:
    before = world(tier_in(state))
    after = apply(before, COMMANDS[command])
    assert result(after) == expected
    assert after.map.version == (41 if "/" in expected else 40)
    assert (after.map == before.map) == ("/" not in expected)


@pytest.mark.parametrize(("state", "command", "expected"), cells(ON_A_NODE_THAT_IS_DOWN))
def test_on_a_node_that_is_down(state: str, command: str, expected: str) -> None:
    assert result(apply(world(tier_in(state), NodeState.DOWN), COMMANDS[command])) == expected


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("state", ["UP/IN", "DOWN/IN", "UP/OUT"])
def test_a_node_that_has_left_is_past_all_of_them(state: str, command: str) -> None:
    before = world(tier_in(state), NodeState.LEFT)
    after = apply(before, COMMANDS[command])
    assert (result(after), after.map) == ("stale", before.map)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_node_that_nobody_knows_is_an_outcome_of_its_own(command: str) -> None:
    after = apply(MapState(), COMMANDS[command])
    assert (result(after), after.map) == ("unknown", TierMap())


@pytest.mark.parametrize("command", ["failed", "probed", "recovered", "kept"])
@pytest.mark.parametrize("generation", [6, 8])
@pytest.mark.parametrize("state", ["UP/IN", "DOWN/IN", "RECOVERING/IN", "UP/DRAINING"])
def test_a_command_about_another_generation_is_stale(
    state: str, generation: int, command: str
) -> None:
    before = world(tier_in(state, generation=generation))
    after = apply(before, COMMANDS[command])
    assert (result(after), after.map) == ("stale", before.map)
    assert after.outcomes[-1].reason == f"n1/cold is at generation {generation}"


def test_a_drain_reported_by_an_earlier_incarnation_is_stale() -> None:
    late = replace(COMMANDS["drained"], incarnation="h")  # type: ignore[call-arg]
    assert result(apply(world(tier_in("UP/DRAINING")), late)) == "stale"


def test_a_failure_is_stamped_with_version_proposer_reason_and_evidence() -> None:
    command = replace(COMMANDS["failed"], time=12.5, evidence=(("failures", 5),))  # type: ignore[call-arg]
    after = apply(world(tier_in("UP/IN")), command)
    record = after.map.record(REF)
    assert record is not None
    assert (record.since_version, record.by, record.reason) == (41, "n1", "EIO")
    assert record.evidence == (("failures", 5),)
    (event,) = after.events
    assert (event.version, event.time, event.ref) == (41, 12.5, "n1/cold")
    assert (event.from_state, event.to_state) == ("UP", "DOWN")
    assert (event.by, event.reason, event.evidence) == ("n1", "EIO", (("failures", 5),))
    assert after.outcomes[-1].reason == "n1/cold DOWN"


def test_the_other_tiers_and_members_stay_as_they_were() -> None:
    before = world(tier_in("UP/IN"))
    after = apply(before, COMMANDS["failed"])
    assert after.map.members[1:] == before.map.members[1:]
    assert after.map.members[0].tiers[:2] == before.map.members[0].tiers[:2]


def test_a_drain_of_all_tiers_is_one_version_with_an_event_each() -> None:
    after = apply(world(tier_in("UP/IN")), Drain(id="c", by="op", node="n1", tiers=TIERS))
    assert [(e.version, e.ref, e.to_state) for e in after.events] == [
        (41, "n1/hot", "DRAINING"),
        (41, "n1/warm", "DRAINING"),
        (41, "n1/cold", "DRAINING"),
    ]


def test_a_drain_moves_on_the_tiers_that_are_not_drained_yet() -> None:
    after = apply(world(tier_in("UP/OUT")), Drain(id="c", by="op", node="n1", tiers=TIERS))
    assert [e.ref for e in after.events] == ["n1/hot", "n1/warm"]


@pytest.mark.parametrize("command", [Drain, Restore])
def test_naming_no_tier_does_nothing(command: type[Drain] | type[Restore]) -> None:
    after = apply(world(tier_in("UP/IN")), command(id="c", by="op", node="n1", tiers=()))
    assert result(after) == "noop"


def test_a_failure_refused_by_the_guard_marks_the_tier_suspect_once() -> None:
    first = apply(world(tier_in("DOWN/IN")), failure_of_n2("a"))
    record = first.map.record(TierRef("n2", Tier.COLD))
    assert record is not None
    assert (record.health, record.suspect, first.map.version) == (Health.UP, True, 41)
    assert record.reason == (
        "refused by the guard: 1 of 3 cold tiers is already out (n1/cold); max_unavailable allows 1"
    )
    (event,) = first.events
    assert (event.ref, event.from_state, event.to_state) == ("n2/cold", "UP", "UP")
    assert event.reason == record.reason
    again = apply(first, replace(failure_of_n2("b"), evidence=(("failures", 9),)))
    assert again.outcomes[-1].code is OutcomeCode.REFUSED
    assert (again.map, again.events) == (first.map, first.events)


def test_a_suspect_that_fails_when_there_is_room_again_goes_down() -> None:
    suspected = apply(world(tier_in("DOWN/IN")), failure_of_n2("a"))
    roomy = apply(suspected, COMMANDS["kept"])
    record = apply(roomy, failure_of_n2("b")).map.record(TierRef("n2", Tier.COLD))
    assert record is not None
    assert (record.health, record.suspect) == (Health.DOWN, False)


@pytest.mark.parametrize(("keep", "generation"), [(True, 1), (False, 2)])
def test_a_suspect_that_recovers_is_cleared(keep: bool, generation: int) -> None:
    suspected = apply(world(tier_in("DOWN/IN")), failure_of_n2("a"))
    ref = TierRef("n2", Tier.COLD)
    after = apply(suspected, TierRecovered(id="r", by="n2", ref=ref, generation=1, keep=keep))
    record = after.map.record(ref)
    assert record is not None
    assert (record.suspect, record.health, record.generation) == (False, Health.UP, generation)
    assert after.events[-1].reason.startswith("probes succeeded")


@pytest.mark.parametrize(("admin", "is_suspect"), [(Admin.OUT, False), (Admin.DRAINING, True)])
def test_a_restore_clears_suspicion_only_if_probes_follow(admin: Admin, is_suspect: bool) -> None:
    before = world(tier_in(f"UP/{admin}", suspect=True))
    record = apply(before, COMMANDS["restore"]).map.record(REF)
    assert record is not None
    assert record.suspect is is_suspect


def test_a_drain_past_the_guard_is_refused_unless_forced() -> None:
    before = world(tier_in("DOWN/IN"))
    wish = Drain(id="c", by="op", node="n2", tiers=TIERS)
    after = apply(before, wish)
    assert (after.outcomes[-1].code, after.map) == (OutcomeCode.REFUSED, before.map)
    assert after.outcomes[-1].reason.startswith("refused by the guard: 1 of 3 cold tiers")
    forced = apply(before, replace(wish, force=True))
    assert all(t.admin is Admin.DRAINING for t in forced.map.members[1].tiers)


@pytest.mark.parametrize(("share", "code"), [(0.3, OutcomeCode.REFUSED), (0.7, OutcomeCode.DONE)])
def test_the_share_in_the_map_decides(share: float, code: OutcomeCode) -> None:
    before = world(tier_in("DOWN/IN"))
    before = replace(before, map=replace(before.map, max_unavailable=share))
    for command in (failure_of_n2("a"), Drain(id="d", by="op", node="n2", tiers=(Tier.COLD,))):
        after = apply(before, command)
        assert after.outcomes[-1].code is code
        assert after.map.max_unavailable == share


def failure_of_n2(command_id: str) -> TierFailed:
    ref = TierRef("n2", Tier.COLD)
    return TierFailed(id=command_id, by="n2", ref=ref, generation=1, reason="EIO")
