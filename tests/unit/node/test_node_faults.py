"""Faults of the whole node: allowed or not, limited in time, and over by themselves."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, field

import pytest

from tiercluster.cluster.wire import (
    Ack,
    ColdDrop,
    ColdGet,
    ColdPut,
    Fields,
    Kind,
    NodeFault,
    Ping,
    Refusal,
    Status,
    StatusQuery,
)
from tiercluster.node.access import Role, is_allowed
from tiercluster.node.messages import CutOff
from tiercluster.node.node_faults import KILL_DELAY_S, NodeFaults
from tiercluster.tiermap.raft import NO_CUT, Cut

DONE = (Status.OK, Ack())


@dataclass
class FakeHands:
    done: list[str] = field(default_factory=list)
    freezable: bool = True

    def kill(self) -> None:
        self.done.append("killed")

    def freeze(self, seconds: float) -> None:
        self.done.append(f"frozen for {seconds:g}")

    def is_freezable(self) -> bool:
        return self.freezable


class World:
    def __init__(self, allowed: bool = True) -> None:
        self.told: list[CutOff] = []
        self.hands = FakeHands()
        self.faults = NodeFaults(allowed, self.told.append, self.hands)

    def ask(self, now: float, kind: str, for_ms: float = 0.0, *peers: str) -> Status:
        return self.faults.answer(NodeFault(kind, for_ms, peers), now)[0]


def ping(node: str) -> Ping:
    return Ping(node, "a", 0, 1, "", False)


@pytest.mark.parametrize("kind", ["kill", "freeze", "partition", ""])
def test_nothing_is_done_unless_the_node_allows_it(kind: str) -> None:
    world = World(allowed=False)
    status, fields = world.faults.answer(NodeFault(kind, 1000.0, ("n2",)), 10.0)
    assert status is Status.REFUSED
    assert fields == Refusal("this node was started without --allow-faults")
    world.faults.tick(11.0)
    assert (world.hands.done, world.told) == ([], [])
    assert not world.faults.drops("n2", 10.1)


def test_only_an_admin_may_ask() -> None:
    assert is_allowed(Role.ADMIN, Kind.NODE_FAULT)
    assert not is_allowed(Role.CLIENT, Kind.NODE_FAULT)


@pytest.mark.parametrize(
    ("kind", "for_ms"),
    [("freeze", 0), ("freeze", 60_001), ("partition", 0), ("partition", float("nan")),
     ("freeze", -1), ("melt", 10)],
)  # fmt: skip
def test_what_would_not_end_by_itself_is_refused(kind: str, for_ms: float) -> None:
    world = World()
    assert world.ask(10.0, kind, for_ms, "n2") is Status.BAD_REQUEST
    assert (world.hands.done, world.told) == ([], [])


def test_a_kill_waits_for_its_answer_to_leave() -> None:
    world = World()
    assert world.faults.answer(NodeFault("kill"), 10.0) == DONE
    world.faults.tick(10.0 + KILL_DELAY_S / 2)
    assert world.hands.done == []
    world.faults.tick(10.0 + KILL_DELAY_S)
    world.faults.tick(11.0)
    assert world.hands.done == ["killed"]


def test_a_node_is_frozen_once_at_a_time() -> None:
    world = World()
    assert world.ask(10.0, "freeze", 2000.0) is Status.OK
    assert world.ask(11.0, "freeze", 2000.0) is Status.REFUSED
    assert world.ask(12.0, "freeze", 500.0) is Status.OK
    assert world.hands.done == ["frozen for 2", "frozen for 0.5"]


def test_what_cannot_be_stopped_from_inside_is_not_tried() -> None:
    world = World()
    world.hands.freezable = False
    assert world.ask(10.0, "freeze", 500.0) is Status.REFUSED
    assert world.hands.done == []


def test_a_partition_drops_what_passes_to_and_from_its_members_until_it_is_over() -> None:
    world = World()
    assert world.ask(10.0, "partition", 2000.0, "n2", "n3") is Status.OK
    assert world.told == [CutOff(Cut(frozenset({"n2", "n3"}), 12.0))]
    assert world.faults.drops("n2", 11.9)
    assert not world.faults.drops("n4", 11.9)
    assert not world.faults.drops("n2", 12.0)


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        (ping("n2"), True),
        (ping("n4"), False),
        (ColdPut("n2/cold@3", b"\0k", 1, 0, None), True),
        (ColdGet("n2/cold@3", b"\0k", 1), True),
        (ColdDrop("n2/cold@3", b""), True),
        (ColdDrop("n4/cold@3", b""), False),
        (StatusQuery(), False),
    ],
)
def test_requests_of_a_member_that_is_cut_off_are_dropped(fields: Fields, dropped: bool) -> None:
    world = World()
    world.ask(10.0, "partition", 2000.0, "n2")
    assert world.faults.drops_request(fields, 11.0) is dropped
    assert not world.faults.drops_request(fields, 12.0)


def test_a_partition_can_be_healed_early() -> None:
    world = World()
    world.ask(10.0, "partition", 2000.0, "n2")
    assert world.ask(10.5, "") is Status.OK
    assert not world.faults.drops("n2", 10.6)
    assert world.told[-1] == CutOff(NO_CUT)


# --- a real process -----------------------------------------------------------------------------

FREEZE = """
import os, signal, time
from tiercluster.node import freezing
{patch}
began = time.monotonic()
freezing.freeze(0.2)
print(time.monotonic() - began)
"""
LATE = """
stop = freezing._stop_process
freezing._stop_process = lambda: (time.sleep(0.5), stop())  # we have been woken before it
"""
AFTERWARDS = """
import threading
stop = freezing._stop_process
freezing._stop_process = threading.Timer(0.1, stop).start  # and the call returns at once
"""


def frozen(patch: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", FREEZE.format(patch=patch)],
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    return float(done.stdout)


def test_a_process_stops_itself_and_is_woken() -> None:
    assert frozen("") >= 0.2


def test_a_stop_that_comes_late_is_woken_too() -> None:
    assert frozen(LATE) >= 0.5


def test_a_stop_that_comes_when_the_call_has_returned_is_woken_too() -> None:
    assert frozen(AFTERWARDS) >= 0.2


def test_a_frozen_process_does_not_run() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "from tiercluster.node.freezing import freeze; freeze(1.0)"]
    ) as process:
        deadline = time.monotonic() + 10
        while state_of(process.pid) != "T" and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert process.poll() is None
        assert process.wait(10) == 0


def state_of(pid: int) -> str:
    told = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return told.stdout.strip()[:1]
