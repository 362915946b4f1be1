"""Decoders of the tier map take any bytes and raise ValueError only."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import cbor2
from hypothesis import given, settings
from hypothesis import strategies as st

from tiercluster.tiermap import (
    Event,
    LevelRaised,
    MapState,
    Member,
    NodeJoined,
    Outcome,
    OutcomeCode,
    Tier,
    TierFailed,
    TierMap,
    TierRef,
    decode_command,
    decode_delta,
    decode_event,
    decode_map,
    decode_state,
    diff,
    encode_command,
    encode_delta,
    encode_event,
    encode_map,
    encode_state,
)
from tiercluster.tiermap.limits import MAX_COUNT

FACTS = (("failures", 5), ("rate", 0.5), ("path", "/data"))
JOIN = NodeJoined(
    id="j", by="n1", node="n1", cluster="c", address="a:1", incarnation="i", max_unavailable=0.3
)
JOIN_2 = replace(JOIN, level=2, replicas=3)
RAISE = LevelRaised(id="r", by="n1", level=2, map_digest="d")
COMMAND = TierFailed(
    id="c", by="n1", ref=TierRef("n1", Tier.COLD), generation=3, reason="EIO", evidence=FACTS
)
MAP = TierMap("c", 7, 3, (Member("n1", "a:1", incarnation="i", unreachable_by=("n2",)),), "d")
MAP_2 = replace(MAP, replicas=2, members=(replace(MAP.members[0], level=2),))
EVENT = Event(7, 1.5, "n1/cold", "UP", "DOWN", "n1", "EIO", FACTS)
STATE = MapState(MAP, (EVENT,), (Outcome("c", OutcomeCode.DONE, "done", 7),))
FRAMES = (
    encode_command(COMMAND),
    encode_command(JOIN),
    encode_command(JOIN_2),
    encode_command(RAISE),
    encode_map(MAP),
    encode_map(MAP_2),
    encode_state(MapState(MAP_2)),
    encode_delta(diff(MAP, MAP_2)),
    encode_state(STATE),
    encode_event(EVENT),
    encode_delta(diff(TierMap(), MAP)),
)
DECODERS = (decode_command, decode_map, decode_state, decode_event, decode_delta)


def decode_all(frame: bytes) -> None:
    for decode in DECODERS:
        with suppress(ValueError):
            decode(frame)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_random_bytes(frame: bytes) -> None:
    decode_all(frame)


@settings(max_examples=400)
@given(
    st.sampled_from(FRAMES),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 400),
)
def test_frames_with_some_bytes_changed_or_cut_off(
    frame: bytes, changes: list[tuple[int, int]], length: int
) -> None:
    mutated = bytearray(frame)
    for at, byte in changes:
        mutated[at % len(mutated)] = byte
    decode_all(bytes(mutated))
    decode_all(bytes(mutated[:length]))


plain = st.recursive(
    st.one_of(
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=8),
        st.booleans(),
        st.none(),
        st.binary(max_size=4),
        st.sampled_from(["n1", "hot", "UP", "IN", "done"]),
    ),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)
KINDS = (
    "barrier",
    "level_raised",
    "drain",
    "node_joined",
    "tier_failed",
    "restore",
    "map",
    "state",
    "event",
)


@settings(max_examples=150)
@given(st.sampled_from([1, 2]), st.sampled_from(KINDS), st.lists(plain, max_size=15))
def test_frames_with_any_fields(version: int, kind: str, fields: list[object]) -> None:
    decode_all(cbor2.dumps([version, kind, *fields]))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
facts = st.tuples(
    texts,
    st.one_of(
        texts,
        st.integers(-MAX_COUNT, MAX_COUNT),
        st.floats(-1e18, 1e18),
        st.booleans(),
    ),
)


@settings(max_examples=200)
@given(texts, texts, st.floats(0, 1e10), st.integers(0, MAX_COUNT), st.lists(facts, max_size=5))
def test_whatever_is_within_the_limits_comes_back_as_it_was(
    by: str, reason: str, time: float, generation: int, found: list[tuple[str, object]]
) -> None:
    command = TierFailed(
        id="c",
        by=by,
        time=time,
        ref=TierRef("n1", Tier.WARM),
        generation=generation,
        reason=reason,
        evidence=tuple(found),  # type: ignore[arg-type]
    )
    assert decode_command(encode_command(command)) == command


@settings(max_examples=200)
@given(st.sampled_from(FRAMES), st.integers(0, 400), st.integers(0, 255))
def test_a_frame_that_decodes_means_the_same_when_encoded_again(
    frame: bytes, at: int, byte: int
) -> None:
    mutated = bytearray(frame)
    mutated[at % len(mutated)] = byte
    with suppress(ValueError):
        command = decode_command(bytes(mutated))
        assert decode_command(encode_command(command)) == command
