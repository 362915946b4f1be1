"""What comes over the wire is hostile until it is checked; what is unpickled names nothing."""

from __future__ import annotations

import os
import pickle
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiercluster.tiermap.raft import cbor, unpickle
from tiercluster.tiermap.raft.library import is_append
from tiercluster.tiermap.raft.messages import Hello, Raft, decode, encode_hello, encode_raft
from tiercluster.tiermap.raft.settings import MAX_FRAME_BYTES

BODIES: list[dict[str, Any]] = [
    {"type": "request_vote", "term": 3, "last_log_index": 9, "last_log_term": 2},
    {"type": "response_vote", "term": 3},
    {"type": "pre_vote", "round": 3, "last_log_index": 9, "last_log_term": 2},
    {"type": "pre_vote_answer", "round": 3, "term": 4, "granted": True},
    {
        "type": "append_entries",
        "term": 1,
        "commit_index": 2,
        "entries": [[b"\x00x", 3, 1], [b"\x01", 4, 1]],
        "prevLogIdx": 2,
        "prevLogTerm": 1,
    },
    {"type": "append_entries", "term": 1, "commit_index": 2, "serialized": [b"x", True, False]},
    {"type": "append_entries", "term": 1, "commit_index": 2, "serialized": None},
    {"type": "next_node_idx", "next_node_idx": 4, "reset": False, "success": True, "term": 2},
    {"type": "apply_command", "command": b"\x00x"},
    {"type": "apply_command", "command": b"\x00x", "request_id": 8},
    {"type": "apply_command_response", "request_id": 8, "log_idx": 3, "log_term": 1},
    {"type": "apply_command_response", "request_id": 8, "error": 4},
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body["type"])
def test_a_message_of_the_library_comes_back_as_it_was(body: dict[str, Any]) -> None:
    assert decode(encode_raft(5, 6, body)) == Raft(5, 6, body)


@pytest.mark.parametrize("version", [1, 2])
def test_a_message_is_the_same_in_every_version(version: int) -> None:
    data = encode_raft(5, 6, BODIES[0], version)
    assert cbor2.loads(data)[0] == version
    assert decode(data) == Raft(5, 6, BODIES[0])


@pytest.mark.parametrize(("newest", "version"), [(1, 1), (2, 2), (7, 2)])
def test_a_hello_comes_back_as_it_was(newest: int, version: int) -> None:
    hello = Hello("c", "n1", 5, 6, 7, 8, 9, "digest", newest=newest)
    assert cbor2.loads(encode_hello(hello))[0] == version
    assert decode(encode_hello(hello)) == hello


def test_a_newer_version_is_named() -> None:
    with pytest.raises(ValueError, match="version 3; this node speaks 1 to 2"):
        decode(cbor2.dumps([3, "raft", 5, 6, "response_vote", 1]))


@pytest.mark.parametrize(
    "message",
    [
        [1, "raft", 5, 6, "timeout_now", 1],
        [1, "raft", 5, 6, "append", 1, 2, [[b"", 3, 1]], 2, 1],  # an empty command
        [1, "raft", 5, 6, "append", 1, 2, [[b"x", 3, 1], [b"x", 5, 1]], 2, 1],  # a gap
        [1, "raft", 5, 6, "response_vote", True],
        [1, "raft", 5, 6, "response_vote", 2**63],
        [1, "raft", 5, 6, "response_vote"],
        [3, "raft", 5, 6, "response_vote", 1],
        [0, "raft", 5, 6, "response_vote", 1],
        [2, "hello", "c", "n1", 5, 6, 7, 8, 9, ""],
        [1, "hello", "c", "n1", 5, 6, 7, 8, 9, "", 1, 2],
        [1, "hello", "c", "n" * 300, 5, 6, 7, 8, 9, ""],
        "text",
        [],
    ],
    ids=repr,
)
def test_what_is_not_exactly_a_message_is_refused(message: Any) -> None:
    with pytest.raises(ValueError):
        decode(cbor2.dumps(message))


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_value_errors(data: bytes) -> None:
    try:
        decode(data)
    except ValueError:
        return


@given(st.sampled_from(BODIES), st.integers(0, 80), st.integers(1, 255))
def test_a_flipped_byte_raises_nothing_but_value_errors(
    body: dict[str, Any], at: int, flip: int
) -> None:
    data = bytearray(encode_raft(5, 6, body))
    data[at % len(data)] ^= flip
    try:
        decode(bytes(data))
    except ValueError:
        return


@pytest.mark.parametrize(
    "data",
    [
        b"\x81" * 10_000,  # nested
        b"\x9b" + b"\xff" * 8,  # an array of 2**64 items
        b"\x5b" + b"\xff" * 8,  # a byte string of that size
        cbor2.dumps({"a": 1}),
        cbor2.dumps(2**70),
        b"\xd8\x23\x64(a+)",  # a regular expression
        b"\x9f\xff",  # of unknown length
        b"\x61\xff",  # a text that is no UTF-8
        b"",
    ],
)
def test_what_declares_too_much_is_refused_before_it_is_read(data: bytes) -> None:
    with pytest.raises(ValueError):
        cbor.loads(data, 2**20)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("/tmp/the-bomb-went-off",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_names_anything_is_not_loaded(protocol: int) -> None:
    for bomb in (Bomb(), os.system, Exception, ValueError("x")):
        with pytest.raises(pickle.UnpicklingError, match="has no place"):
            unpickle.loads(pickle.dumps(bomb, protocol))


@pytest.mark.parametrize(
    "steps",
    [
        b"K\x00r\xff\xff\xff\xff",  # remember it at place 2 ** 32 - 1
        b"}K\x00K\x00s",  # a dictionary: its keys are hashed
        b"\x8e" + (2**62).to_bytes(8, "little"),  # a byte string of 2 ** 62 bytes
        b"B\xff\xff\xff\xffshort",
        b"\x8b\xff\xff\xff\x7f",  # an integer of two billion bytes
        b"(" * 64,
        b"K\x002" * 40,  # the same again and again
        b"K",
        b"",
    ],
)
def test_pickles_that_ask_for_much_are_refused_before_anything_is_made(steps: bytes) -> None:
    with pytest.raises(pickle.UnpicklingError):
        unpickle.loads(b"\x80\x04" + steps + b".")


def test_the_library_itself_unpickles_through_the_tamed_one() -> None:
    import pysyncobj.pickle
    import pysyncobj.syncobj

    assert pysyncobj.syncobj.pickle.loads is unpickle.loads
    with pytest.raises(pickle.UnpicklingError, match="has no place"):
        pysyncobj.pickle.loads(pickle.dumps(Bomb(), 2))
    assert pysyncobj.pickle.loads(pysyncobj.pickle.dumps((0, (b"\xff",)))) == (0, (b"\xff",))


def test_only_calls_of_append_get_into_the_log() -> None:
    assert is_append(b"\x00" + unpickle.dumps((0, (b"frame",))))
    assert not is_append(b"\x02" + unpickle.dumps(["add", "x"]))  # a change of members
    assert not is_append(b"\x03" + unpickle.dumps(1))  # a change of code version
    assert not is_append(b"\x00" + unpickle.dumps((0, (b"frame",), {"callback": 1})))
    assert not is_append(b"\x00" + unpickle.dumps((0, ("text",))))
    assert not is_append(b"\x00" + pickle.dumps(Bomb()))
    assert not is_append(b"\x00" + unpickle.dumps((0, (bytes(MAX_FRAME_BYTES + 100),))))
    assert not is_append(b"")
