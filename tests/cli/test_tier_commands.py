"""Tiers and nodes out of service and back, with what is printed on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tiercluster.tiermap import TierRecovered, TierRef

from .conftest import Run
from .fakes import FakeCluster, drained, failed, stopped

TIER_FIELDS = {
    "ref", "tier", "state", "generation", "entries", "bytes", "capacity_bytes", "hits", "misses",
}  # fmt: skip


def recovered(ref: str, generation: int) -> TierRecovered:
    return TierRecovered(
        id=f"up-{ref}", by="n2", ref=TierRef.parse(ref), generation=generation, keep=False
    )


def test_status_tells_what_the_table_does_not_show(run: Run, cluster: FakeCluster) -> None:
    cluster.said = {
        "n1": {"digest_mismatches": 2},
        "n2": {"serving": False, "serving_reason": "no lease"},
        "n3": {"quorum": False, "map_age_s": 5},
    }
    lines = run("status").out.splitlines()
    assert "n1 has found 2 times that another member's state differs" in lines
    assert "n2 does not serve: no lease" in lines
    assert "n3 sees no quorum; its map is 5.0 s old" in lines


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("serve", "it answers all the same, and what it reads may be old"),
        ("read_only", "refuses writes"),
        ("fence", "it answers nothing"),
    ],
)
def test_status_says_what_a_node_without_a_quorum_does(
    run: Run, cluster: FakeCluster, setting: str, text: str
) -> None:
    cluster.said = {"n3": {"quorum": False, "map_age_s": 5, "on_quorum_loss": setting}}
    assert text in run("status").out


def test_status_tells_who_answers_before_its_copies_have_it(run: Run, cluster: FakeCluster) -> None:
    assert "write_ack" not in run("status").out
    cluster.said = {"n2": {"write_ack": "owner"}}
    assert "write_ack is owner at n2: " in run("status").out
    cluster.state = replace(cluster.state, map=replace(cluster.map, replicas=1))
    assert "write_ack" not in run("status").out, "nobody keeps copies"


def test_status_tells_how_much_a_node_still_takes(run: Run, cluster: FakeCluster) -> None:
    cluster.said = {
        "n1": {"counters": {"slots_to_fill": 5}},
        "n2": {"counters": {"slots_to_fill": 7380}},
        "n3": {"counters": {"copies_stale": 2}},
    }
    members = [replace(m, filling=m.id == "n2", apart=("n1",) * (m.id == "n3"))
               for m in cluster.map.members]  # fmt: skip
    cluster.state = replace(cluster.state, map=replace(cluster.map, members=tuple(members)))
    out = run("status").out
    assert "n1 is taking copies: 5 of 16384 slots are to come" in out
    assert "n2 is taking what it will own: 7380 of 16384 slots are to come" in out
    assert "n3 keeps no copies for n1: their writes do not reach it" in out
    assert "n3 has found 2 copies older than what their owners have; this is a bug" in out


def test_status_tells_who_keeps_the_cluster_at_an_older_level(
    run: Run, cluster: FakeCluster
) -> None:
    assert "level" not in run("status").out
    members = tuple(replace(m, level=1) for m in cluster.map.members)
    older = replace(cluster.map, members=members, replicas=0)
    cluster.state = replace(cluster.state, map=older)
    cluster.said = {"n1": {"speaks": 2}}
    lines = run("status").out.splitlines()
    assert "the cluster runs at level 1 until these run newer software: n2, n3" in lines
    cluster.said = {node: {"speaks": 2} for node in ("n1", "n2", "n3")}
    assert "level" not in run("status").out


def test_status_json_is_what_the_contract_says(run: Run, cluster: FakeCluster) -> None:
    document = run("status", "--json").json
    assert set(document) == {"cluster", "version", "leader", "quorum", "nodes"}
    assert (document["cluster"], document["leader"], document["quorum"]) == ("c1", "n1", True)
    assert document["version"] == cluster.map.version
    assert [node["id"] for node in document["nodes"]] == ["n1", "n2", "n3"]
    node = document["nodes"][1]
    assert set(node) == {"id", "state", "address", "tiers"}
    assert [tier["ref"] for tier in node["tiers"]] == ["n2/hot", "n2/warm", "n2/cold"]
    assert set(node["tiers"][0]) == TIER_FIELDS
    assert node["tiers"][0]["hits"] == 30


def test_tier_list_json_adds_reason_and_version(run: Run, cluster: FakeCluster) -> None:
    cluster.apply(failed("n2/cold"))
    tiers = {tier["ref"]: tier for tier in run("tier", "list", "--json").json}
    assert len(tiers) == 9
    cold = tiers["n2/cold"]
    assert set(cold) == TIER_FIELDS | {"reason", "since_version"}
    assert (cold["state"], cold["since_version"]) == ("DOWN", cluster.map.version)
    assert "io_error" in cold["reason"]


def test_nodes_that_do_not_answer_show_zeros_and_are_no_error(
    run: Run, cluster: FakeCluster
) -> None:
    cluster.silent = {"n1", "n2", "n3"}
    ran = run("status", "--json")
    assert ran.code == 0
    assert (ran.json["leader"], ran.json["quorum"]) == (None, False)
    assert all(t["entries"] == 0 for node in ran.json["nodes"] for t in node["tiers"])


def test_the_member_with_the_newest_map_says_who_leads(run: Run, cluster: FakeCluster) -> None:
    cluster.said = {
        "n1": {"version": 2, "leader": "n1", "quorum": True},
        "n2": {"version": 9, "leader": "n3", "quorum": True},
    }
    document = run("status", "--json").json
    assert (document["leader"], document["version"]) == ("n3", 9)


def test_without_a_quorum_there_is_no_leader(run: Run, cluster: FakeCluster) -> None:
    cluster.said = {node: {"quorum": False} for node in ("n1", "n2", "n3")}
    document = run("status", "--json").json
    assert (document["leader"], document["quorum"]) == (None, False)
    assert "quorum NO" in run("status").out


def test_of_members_with_the_same_map_one_that_sees_a_quorum_is_believed(
    run: Run, cluster: FakeCluster
) -> None:
    cluster.said = {"n1": {"leader": None, "quorum": False}, "n3": {"leader": None}}
    document = run("status", "--json").json
    assert (document["leader"], document["quorum"]) == ("n1", True)


def test_the_table_says_who_does_not_answer(run: Run, cluster: FakeCluster) -> None:
    cluster.silent = {"n2"}
    out = run("status").out
    assert "n2 is UP in the map and does not answer at 127.0.0.1:7702" in out
    assert "75.0%" in out


def test_tiers_of_a_node_that_is_down_are_shown_down(run: Run, cluster: FakeCluster) -> None:
    cluster.apply(stopped("n2"))
    tiers = {tier["ref"]: tier for tier in run("tier", "list", "--json").json}
    assert tiers["n2/hot"]["state"] == "DOWN"
    assert tiers["n2/hot"]["reason"] == "n2 is DOWN: stopped"
    assert tiers["n1/hot"]["state"] == "UP"


def test_a_drain_is_said_and_another_one_says_already(run: Run) -> None:
    ran = run("tier", "drain", "n2/cold")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("n2/cold is DRAINING ")
    again = run("tier", "drain", "n2/cold")
    assert again.code == 0
    assert "already DRAINING" in again.out


def test_wait_returns_when_it_is_drained(run: Run, cluster: FakeCluster) -> None:
    cluster.later = [drained("n2/cold")]
    ran = run("tier", "drain", "n2/cold", "--wait", "--json")
    assert ran.code == 0
    assert ran.json["tiers"] == [{"ref": "n2/cold", "state": "DRAINED"}]


def test_wait_that_times_out_is_5_and_says_the_state(run: Run) -> None:
    ran = run("tier", "drain", "n2/cold", "--wait", "--timeout", "0")
    assert ran.code == 5
    assert ran.err == "error: not DRAINED after 0 s: n2/cold is DRAINING\n"


def test_draining_what_is_drained_is_0_with_wait_too(run: Run, cluster: FakeCluster) -> None:
    run("tier", "drain", "n2/cold")
    cluster.apply(drained("n2/cold"))
    ran = run("tier", "drain", "n2/cold", "--wait", "--timeout", "0")
    assert ran.code == 0
    assert "already DRAINED" in ran.out


def test_restore_waits_for_up_through_probes(run: Run, cluster: FakeCluster) -> None:
    cluster.apply(failed("n2/cold"))
    cluster.later = [recovered("n2/cold", 1)]
    ran = run("tier", "restore", "n2/cold", "--wait", "--json")
    assert ran.code == 0
    assert ran.json["tiers"] == [{"ref": "n2/cold", "state": "UP"}]
    assert run("tier", "restore", "n2/cold").out.startswith("n2/cold is already UP")


def test_wait_is_not_over_by_the_map_of_a_member_that_lags_behind(
    run: Run, cluster: FakeCluster
) -> None:
    before = cluster.map
    cluster.apply(failed("n2/cold"))
    cluster.lagging = [before, before]
    cluster.later = [recovered("n2/cold", 1)]
    ran = run("tier", "restore", "n2/cold", "--wait", "--json")
    assert ran.code == 0
    assert ran.json["version"] == cluster.map.version > before.version + 1


def test_a_star_means_all_tiers_of_the_node(run: Run) -> None:
    tiers = run("tier", "drain", "n2/*", "--json").json["tiers"]
    assert [tier["ref"] for tier in tiers] == ["n2/hot", "n2/warm", "n2/cold"]


def test_node_drain_is_all_its_tiers(run: Run, cluster: FakeCluster) -> None:
    run("node", "drain", "n2")
    document = run("node", "list", "--json").json
    assert document[1]["tiers"] == {"hot": "DRAINING", "warm": "DRAINING", "cold": "DRAINING"}


def test_a_node_that_is_down_can_be_removed_and_only_once(run: Run, cluster: FakeCluster) -> None:
    cluster.apply(stopped("n2"))
    assert run("node", "remove", "n2").out.startswith("n2 is LEFT")
    assert run("node", "remove", "n2").out.startswith("n2 is already LEFT")
    assert "n2/hot" not in run("tier", "list").out


def test_why_tells_the_history_with_evidence_newest_last(run: Run, cluster: FakeCluster) -> None:
    cluster.apply(failed("n2/cold"))
    cluster.apply(recovered("n2/cold", 1))
    document = run("tier", "why", "n2/cold", "--json").json
    assert (document["ref"], document["state"], document["generation"]) == ("n2/cold", "UP", 2)
    history = [(e["ref"], e["to"]) for e in document["history"]]
    assert history[-2:] == [("n2/cold", "DOWN"), ("n2/cold", "UP")]
    assert document["history"][-2]["evidence"]["kind"] == "io_error"
    assert all(event["ref"] in ("n2", "n2/cold") for event in document["history"])
    assert "kind=io_error" in run("tier", "why", "n2/cold").out


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
def test_probe_ends_with_its_result(run: Run, cluster: FakeCluster, ok: bool, code: int) -> None:
    failure = {"failure": "" if ok else "io_error", "detail": "" if ok else "EIO"}
    cluster.probe_answer = {"ok": ok, "took_ms": 4.0, **failure}
    ran = run("tier", "probe", "n2/cold", "--json")
    assert ran.code == code
    assert ran.json["ok"] is ok
    assert ran.json["ref"] == "n2/cold"
    assert ("io_error: EIO" in run("tier", "probe", "n2/cold").out) is not ok


def test_faults_reach_the_tier_they_are_meant_for(run: Run, cluster: FakeCluster) -> None:
    slow = ("--kind", "slow", "--ms", "400", "--rate", "0.5")
    run("fault", "inject", "n2/cold", *slow)
    run("fault", "inject", "n2/cold", *slow, "--for", "1.5")
    run("fault", "clear", "n2/cold")
    assert cluster.faults == [
        ("n2", "cold", "slow", 400.0, 0.5, 0.0),
        ("n2", "cold", "slow", 400.0, 0.5, 1500.0),
        ("n2", "cold", "", 0.0, 0.0, 0.0),
    ]
