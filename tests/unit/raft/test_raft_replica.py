"""The worker on real sockets: elections, commits, lost leaders, full disks, hostile neighbours."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from tiercluster.tiermap.raft import (
    MAX_FRAME_BYTES,
    BarrierDone,
    Counted,
    Healed,
    RaftKeys,
    ReplicaSettings,
    Sick,
)
from tiercluster.tiermap.raft.member import Member
from tiercluster.tiermap.raft.transport import ZmqWire

from .raft_loopback import Loopback

MakeLoopback = Callable[..., Loopback]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[MakeLoopback]:
    made: list[Loopback] = []
    before = threading.active_count()

    def build(size: int, **options: Any) -> Loopback:
        made.append(Loopback(tmp_path, size, **options))
        return made[-1]

    yield build
    for loopback in made:
        loopback.stop()
    assert threading.active_count() == before


def test_a_cluster_of_one_commits_at_once(make: MakeLoopback) -> None:
    alone = make(1)
    alone.start()
    alone.barrier("n1", "ready")
    alone.commit("n1", "c")

    assert alone.ears["n1"].state == ("c",)
    assert alone.ears["n1"].standing.is_leader
    assert alone.ears["n1"].standing.quorum


def test_what_was_committed_is_there_after_a_restart(make: MakeLoopback) -> None:
    alone = make(1, compact_entries=4)  # by snapshot and log together
    alone.start()
    for i in range(7):
        alone.commit("n1", f"c{i}")
    alone.stop()
    alone.start()
    alone.barrier("n1", "again")

    assert alone.ears["n1"].state == tuple(f"c{i}" for i in range(7))


def test_three_members_agree_and_outlive_their_leader(make: MakeLoopback) -> None:
    three = make(3)
    three.start()
    for name in three.names:
        three.barrier(name, "ready")
        three.commit(name, f"from {name}")
    leader = three.leader()
    three.stop(leader)
    rest = list(three.replicas)
    three.commit(rest[0], "after the leader")
    three.start(leader)
    for name in three.names:
        three.barrier(name, "end")

    states = {three.ears[name].state for name in three.names}
    assert len(states) == 1
    assert {"from n1", "from n2", "from n3", "after the leader"} <= set(states.pop())


def test_a_minority_says_that_it_has_no_quorum_and_passes_no_barrier(make: MakeLoopback) -> None:
    three = make(3, barrier_timeout_s=0.3)
    three.start()
    leader = three.leader()
    three.stop(*[name for name in three.names if name != leader])
    ear = three.ears[leader]
    ear.wait(lambda: not ear.standing.quorum)
    three.replicas[leader].barrier("alone")
    ear.wait(lambda: ear.has(BarrierDone, token="alone"))

    assert ear.has(BarrierDone, token="alone", ok=False)
    assert not ear.standing.is_leader


def test_a_majority_begins_without_the_rest_which_joins_later(make: MakeLoopback) -> None:
    three = make(3, bootstrap_patience_s=0.3)
    three.start("n1", "n2")
    three.commit("n1", "without n3")
    three.start("n3")
    three.barrier("n3", "joined")

    assert set(three.ears["n3"].state) == {"without n3"}  # proposed again while there was no leader


def test_a_wiped_member_catches_up_and_votes_again(make: MakeLoopback, tmp_path: Path) -> None:
    three = make(3, compact_entries=5)
    three.start()
    leader = three.leader()
    for i in range(12):
        three.commit(leader, f"c{i}")
    wiped, other = (name for name in three.names if name != leader)
    three.stop(wiped)
    shutil.rmtree(tmp_path / wiped)
    three.start(wiped)
    three.barrier(wiped, "caught up")
    assert three.ears[wiped].state == three.ears[leader].state
    three.stop(other)  # now its vote and its acknowledgement are needed
    three.commit(leader, "with the wiped one")


def test_a_full_disk_takes_one_member_out_and_it_heals(
    make: MakeLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = make(3, heal_first_s=0.05, heal_max_s=0.1)
    three.start()
    leader = three.leader()
    sick, _ = (name for name in three.names if name != leader)
    three.barrier(sick, "well")
    is_full = threading.Event()
    is_full.set()
    real = os.pwrite

    def pwrite(fd: int, data: Any, at: int) -> int:
        if is_full.is_set() and threading.current_thread().name == f"replica-{sick}":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data, at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    three.commit(leader, "while one is sick")
    ear = three.ears[sick]
    ear.wait(lambda: ear.has(Sick))
    assert "No space left on device" in next(e for e in ear.events if isinstance(e, Sick)).reason
    assert not three.replicas[sick].propose(b"x")
    is_full.clear()
    ear.wait(lambda: ear.has(Healed))
    three.barrier(sick, "again")

    assert three.ears[sick].state[-1] == "while one is sick"


def test_h18_a_loop_that_ends_by_a_bug_says_so_and_begins_anew(
    make: MakeLoopback, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alone = make(1, heal_first_s=0.05, heal_max_s=0.1)
    alone.start()
    alone.commit("n1", "before")
    ear, bugs, tick = alone.ears["n1"], [KeyError("a bug")], Member.tick

    def ticks(self: Member[Any], wait_s: float) -> None:
        if bugs:
            raise bugs.pop()
        tick(self, wait_s)

    monkeypatch.setattr(Member, "tick", ticks)
    ear.wait(lambda: ear.has(Healed))
    alone.commit("n1", "after")

    assert ear.has(Sick, reason="internal error: KeyError('a bug')")
    assert [r.levelname for r in caplog.records if r.message == "the replica failed"] == [
        "CRITICAL"
    ]
    assert ear.state == ("before", "after")


def test_a_missing_vote_file_keeps_a_member_out_and_says_what_to_do(
    make: MakeLoopback, tmp_path: Path
) -> None:
    alone = make(1)
    alone.start()
    alone.commit("n1", "c")
    alone.stop()
    (tmp_path / "n1" / "vote").unlink()
    alone.start()
    ear = alone.ears["n1"]
    ear.wait(lambda: ear.has(Sick))

    assert "move its raft directory away" in next(e for e in ear.events).reason  # type: ignore[union-attr]


def test_a_member_of_another_cluster_is_ignored(make: MakeLoopback, tmp_path: Path) -> None:
    pair = make(2, barrier_timeout_s=0.7)
    pair.start("n1")
    pair.options["cluster"] = "another"
    pair.start("n2")
    pair.replicas["n1"].barrier("never")
    ear = pair.ears["n1"]
    ear.wait(lambda: ear.has(BarrierDone, token="never"))

    assert ear.has(BarrierDone, token="never", ok=False)


def test_a_full_inbox_and_a_frame_too_large_are_answered(make: MakeLoopback) -> None:
    pair = make(2, inbox_limit=2)
    pair.start("n1")  # no leader: proposals wait
    replica = pair.replicas["n1"]

    assert not replica.propose(bytes(MAX_FRAME_BYTES + 1))
    assert [replica.propose(b"c") for _ in range(3)] == [True, True, False]


def test_a_member_whose_state_differs_drops_it_and_rejoins(
    make: MakeLoopback, tmp_path: Path
) -> None:
    three = make(3, heal_first_s=0.05)
    three.start()
    leader = three.leader()
    wrong, _ = (name for name in three.names if name != leader)
    three.barrier(wrong, "well")
    three.machines[wrong] = lambda state, frame: (*state, "nonsense")
    three.commit(leader, "a")
    ear = three.ears[wrong]
    ear.wait(lambda: ear.has(Sick))
    three.machines.clear()  # what had gone wrong goes right again
    ear.wait(lambda: ear.has(Healed))
    three.commit(three.leader(), "b")
    ear.wait(lambda: ear.state[-1:] == ("b",))

    counts = [event for event in ear.events if isinstance(event, Counted)]
    assert counts[-1].digest_mismatches >= 2, "forgotten with the member that was given up"
    assert ear.state == three.ears[leader].state
    assert list(tmp_path.glob(f"{wrong}.differs-*"))


def test_an_entry_that_cannot_be_applied_is_counted_and_the_next_one_is(make: MakeLoopback) -> None:
    def apply(state: tuple[str, ...], frame: bytes) -> tuple[str, ...]:
        if frame == b"poison":
            raise ZeroDivisionError("a mistake")
        return (*state, frame.decode())

    alone = make(1)
    alone.machines["n1"] = apply
    alone.start()
    alone.commit("n1", "a")
    assert alone.replicas["n1"].propose(b"poison")
    alone.commit("n1", "b")
    ear = alone.ears["n1"]
    ear.wait(lambda: ear.has(Counted, failed_frames=1))

    assert ear.state == ("a", "b")
    assert ear.has(Counted, failed_frames=0)


# --- hostile neighbours ---------------------------------------------------------------------------


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_pickle_bombs_and_garbage_on_the_raft_port_do_nothing(
    make: MakeLoopback, tmp_path: Path
) -> None:
    pair = make(2)
    pair.start()
    leader = pair.leader()
    bomb = pickle.dumps(Bomb(tmp_path / "the bomb went off"), 2)
    with zmq.Context() as context, context.socket(zmq.DEALER) as attacker:
        attacker.linger = 500
        attacker.routing_id = b"stranger"
        attacker.connect(f"tcp://127.0.0.1:{pair.ports[leader]}")
        for data in (bomb, b"\x00" + bomb, b"", b"\x81" * 100_000, os.urandom(1000)):
            attacker.send(data)
            attacker.send_multipart([data, data])
    with socket.create_connection(("127.0.0.1", pair.ports[leader])) as raw:
        raw.sendall(os.urandom(64) + bomb)
    pair.commit("n1", "still alive")
    pair.commit("n2", "both of them")

    assert not (tmp_path / "the bomb went off").exists()


def test_even_a_peer_can_send_a_bomb_only_into_a_refusal(
    make: MakeLoopback, tmp_path: Path
) -> None:
    alone = make(2)
    alone.start("n1")
    bomb = pickle.dumps(Bomb(tmp_path / "the bomb went off"), 2)
    with zmq.Context() as context, context.socket(zmq.DEALER) as attacker:
        attacker.linger = 500
        attacker.routing_id = b"n2"  # on loopback without keys, a name is all there is
        attacker.connect(f"tcp://127.0.0.1:{alone.ports['n1']}")
        attacker.send(bomb)
    ear = alone.ears["n1"]
    ear.wait(lambda: ear.has(Counted, refused=1))
    alone.start("n2")
    alone.commit("n1", "still alive")

    assert not (tmp_path / "the bomb went off").exists()


# --- keys -----------------------------------------------------------------------------------------


def with_keys(loopback: Loopback) -> Loopback:
    pairs = {name: zmq.curve_keypair() for name in loopback.names}
    for name in loopback.names:
        peers = tuple((other, pairs[other][0]) for other in loopback.names if other != name)
        loopback.keys[name] = RaftKeys(*pairs[name], peers)
    return loopback


def test_members_with_keys_agree(make: MakeLoopback) -> None:
    three = with_keys(make(3))
    three.start()
    for name in three.names:
        three.commit(name, f"from {name}")

    assert "secret" not in repr(three.keys["n1"])


def test_an_unknown_key_is_not_let_in(make: MakeLoopback) -> None:
    pair = with_keys(make(2))
    settings: ReplicaSettings = pair.settings("n1")
    wire = ZmqWire(settings)
    heard: list[tuple[str, bytes]] = []
    wire.deliver = lambda sender, data: heard.append((sender, data))
    try:
        with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
            stranger.linger = 0
            stranger.routing_id = b"n2"
            stranger.curve_publickey, stranger.curve_secretkey = zmq.curve_keypair()
            stranger.curve_serverkey = pair.keys["n1"].public
            stranger.connect(f"tcp://{settings.raft_address}")
            stranger.send(b"let me in")
            for _ in range(50):
                wire.poll(0.1)
                if wire.denied:
                    break
            wire.poll(0.1)
    finally:
        wire.close()

    assert wire.denied
    assert heard == []


def test_connections_with_an_unknown_key_are_counted(make: MakeLoopback) -> None:
    pair = with_keys(make(2))
    pair.start("n1")
    ear = pair.ears["n1"]
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.linger = 0
        stranger.curve_publickey, stranger.curve_secretkey = zmq.curve_keypair()
        stranger.curve_serverkey = pair.keys["n1"].public
        stranger.connect(f"tcp://127.0.0.1:{pair.ports['n1']}")
        ear.wait(lambda: any(isinstance(e, Counted) and e.denied for e in ear.events))
