"""Frames of the tier map: round trips, limits, and bytes from strangers."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import cbor2
import pytest

from tiercluster.tiermap import (
    MAX_COMMAND_BYTES,
    MAX_EVENTS,
    MAX_MEMBERS,
    MAX_OUTCOMES,
    MAX_STATE_BYTES,
    TIERS,
    Barrier,
    Drain,
    Event,
    MapState,
    Member,
    NodeJoined,
    Outcome,
    OutcomeCode,
    Tier,
    TierFailed,
    TierMap,
    TierRecord,
    TierRef,
    brief,
    decode_command,
    decode_map,
    decode_state,
    encode_command,
    encode_event,
    encode_map,
    encode_state,
    event_from_json,
    event_to_json,
    evidence,
)

FAILED = TierFailed(
    id="c1",
    by="n2",
    time=1.5,
    ref=TierRef("n2", Tier.COLD),
    generation=3,
    reason="EIO",
    evidence=(("failures", 5), ("rate", 0.5), ("path", "/data")),
)


def test_the_frame_of_a_command_is_what_it_was_yesterday() -> None:
    assert cbor2.loads(encode_command(FAILED)) == [
        1,
        "tier_failed",
        "c1",
        "n2",
        1.5,
        ["n2", "cold"],
        3,
        "EIO",
        [["failures", 5], ["rate", 0.5], ["path", "/data"]],
    ]


def test_equal_commands_have_equal_frames_whatever_number_type_they_were_made_with() -> None:
    assert encode_command(replace(FAILED, time=2)) == encode_command(replace(FAILED, time=2.0))


def frame(*fields: object) -> bytes:
    return cbor2.dumps(list(fields))


STRANGE = {
    "nothing": b"",
    "no CBOR": b"\xff\xff",
    "no array": frame()[:0] + cbor2.dumps({"a": 1}),
    "an empty array": frame(),
    "no kind": frame(1),
    "a kind that is a number": frame(1, 7),
    "an unknown kind": frame(1, "explode", "c1", "n2", 1.5),
    "a version that is true": frame(True, "barrier", "b", "n1", 0.0),
    "a version that is a fraction": frame(1.0, "barrier", "b", "n1", 0.0),
    "a field too few": frame(1, "barrier", "b", "n1"),
    "a field too many": frame(1, "barrier", "b", "n1", 0.0, 0),
    "no id": frame(1, "barrier", "", "n1", 0.0),
    "a long id": frame(1, "barrier", "b" * 129, "n1", 0.0),
    "a time that is none": frame(1, "barrier", "b", "n1", float("nan")),
    "a time without end": frame(1, "barrier", "b", "n1", float("inf")),
    "a time that is true": frame(1, "drain", "b", "n1", "now", "n1", [], False),
    "a node with a slash": frame(1, "drain", "b", "n1", 0.0, "a/b", [], False),
    "a node without end": frame(1, "drain", "b", "n1", 0.0, "n" * 65, [], False),
    "a node with a line end": frame(1, "drain", "b", "n1", 0.0, "n1\n", [], False),
    "a tier that is none": frame(1, "drain", "b", "n1", 0.0, "n1", ["tepid"], False),
    "a tier that is a list": frame(1, "drain", "b", "n1", 0.0, "n1", [["hot"]], False),
    "four tiers": frame(1, "drain", "b", "n1", 0.0, "n1", ["hot"] * 4, False),
    "a flag that is a number": frame(1, "drain", "b", "n1", 0.0, "n1", [], 0),
    "bytes for text": frame(1, "drain", "b", "n1", 0.0, b"n1", [], False),
    "a tag": cbor2.dumps([1, "barrier", "b", "n1", cbor2.CBORTag(1, 0)]),
    "a big number": frame(1, "barrier", "b", "n1", 2**70),
    "an array of unknown length": b"\x9f\x01\xff",
    "a text of unknown length": b"\x81\x7f\x61a\xff",
    "an array longer than its frame": b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff",
    "a text longer than its frame": b"\x81\x7b\x00\x00\x00\xff\xff\xff\xff\xff",
    "a text that is no UTF-8": b"\x85\x01\x67barrier\x61b\x61\xff\x00",
    "deep nesting": b"\x81" * 50_000 + b"\x00",
    "bytes behind the frame": encode_command(FAILED) + b"\x00",
    "null": b"\xf6",
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_frame_is_a_value_error(name: str) -> None:
    for decode in (decode_command, decode_map, decode_state):
        with pytest.raises(ValueError):
            decode(STRANGE[name])


@pytest.mark.parametrize(
    ("strange", "words"),
    [
        (b"\x81" * 50_000 + b"\x00", "nested deeper than 8"),
        (b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff", "cut short"),
        (b"\x81\x7b\x00\x00\x00\xff\xff\xff\xff\xff", "cut short"),
        (b"\x9f\x01\xff", "unknown length"),
        (b"\xc1\x00", "type 6"),
        (b"\xa1\x00\x00", "type 5"),
        (frame(1, "barrier", "b"), "Barrier has 3 fields"),
    ],
)
def test_what_is_wrong_is_found_before_anything_is_made(strange: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode_command(strange)


def test_a_newer_version_is_named() -> None:
    with pytest.raises(ValueError, match="codec version 3; this member speaks 1 to 2"):
        decode_command(frame(3, "barrier", "b", "n1", 0.0, "more"))


def test_a_frame_of_another_kind_is_named() -> None:
    with pytest.raises(ValueError, match="'map' where 'state' was expected"):
        decode_state(encode_map(TierMap()))


@pytest.mark.parametrize(
    ("decode", "limit"),
    [(decode_command, MAX_COMMAND_BYTES), (decode_map, MAX_STATE_BYTES)],
)
def test_a_frame_past_its_limit_is_not_even_looked_at(decode: object, limit: int) -> None:
    with pytest.raises(ValueError, match=f"the limit is {limit}"):
        decode(b"\x00" * (limit + 1))  # type: ignore[operator]


def test_more_items_than_any_map_has_are_refused() -> None:
    many = b"\x9a" + struct.pack(">I", 2_000_000) + b"\x00" * 2_000_000
    with pytest.raises(ValueError, match="items"):
        decode_map(many)


def join(**fields: object) -> NodeJoined:
    base = NodeJoined(id="j", by="n1", node="n1", cluster="c", address="a:1", incarnation="i")
    return replace(base, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "command",
    [
        join(node=""),
        join(node="n/1"),
        join(weight=0.0),
        join(weight=-1.0),
        join(weight=float("inf")),
        join(max_unavailable=-0.01),
        join(max_unavailable=1.01),
        join(max_unavailable=float("nan")),
        join(incarnation=""),
        join(address="a" * 256),
        Barrier(id="", by="n1"),
        Barrier(id="b", by="\ud800"),
        replace(FAILED, reason="x" * 513),
        replace(FAILED, generation=-1),
        replace(FAILED, generation=2**64),
        replace(FAILED, evidence=(("rate", float("nan")),)),
        replace(FAILED, evidence=(("count", 2**70),)),
        replace(FAILED, evidence=(("text", "x" * 1025),)),
        replace(FAILED, evidence=tuple((str(i), i) for i in range(17))),
        Drain(id="d", by="op", node="n1", tiers=(Tier.HOT,) * 4),
    ],
    ids=repr,
)
def test_what_could_not_be_decoded_is_not_encoded(command: NodeJoined) -> None:
    with pytest.raises(ValueError):
        encode_command(command)


@pytest.mark.parametrize("share", [-0.01, 1.01, float("nan"), "0.5"])
def test_a_map_or_a_command_with_a_share_that_is_none_is_refused(share: object) -> None:
    map_fields = cbor2.loads(encode_map(TierMap()))
    join_fields = cbor2.loads(encode_command(join()))
    *head, limit, founded = map_fields
    assert limit == join_fields[-1] == 1 / 3
    with pytest.raises(ValueError, match=r"share|number"):
        decode_map(frame(*head, share, founded))
    with pytest.raises(ValueError, match=r"share|number"):
        decode_command(frame(*join_fields[:-1], share))


@pytest.mark.parametrize(
    "members",
    [
        (Member("n2", "a:1"), Member("n1", "a:1")),
        (Member("n1", "a:1"), Member("n1", "a:1")),
        (Member("n1", "a:1", tiers=(TierRecord(Tier.HOT),)),),
        (Member("n1", "a:1", tiers=tuple(TierRecord(t) for t in reversed(TIERS))),),
    ],
)
def test_a_map_out_of_order_is_refused(members: tuple[Member, ...]) -> None:
    with pytest.raises(ValueError, match="member"):
        decode_map(encode_map(TierMap(members=members)))


def test_the_largest_state_fits_its_limit() -> None:
    text, facts = "x" * 512, (("k", "v" * 1023),)
    tiers = tuple(TierRecord(t, reason=text, by="b" * 128, evidence=facts) for t in TIERS)
    members = tuple(
        Member(f"{i:064}", "a" * 255, "r" * 255, incarnation="i" * 128, reason=text, tiers=tiers)
        for i in range(MAX_MEMBERS)
    )
    event = Event(2**40, 1e9, "n" * 69, "RECOVERING", "DRAINING", "b" * 128, text, facts)
    outcome = Outcome("c" * 128, OutcomeCode.REFUSED, text, 2**40)
    state = MapState(
        TierMap("c" * 64, 2**40, 2**40, members, "d" * 32),
        (event,) * MAX_EVENTS,
        (outcome,) * MAX_OUTCOMES,
    )
    assert len(encode_state(state)) < MAX_STATE_BYTES * 3 / 4  # the rest is for reports


def test_an_event_as_json_has_the_fields_of_the_contract() -> None:
    event = Event(4, 1.5, "n2/cold", "UP", "DOWN", "n2", "EIO", (("failures", 5),))
    assert event_to_json(event) == {
        "version": 4,
        "time": 1.5,
        "ref": "n2/cold",
        "from": "UP",
        "to": "DOWN",
        "by": "n2",
        "reason": "EIO",
        "evidence": {"failures": 5},
    }
    assert event_from_json(json.loads(json.dumps(event_to_json(event)))) == event


@pytest.mark.parametrize("fields", [{}, {"version": 1}, {"evidence": [], "version": 1}])
def test_what_is_no_event_is_a_value_error(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        event_from_json(fields)


def test_texts_are_cut_to_fit() -> None:
    assert brief("short") == "short"
    assert brief("ä" * 300, 11) == "ä" * 4 + "…"
    assert len(brief("\U0001f600" * 300).encode()) <= 512
    assert brief("\ud800") == "?"


def test_evidence_is_made_to_fit() -> None:
    facts = evidence(rate=float("nan"), count=2**70, path="x" * 1000, failures=5)
    assert [key for key, _ in facts] == ["rate", "count", "path", "failures"]
    assert facts[0][1] == "nan"
    many = evidence(**{f"k{i}": "v" * 300 for i in range(30)})
    for kept in (facts, many):
        command = replace(FAILED, evidence=kept)
        assert decode_command(encode_command(command)) == command
    assert encode_event(Event(1, 0.0, "n1", "UP", "DOWN", "n1", "r", many))
