"""Game days: what is refused, what is planned, what is done, and what the verdict is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tiercluster.checks import INF, Op
from tiercluster.cli import gameday_run
from tiercluster.cli.demo_view import Teller
from tiercluster.cli.gameday_keys import keys_on, mixed_keys
from tiercluster.cli.gameday_plan import SCENARIOS, Plan, Spot, Wish, make_plan
from tiercluster.cli.gameday_report import Report, longest_refusal
from tiercluster.cli.gameday_run import GameDay
from tiercluster.cli.main import cli
from tiercluster.cli.view import View
from tiercluster.cluster.routing import Router
from tiercluster.cluster.wire import wire_key

from .conftest import Run
from .fakes import NODES, UNREACHABLE, FakeCluster, failed, stopped
from .gameday_world import Rehearsal

DURATION_S = 0.2


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gameday_run, "BEFORE_S", 0.1)
    monkeypatch.setattr(gameday_run, "AFTER_S", 0.1)
    monkeypatch.setattr("tiercluster.cli.gameday_traffic.PACE_S", 0.001)
    monkeypatch.setattr("tiercluster.cli.gameday_plan.FILL_MARGIN", 32 * 2**10)


# --- refused ------------------------------------------------------------------------------------


def refused(run: Run, *flags: str) -> str:
    """The reason; nothing was done, whether it was meant or only tried out."""
    ran = run("gameday", "--yes", *flags)
    assert (ran.code, ran.out) == (6, "")
    dry = run("gameday", "--dry-run", *flags)
    assert (dry.code, dry.err) == (ran.code, ran.err)
    return ran.err


def test_a_node_without_allow_faults_is_refused(run: Run, cluster: FakeCluster) -> None:
    cluster.said = {"n2": {"allows_faults": False}}
    assert "n2 was started without --allow-faults" in refused(run, "--target", "n2/cold")
    cluster.allows_faults = False
    cluster.said = {}
    assert "no node was started with --allow-faults" in refused(run)
    assert cluster.faults == []


def test_a_cluster_that_is_not_well_is_left_alone(run: Run, cluster: FakeCluster) -> None:
    cluster.apply(failed("n3/warm"))
    assert "n3/warm is DOWN" in refused(run, "--target", "n2")
    assert cluster.faults == []


def test_a_node_that_is_down_is_named(run: Run, cluster: FakeCluster) -> None:
    cluster.apply(stopped("n3"))
    assert "n3 is DOWN" in refused(run, "--target", "n2")


def test_a_node_that_does_not_answer_is_named(run: Run, cluster: FakeCluster) -> None:
    cluster.silent = {"n3"}
    assert "n3 does not answer" in refused(run, "--target", "n2")


def test_without_a_quorum_nothing_is_broken(run: Run, cluster: FakeCluster) -> None:
    cluster.said = {node: {"quorum": False} for node in NODES}
    assert "there is no quorum" in refused(run)


def test_more_than_the_blast_radius_is_refused(run: Run) -> None:
    told = refused(run, "--target", "n1", "--target", "n2")
    assert "n1, n2 are 2 nodes: the blast radius is 1" in told


def test_what_the_guard_would_refuse_is_refused(run: Run) -> None:
    two = ("--target", "n1", "--target", "n2", "--blast-radius", "2")
    assert "max_unavailable allows 1" in refused(run, *two)


def test_a_loss_of_the_quorum_is_refused(cluster: FakeCluster) -> None:
    alone = replace(cluster.map, members=cluster.map.members[:2], max_unavailable=1.0)
    view = View(alone, {node: cluster.status_dict(node) for node in ("n1", "n2")})
    with pytest.raises(Exception, match="1 of 2 voters would be left, which is no quorum"):
        make_plan(view, wish("freeze", "n2"))


def test_too_much_to_fill_is_refused(run: Run, cluster: FakeCluster) -> None:
    assert "must be written to n2" in refused(run, "--target", "n2/cold", "--fill", "1MiB")
    assert run("gameday", "--dry-run", "--target", "n2/hot", "--fill", "1MiB").code == 0


@pytest.mark.parametrize("given", [None, b"n\n", b"\n"])
def test_without_a_yes_nothing_is_touched(
    run: Run, cluster: FakeCluster, given: bytes | None
) -> None:
    ran = run("gameday", stdin=given)
    assert ran.code == 6
    assert "nothing was touched" in ran.err
    assert cluster.faults == []


def test_no_member_reachable_is_3(run: Run, cluster: FakeCluster) -> None:
    cluster.trouble = UNREACHABLE
    assert run("gameday", "--yes").code == 3


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--target", "n9"), 4),
        (("--target", "n2/cool"), 2),
        (("--target", "n2/cold", "--scenario", "kill"), 2),
        (("--scenario", "fire"), 2),
        (("--duration", "0"), 2),
        (("--duration", "61"), 2),
        (("--duration", "nan"), 2),
        (("--blast-radius", "0"), 2),
        (("--fill", "much"), 2),
    ],
)
def test_wrong_usage_is_told_in_one_line(run: Run, flags: tuple[str, ...], code: int) -> None:
    ran = run("gameday", "--yes", *flags)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.count("\n") == 1


# --- planned ------------------------------------------------------------------------------------


def wish(scenario: str, *targets: str, duration_s: float = DURATION_S) -> Wish:
    spots = tuple(map(Spot.parse, targets))
    return Wish((scenario,), spots, duration_s, max(1, len(targets)), 2**30, "gameday-test")


def test_a_dry_run_prints_the_plan_and_does_nothing(run: Run, cluster: FakeCluster) -> None:
    ran = run("gameday", "--dry-run", "--scenario", "all", "--target", "n2")
    assert (ran.code, ran.err) == (0, "")
    assert "blast radius 1 node of 3" in ran.out
    assert "touched      n2" in ran.out
    assert "not touched  n1, n3" in ran.out
    assert all(f"  {name} " in ran.out for name in SCENARIOS)
    assert cluster.faults == []


def test_the_plan_as_a_document(run: Run) -> None:
    flags = ("--scenario", "eio", "--scenario", "freeze", "--target", "n2", "--duration", "3")
    document = run("gameday", "--dry-run", "--json", *flags).json
    assert document["scenarios"] == [
        {"scenario": "eio", "targets": ["n2/cold"]},
        {"scenario": "freeze", "targets": ["n2"]},
    ]
    assert (document["touched"], document["not_touched"]) == (["n2"], ["n1", "n3"])
    assert (document["duration_s"], document["blast_radius"]) == (3.0, 1)
    assert document["fill_bytes"] == {"n2": 2 * (2**20 - 2048) + 32 * 2**10}


def test_all_of_a_tier_are_the_faults_of_tiers(run: Run) -> None:
    document = run("gameday", "--dry-run", "--json", "--scenario", "all", "--target", "n2/hot").json
    names = {scenario["scenario"] for scenario in document["scenarios"]}
    assert names == {name for name, scenario in SCENARIOS.items() if not scenario.of_node}
    assert document["fill_bytes"] == {}


def test_who_is_not_named_is_not_the_leader_and_allows_faults(
    run: Run, cluster: FakeCluster
) -> None:
    cluster.said = {"n2": {"allows_faults": False}}
    assert run("gameday", "--dry-run", "--json").json["touched"] == ["n3"]
    cluster.said = {"n2": {"allows_faults": False}, "n3": {"allows_faults": False}}
    assert run("gameday", "--dry-run", "--json").json["touched"] == ["n1"]


def test_keys_are_on_the_nodes_that_are_meant(cluster: FakeCluster) -> None:
    router = Router(cluster.map)

    def owner(key: str) -> str | None:
        return router.owner_of(wire_key(b"space", key.encode()))

    keys = keys_on(cluster.map, "space", "k", ("n2",))
    assert {owner(next(keys)) for _ in range(50)} == {"n2"}
    mixed = mixed_keys(cluster.map, "space", "k", ("n2",), 40)
    assert len(set(mixed)) == 40
    assert {owner(key) for key in mixed[:20]} == {"n2"}


# --- played -------------------------------------------------------------------------------------


def plan_of(world: Rehearsal, *names: str, target: str = "n2/hot") -> Plan:
    view = View(world.cluster.map, {node: world.cluster.status_dict(node) for node in NODES})
    asked = replace(wish("eio", target), scenarios=names)
    return make_plan(view, asked)


def play(world: Rehearsal, *names: str, target: str = "n2/hot") -> Report:
    plan = plan_of(world, *names, target=target)
    day = GameDay(world.session(), plan, 0.3, Teller(to_stderr=True))
    return Report(plan, list(day.play()))


def test_a_day_on_which_everything_holds() -> None:
    world = Rehearsal()
    report = play(world, "eio")
    (document,) = report.document()["scenarios"]
    assert (report.is_good, document["ok"], document["problems"]) == (True, True, [])
    assert world.cluster.faults == [
        ("n2", "hot", "eio", 0.0, 1.0, DURATION_S * 1000 + 2000),
        ("n2", "hot", "", 0.0, 0.0, 0.0),
    ]
    assert document["failed_over"]
    assert document["decisions"][0]["ref"] == "n2/hot"
    assert document["decisions"][0]["evidence"]["kind"] == "io_error"
    assert None not in (document["seconds"]["to_last_client"], document["seconds"]["to_recovery"])
    assert document["operations"] == document["reads"] + document["writes"] > 100
    assert document["hits"] > 0
    assert document["seconds"]["fault"] >= DURATION_S
    assert world.store == {}, "its keys are still there"


def test_a_lower_tier_is_given_work_first() -> None:
    world = Rehearsal()
    report = play(world, "corrupt", target="n2/cold")
    assert report.is_good
    assert len(report.rounds[0].earlier) == report.plan.fill[0][1] // (16 * 2**10)
    read = {op.key for op in report.rounds[0].ops if op.f == "r"}
    assert any(str(key).startswith("fill-corrupt-n2-") for key in read)


def test_what_a_tier_has_lost_is_written_anew() -> None:
    def forgetful(key: str, value: Any) -> Any:
        return None if key.startswith("fill") else value

    report = play(Rehearsal(on_get=forgetful), "eio", target="n2/cold")
    filled = [op.f for op in report.rounds[0].diaries[-1].ops]
    assert report.is_good
    assert filled.count("w") > filled.count("r") / 2


def test_nodes_are_hit_as_the_scenario_says() -> None:
    world = Rehearsal()
    report = play(world, "freeze", "partition", target="n2")
    assert report.is_good, report.lines()
    assert world.cluster.faults == [
        ("n2", "freeze", DURATION_S * 1000, ("n1", "n3")),
        ("n2", "partition", DURATION_S * 1000, ("n1", "n3")),
        ("n2", "", 0.0, ()),
    ]


def test_a_read_of_the_past_is_found() -> None:
    held: dict[str, Any] = {}

    def oldest(key: str, value: Any) -> Any:
        return held.setdefault(key, value) if value is not None else None

    report = play(Rehearsal(on_get=oldest), "eio")
    (document,) = report.document()["scenarios"]
    assert not report.is_good
    assert document["stale_reads"] > 0
    assert not document["linearizable"]
    assert any("though" in problem for problem in document["problems"])
    assert any("NOT GOOD" in line for line in report.lines())


def test_keys_with_several_writers_are_judged_by_themselves() -> None:
    held: dict[str, Any] = {}

    def oldest(key: str, value: Any) -> Any:
        is_shared = value is not None and key.startswith("contended")
        return held.setdefault(key, value) if is_shared else value

    report = play(Rehearsal(on_get=oldest), "eio")
    (document,) = report.document()["scenarios"]
    assert (document["stale_reads"], document["linearizable"], document["ok"]) == (0, False, False)


def test_what_does_not_fail_over_is_not_good_where_it_must() -> None:
    report = play(Rehearsal(fails_over=False), "eio", "enospc")
    eio, enospc = report.rounds
    assert eio.problems == [f"n2/hot did not fail over within {DURATION_S:g} s"]
    assert enospc.problems == []
    assert not report.is_good


def test_what_does_not_come_back_ends_the_day() -> None:
    report = play(Rehearsal(recovers=False), "eio", "slow")
    assert len(report.rounds) == 1
    assert "not everything was UP again within 0.3 s" in report.rounds[0].problems[0]
    assert report.not_played == ["slow"]
    assert report.lines()[-1] == "not played: slow"


def test_a_killed_node_that_nobody_restarts_is_told_as_such() -> None:
    report = play(Rehearsal(recovers=False), "kill", target="n2")
    assert "nothing has restarted the process that was killed" in report.rounds[0].problems[0]


def test_writes_that_fail_are_counted_and_timed() -> None:
    report = play(Rehearsal(refuses_writes=True), "eio")
    (document,) = report.document()["scenarios"]
    assert document["ok"], document["problems"]
    assert set(document["errors"]) == {"write: Unavailable"}
    assert document["seconds"]["to_first_error"] <= DURATION_S
    assert DURATION_S * 0.5 < document["refused_writes"]["longest_s"] < DURATION_S + 1


def test_whatever_ends_it_the_fault_is_ended_and_the_keys_are_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(GameDay, "_tell_out", interrupt)
    world = Rehearsal()
    with pytest.raises(KeyboardInterrupt):
        play(world, "hang")
    assert world.cluster.faults[-1] == ("n2", "hot", "", 0.0, 0.0, 0.0)
    assert world.store == {}


@pytest.mark.parametrize(("recovers", "code"), [(True, 0), (False, 1)])
def test_the_command_ends_with_the_verdict(recovers: bool, code: int) -> None:
    world = Rehearsal(recovers=recovers)
    flags = ["--target", "n2/hot", "--duration", "1", "--timeout", "0.2"]
    done = CliRunner().invoke(
        cli, ["gameday", *flags], input="y\n", obj=world.session(), prog_name="tiercluster"
    )
    assert done.exit_code == code
    assert "touched      n2" in done.stdout
    assert ("All promises held" in done.stdout) is recovers
    assert ("NOT GOOD" in done.stdout) is not recovers


# --- figures ------------------------------------------------------------------------------------


def write(key: str, call: float, ret: float) -> Op:
    return Op(0, key, "w", 1, True, call, ret)


def test_the_longest_time_for_which_a_key_could_not_be_written() -> None:
    writes = [
        write("a", 0, 1), write("a", 2, INF), write("a", 3, INF), write("a", 4, 4.5),
        write("b", 2, INF), write("b", 3, 3.1), write("a", 6, INF), write("a", 7, 7.1),
    ]  # fmt: skip
    assert longest_refusal(writes) == ("a", 2.5)


def test_a_key_that_was_never_written_again_counts_to_its_last_attempt() -> None:
    assert longest_refusal([write("a", 1, INF), write("a", 5, INF)]) == ("a", 4.0)
    assert longest_refusal([write("a", 1, 2)]) == ("", 0.0)


def test_operations_name_every_scenario() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    section = page.partition("## Game days")[2].partition("\n## ")[0]
    assert [name for name in SCENARIOS if f"`{name}`" not in section] == []
