"""What version 1 has written is read today, and what is written for it today it can read.

v1_frames.json holds every message, command, map and snapshot as the software of version 1 wrote it.
The other way round that software itself is asked (`old_software`).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.property.map_plans import NODES, Plan, history, plans
from tiercluster import tiermap
from tiercluster.cluster import codec, wire
from tiercluster.node.run import machine
from tiercluster.tiermap import (
    LEVEL,
    Command,
    LevelRaised,
    MapState,
    Member,
    NodeJoined,
    TierMap,
    apply,
    decode_command,
    decode_state,
    diff,
    encode_command,
    encode_delta,
    encode_map,
    encode_state,
)
from tiercluster.tiermap.raft import messages
from tiercluster.tiermap.raft.journal import Journal
from tiercluster.tiermap.raft.snapshot import Snapshot, SnapshotStore
from tiercluster.tiermap.schema import NEWER_COMMANDS

from .old import HERE, OldSoftware
from .old_software import frames_of, value_of

RECORDED: dict[str, dict[str, Any]] = json.loads((HERE / "v1_frames.json").read_text())
SPOKEN = {wire.VERSION, messages.NEWEST, tiermap.CODEC_VERSION}

JOIN = NodeJoined(id="j", by="n1", node="n1", cluster="c", address="a:1", incarnation="i")
JOIN_2 = replace(JOIN, level=2, replicas=3)
RAISE = LevelRaised(id="r", by="n1", level=2, map_digest="d")
MAP_2 = TierMap("c", 7, 7, (Member("n1", "a:1", incarnation="i", level=2),), "d", replicas=2)
DELTA_2 = diff(TierMap("c", 6, 6, (), "b"), MAP_2)
HELLO_2 = messages.Hello("c", "n1", 5, 6, 7, 8, 9, "digest", 1, 2)
ASKED = wire.Request(wire.Kind.HELLO, 1, 7, 0, b"client-1", False, wire.Hello())


def test_all_parts_speak_one_number() -> None:
    assert {LEVEL} == SPOKEN


def test_the_recording_is_what_version_one_says(old_software: OldSoftware) -> None:
    assert old_software.ask("record") == RECORDED


def test_the_recording_holds_every_kind_of_version_one() -> None:
    asked = {f"{k.name} asked" for k in wire.ASKED if wire.SINCE.get(k, 1) == 1}
    answered = {f"{k.name} answered" for k in wire.ANSWERED if wire.SINCE.get(k, 1) == 1}
    commands = {cls.__name__ for cls in set(Command.__args__) - set(NEWER_COMMANDS)}
    raft = {f"raft {kind}" for kind in messages.SHAPES}
    assert set(RECORDED) >= asked | answered | commands | raft


@pytest.mark.parametrize("name", RECORDED)
def test_what_version_one_wrote_is_read_and_written_as_it_was(name: str) -> None:
    what = RECORDED[name]["what"]
    frames = [bytes.fromhex(frame) for frame in RECORDED[name]["frames"]]
    assert frames_of(what, value_of(what, frames)) == frames


# --- the other way round --------------------------------------------------------------------------

FOR_OLD = {
    "a join": ("command", [encode_command(JOIN_2, newest=1)]),
    "a map": ("map", [encode_map(MAP_2, newest=1)]),
    "a difference": ("delta", [encode_delta(DELTA_2, newest=1)]),
    "a greeting": ("request", codec.encode_request(ASKED)),
    "a hello": ("raft", [messages.encode_hello(replace(HELLO_2, newest=1))]),
}
OF_VERSION_2 = {
    "a join": ("command", [encode_command(JOIN_2)]),
    "a raise": ("command", [encode_command(RAISE)]),
    "a map": ("map", [encode_map(MAP_2)]),
    "a difference": ("delta", [encode_delta(DELTA_2)]),
    "a snapshot": ("state", [encode_state(MapState(MAP_2))]),
    "a request": ("request", codec.encode_request(ASKED._replace(protocol=2))),
    "a hello": ("raft", [messages.encode_hello(HELLO_2)]),
}


@pytest.mark.parametrize("name", FOR_OLD)
def test_what_is_written_for_version_one_it_can_read(old_software: OldSoftware, name: str) -> None:
    what, frames = FOR_OLD[name]
    assert old_software.decode(what, frames)["again"] == [frame.hex() for frame in frames]


@pytest.mark.parametrize("name", OF_VERSION_2)
def test_what_is_of_version_two_it_turns_down_in_words(
    old_software: OldSoftware, name: str
) -> None:
    assert "error" in old_software.decode(*OF_VERSION_2[name])


# --- one log, two machines ------------------------------------------------------------------------


def below_level_two(plan: Plan) -> list[Command]:
    """What may be in the log of a cluster with a member of version 1; some of it is above it."""
    joins = [replace(JOIN, id=f"join {n}", by=n, node=n) for n in NODES[:3]]
    state, sent = MapState(), list[Command]()
    for command in joins:
        state = apply(state, command)
    for command in history(state, plan):
        state = apply(state, command)
        if state.map.level > 1:
            break
        sent.append(command)
    return [*joins, *sent]


# Not shrunk: it would take minutes, and the entry after which they differ says enough.
@settings(max_examples=100, phases=[Phase.reuse, Phase.generate])
@given(plan=plans)
def test_the_machines_of_both_versions_hold_the_same_map_after_every_entry(
    old_software: OldSoftware, plan: Plan
) -> None:
    frames = [encode_command(command) for command in below_level_two(plan)]
    today, state, digests = machine(), MapState(), []
    for frame in frames:
        state = today.apply(state, frame)
        digests.append([state.map.version, state.map.digest])
    theirs = old_software.ask("apply", frames=[frame.hex() for frame in frames])
    assert digests == theirs["digests"]
    assert encode_state(state).hex() == theirs["state"]


@given(st.sampled_from(sorted(RECORDED)), st.integers(0, 400), st.integers(1, 255))
@settings(max_examples=150)
def test_what_is_not_quite_what_version_one_wrote_is_read_or_refused(
    name: str, at: int, flip: int
) -> None:
    head, *body = (bytearray.fromhex(frame) for frame in RECORDED[name]["frames"])
    head[at % len(head)] ^= flip
    try:
        value_of(RECORDED[name]["what"], [bytes(head), *map(bytes, body)])
    except ValueError:
        return


# --- files ----------------------------------------------------------------------------------------


def log_of_three() -> tuple[list[bytes], bytes]:
    commands = [replace(JOIN, id=f"join {n}", by=n, node=n) for n in NODES[:3]]
    state = MapState()
    for command in commands:
        state = apply(state, command)
    return [encode_command(command) for command in commands], encode_state(state)


def test_files_of_version_one_are_read(old_software: OldSoftware, tmp_path: Path) -> None:
    frames, state = log_of_three()
    old_software.ask(
        "write", directory=str(tmp_path), frames=[f.hex() for f in frames], state=state.hex()
    )
    log = Journal(tmp_path, fsync=False)
    assert [entry[0] for entry in log[:]] == frames
    assert (log.getCurrentTerm(), log.getVotedForNodeId()) == (3, "n2")
    log._destroy()
    saved = SnapshotStore(tmp_path / "snapshot", fsync=False).read()
    assert saved is not None
    assert decode_state(saved.state).map.version == 3
    assert [decode_command(frame).by for frame in frames] == list(NODES[:3])


def test_a_node_that_is_rolled_back_reads_its_files(
    old_software: OldSoftware, tmp_path: Path
) -> None:
    frames, state = log_of_three()
    log = Journal(tmp_path, fsync=False)
    for index, frame in enumerate([*frames, encode_command(RAISE)], 1):
        log.add(frame, index, 3)
    log.sync()
    log.setCurrentTerm(3, "n2")
    log._destroy()
    snapshot = Snapshot(state, (frames[2], 3, 3), (frames[1], 2, 3))
    SnapshotStore(tmp_path / "snapshot", fsync=False).write(snapshot)
    found = old_software.ask("read", directory=str(tmp_path))
    assert [entry[1:] for entry in found["entries"]] == [[1, 3], [2, 3], [3, 3], [4, 3]]
    assert (found["vote"], found["version"]) == ([3, "n2"], 3)
