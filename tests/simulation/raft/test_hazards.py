"""Each hazard of the plain library shown on its real code, and shown to be closed in ours.

The numbers are those of docs/decisions/0003-raft-hardening.md. Every test runs the same script on
both; on ``plain`` it must show the defect, or the script proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pysyncobj import FAIL_REASON, SyncObjConf
from pysyncobj.node import Node

from tiercluster.tiermap.raft.library import library_conf

from .raft_directed import MACHINE, Bench

pytestmark = [
    # The plain library leaves the files of its dumps open.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

MakeBench = Callable[..., Bench]


@pytest.fixture(params=["plain", "hardened"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeBench]:
    made: list[Bench] = []

    def build(names: str = "ABC", **options: Any) -> Bench:
        made.append(Bench(kind, names, tmp_path, monkeypatch, **options))
        made[-1].connect_all()
        return made[-1]

    yield build
    for bench in made:
        bench.close()


def test_h1_an_acknowledgement_of_an_earlier_leadership_is_not_counted(
    kind: str, make: MakeBench
) -> None:
    bench = make("ABCDE")
    bench.elect("A", seconds=0.6)
    for other in "CDE":
        bench.net.disconnect("A", other)
    for i in range(6):
        bench.put("A", f"old{i}")
    bench.step(0.2, "A")
    bench.step(0.2, "A")
    bench.drain("A", "B")  # B has stored old0..5; its acknowledgements stay in flight
    bench.elect("C", "CDE", 0.5)
    bench.put("C", "new0")
    bench.run(0.5, "CDE")
    bench.net.connect("A", "C")
    for _ in range(40):
        bench.tick("C", "A")
        bench.exchange("C", "A")
        bench.clock.now += 0.05
    bench.net.connect("A", "D")
    bench.stand("A")
    bench.tick("A")
    for other in "CD":
        bench.drain("A", other)
        bench.drain(other, "A")
    assert bench.leads("A")
    bench.net.disconnect("A", "C")
    for i in range(3):
        bench.put("A", f"precious{i}")
    for _ in range(6):
        bench.step(0.12, "A")
        bench.drain("A", "D")
        bench.drain("D", "A")
    bench.drain("B", "A")  # the old acknowledgements
    bench.tick("A")
    bench.tick("A")
    bench.crash("A")
    bench.crash("D")
    bench.connect_all("BCE")
    leader = bench.settle("BCE")

    assert bool(bench.lost(leader)) == (kind == "plain")


def test_h2_a_chunk_of_a_snapshot_does_not_commit_what_a_minority_leader_wrote(
    kind: str, make: MakeBench
) -> None:
    bench = make()
    bench.elect("A", seconds=0.6)
    bench.put("A", "base")
    bench.run(0.5)
    bench.net.disconnect("A", "B")
    bench.net.disconnect("A", "C")
    for i in range(3):
        bench.put("A", f"minority{i}")
    bench.tick("A")
    bench.elect("B", "BC", 0.6)
    for i in range(10):
        bench.put("B", f"major{i}")
    bench.run(1, "BC")
    bench.members["B"].forceLogCompaction()
    bench.tick("B")
    bench.tick("B")
    bench.net.connect("A", "B")
    bench.step(0.2, "B")
    bench.deliver("B", "A")  # one message only
    bench.tick("A")
    said_to_be_done = [c for c in bench.acknowledged if c.startswith("minority")]
    bench.run(10)

    assert bool(said_to_be_done) == (kind == "plain")
    assert bool(bench.lost(bench.leader())) == (kind == "plain")


def test_h3_a_batch_sent_again_cuts_nothing_that_was_acknowledged(
    kind: str, make: MakeBench
) -> None:
    bench = make(appendEntriesBatchSizeBytes=200)
    bench.elect("A", seconds=0.6)
    bench.net.disconnect("A", "C")
    bench.net.disconnect("A", "B")  # a blip: what is sent now is lost
    bench.net.connect("A", "B")
    for i in range(3):
        bench.put("A", f"x{i}")
    bench.step(0.2, "A")
    bench.step(0.2, "A")
    bench.net.disconnect("A", "B")
    bench.net.connect("A", "B")
    for i in range(12):
        bench.put("A", f"y{i:02}")
    for _ in range(4):
        bench.step(0.2, "A")
    bench.drain("A", "B")
    bench.deliver("B", "A")  # the first of several resets
    for _ in range(3):
        bench.step(0.2, "A")
    bench.drain("A", "B")
    bench.deliver("B", "A")  # a stale reset, in front of the acknowledgements
    bench.step(0.2, "A")
    bench.drain("B", "A")
    bench.tick("A")
    bench.tick("A")
    bench.deliver("A", "B")  # one of the batches that were sent again, and A dies
    bench.crash("A")
    bench.net.connect("B", "C")
    leader = bench.settle("BC")

    assert bench.acknowledged
    assert bool(bench.lost(leader)) == (kind == "plain")


def test_h4_membership_is_not_changed_by_what_is_not_committed(kind: str, make: MakeBench) -> None:
    bench = make(dynamicMembershipChange=True) if kind == "plain" else make()
    bench.elect("A")
    bench.net.disconnect("A", "B")
    bench.net.disconnect("A", "C")  # nothing can commit now
    for other in "BC":
        bench.members["A"].removeNodeFromCluster(Node(other))
    bench.tick("A")
    voters = {node.id for node in bench.members["A"].otherNodes}

    assert (voters == set()) == (kind == "plain")
    assert (voters == {"B", "C"}) == (kind == "hardened")


def test_h4_ours_does_not_even_start_with_changing_membership(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="voters are fixed"):
        Bench("hardened", "A", tmp_path, monkeypatch, dynamicMembershipChange=True)


def test_h5_a_member_with_a_divergent_tail_catches_up(kind: str, make: MakeBench) -> None:
    bench = make(appendEntriesBatchSizeBytes=300)
    bench.elect("A", seconds=0.6)
    bench.net.disconnect("A", "B")
    bench.net.disconnect("A", "C")
    bench.put("A", "divergent0")
    bench.put("A", "divergent1")
    bench.tick("A")
    bench.elect("B", "BC", 0.6)
    for i in range(60):
        bench.put("B", f"b{i}")
    bench.run(2, "BC")
    bench.elect("C", "BC", 1)  # a new leader starts at the end of its log
    bench.net.connect("A", "B")
    bench.net.connect("A", "C")
    bench.run(30)

    assert (bench.applied("A") != bench.applied("B")) == (kind == "plain")


def test_h6_a_late_answer_is_not_taken_for_another_command(kind: str, make: MakeBench) -> None:
    bench = make(commandsWaitLeader=True)
    bench.elect("A")
    bench.net.disconnect("B", "C")
    bench.stand("B")
    bench.net.disconnect("A", "C")
    bench.net.connect("A", "C")
    bench.put("A", "x")
    bench.step(0.2, "A", "B")
    bench.drain("B", "A")  # A refuses its vote, but steps down
    assert bench.private("A", "raftLeader") is None
    bench.put("C", "old")
    bench.tick("C")
    bench.drain("C", "A")  # waits at A for a leader
    bench.crash("C")
    bench.boot("C")
    bench.net.connect("A", "C")
    bench.stand("A")
    bench.tick("A")
    bench.exchange("A", "B")
    assert bench.leads("A")
    bench.drain("A", "C")
    bench.put("C", "new")
    bench.tick("C")
    bench.tick("A")  # answers the old request of C's earlier life
    bench.clock.now += 0.2
    bench.drain("A", "C")
    bench.net.disconnect("A", "C")  # and the new request is lost
    bench.net.connect("A", "C")
    bench.net.connect("B", "C")
    bench.run(3)

    lied_to = bench.outcomes["new"] == FAIL_REASON.SUCCESS and "new" not in bench.applied("A")
    assert lied_to == (kind == "plain")


def test_h7_a_command_lost_with_its_connection_is_answered(kind: str, make: MakeBench) -> None:
    bench = make()
    bench.elect("A")
    bench.put("B", "lost request")
    bench.tick("B")
    bench.net.disconnect("A", "B")
    bench.net.connect("A", "B")
    bench.run(20)

    assert bench.leads("A")
    assert (bench.outcomes["lost request"] is None) == (kind == "plain")


def test_h8_a_crash_between_dump_and_trim_loses_no_entry(
    kind: str, make: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make()
    bench.elect("A")
    for i in range(5):
        bench.put("A", f"c{i}")
    bench.run(1)
    bench.put("A", "precious")
    bench.step(0.2, "A")
    bench.step(0.2, "A")
    for other in "BC":
        bench.drain("A", other)
        bench.drain(other, "A")
    bench.tick("A")
    bench.tick("A")  # acknowledged; the others hold the entry but do not know that it is committed
    assert "precious" in bench.acknowledged
    bench.crash("A")
    for name in "BC":
        _dump_and_die_before_the_trim(bench, name, monkeypatch)
    for name in "BC":
        bench.boot(name)
    bench.connect_all()
    leader = bench.settle("BC")

    assert bool(bench.lost(leader)) == (kind == "plain")


def _dump_and_die_before_the_trim(bench: Bench, name: str, patch: pytest.MonkeyPatch) -> None:
    member = bench.members[name]
    member.forceLogCompaction()
    with patch.context() as crash:
        crash.setattr(member._SyncObj__raftLog, "deleteEntriesTo", _die)
        if bench.kind == "plain":
            member._SyncObj__tryLogCompaction()  # it trims at its second look
        with pytest.raises(PowerCutError):
            member._SyncObj__tryLogCompaction()
    bench.crash(name)


class PowerCutError(Exception):
    pass


def _die(*args: object) -> None:
    raise PowerCutError


def test_h13_a_command_that_raises_does_not_wedge_the_cluster(kind: str, make: MakeBench) -> None:
    bench = make()
    bench.machine = replace(MACHINE, apply=_apply_or_raise)
    for name in "ABC":
        bench.crash(name)
        bench.boot(name)
    bench.connect_all()
    bench.elect("A")
    bench.put("A", "raise")
    _run_whatever_it_raises(bench, 2)
    bench.put("A", "next")
    _run_whatever_it_raises(bench, 2)

    assert (bench.outcomes["next"] != FAIL_REASON.SUCCESS) == (kind == "plain")


def _apply_or_raise(state: tuple[str, ...], frame: bytes) -> tuple[str, ...]:
    if frame == b"raise":
        raise RuntimeError("a machine that raises")
    return MACHINE.apply(state, frame)


def _run_whatever_it_raises(bench: Bench, seconds: float) -> None:
    for _ in range(int(seconds / 0.05)):
        for name in bench.names:
            try:
                bench.tick(name)
            except RuntimeError:
                continue
        for a in bench.names:
            for b in bench.names:
                if a != b:
                    bench.drain(a, b)
        bench.clock.now += 0.05


def test_h13_a_callback_that_raises_does_not_apply_a_command_twice(
    kind: str, make: MakeBench
) -> None:
    bench = make()
    bench.elect("A")
    once = [True]

    def explode(result: object, reason: int) -> None:
        if once and reason == FAIL_REASON.SUCCESS:
            once.clear()
            raise RuntimeError("a callback that raises")

    bench.put("A", "c", callback=explode)
    _run_whatever_it_raises(bench, 2)

    assert (bench.applied("A") != bench.applied("B")) == (kind == "plain")
    assert (bench.applied("A") == ["c"]) == (kind == "hardened")


def test_h18_an_option_that_the_library_does_not_know_is_refused() -> None:
    SyncObjConf(flushJournal=True)  # the plain library is silent about it
    with pytest.raises(ValueError, match="knows no option flushJournal"):
        library_conf(flushJournal=True)


def test_h18_ours_refuses_to_be_ticked_by_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="own thread ticks"):
        Bench("hardened", "A", tmp_path, monkeypatch, autoTick=True)


# --- rules of ours that have no counterpart in the library ----------------------------------------


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench("hardened", "ABC", tmp_path, monkeypatch)
    bench.connect_all()
    yield bench
    bench.close()


def test_an_entry_is_on_the_disk_before_it_is_acknowledged(
    ours: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    acknowledged: list[int] = []
    send = ours.net.ends["B"].send

    def watch(node: Node, message: Any) -> bool:
        if message["type"] == "next_node_idx" and message["success"]:
            assert ours.journals["B"].is_synced()
            acknowledged.append(message["next_node_idx"])
        return send(node, message)

    monkeypatch.setattr(ours.net.ends["B"], "send", watch)
    ours.elect("A")
    ours.put("A", "c")
    ours.run(1)

    assert max(acknowledged) == 4  # the first entry, the leader's no-op, the command


def test_a_leader_counts_its_own_copy_only_when_it_is_on_the_disk(
    ours: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = ours.journals["A"]
    committed: list[int] = []

    def watch(index: int) -> None:
        assert journal.is_synced()
        committed.append(index)

    monkeypatch.setattr(journal, "setRaftCommitIndex", watch)
    monkeypatch.setattr(journal, "onOneSecondTimer", lambda: None)
    ours.elect("A")
    ours.put("A", "c")
    ours.tick("A")
    assert not journal.is_synced()  # sent to the others already, so that both disks work at once
    ours.run(1)

    assert max(committed) == 3


def test_a_vote_that_arrives_twice_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench("hardened", "ABCDE", tmp_path, monkeypatch)
    bench.connect_all()
    bench.stand("A")
    bench.tick("A")
    for _ in range(3):
        bench.members["A"]._on_response_vote(Node("B"), {"type": "response_vote", "term": 1})
    assert not bench.leads("A")
    bench.members["A"]._on_response_vote(Node("C"), {"type": "response_vote", "term": 1})
    assert bench.leads("A")
    bench.close()


def test_a_heartbeat_commits_only_what_it_has_verified(ours: Bench) -> None:
    follower = ours.members["A"]
    noop = [b"\x01", 2, 1]
    tail = [[b"\x01", 3, 1], [b"\x01", 4, 1]]  # of a leader of term 1, never committed
    append = {"type": "append_entries", "prevLogIdx": 1, "prevLogTerm": 0}
    follower._on_append_entries(
        Node("B"), {**append, "term": 1, "commit_index": 1, "entries": [noop, *tail]}
    )
    follower._on_append_entries(
        Node("C"),
        {**append, "term": 2, "commit_index": 4, "entries": [], "prevLogIdx": 2, "prevLogTerm": 1},
    )

    assert follower.raftCommitIndex == 2


def test_a_new_link_takes_back_what_the_member_had_acknowledged(ours: Bench) -> None:
    """It may have lost its disk in between; what it still has it acknowledges again."""
    ours.elect("A")
    ours.put("A", "c")
    ours.run(1)
    assert ours.private("A", "raftMatchIndex")[Node("B")] == 3
    ours.net.disconnect("A", "B")
    ours.net.connect("A", "B")
    assert ours.private("A", "raftMatchIndex")[Node("B")] == 0
    ours.run(1)
    assert ours.private("A", "raftMatchIndex")[Node("B")] == 3


def test_a_deposed_leader_hears_of_the_newer_term_in_the_answer(ours: Bench) -> None:
    ours.elect("A")
    ours.net.disconnect("A", "C")
    ours.members["C"]._SyncObj__setCurrentTerm(9, None)
    ours.net.connect("A", "C")
    ours.run(0.3)

    assert ours.private("A", "raftCurrentTerm") >= 9
