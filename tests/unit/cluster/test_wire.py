"""The wire codec: what is encoded comes back, and hostile bytes are a WireError, nothing else."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import fields as fields_of
from dataclasses import replace
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiercluster.cluster import wire
from tiercluster.cluster.codec import decode_reply, decode_request, encode_reply, encode_request
from tiercluster.cluster.wire import (
    ANSWERED,
    ASKED,
    FIRST_FIELDS,
    NAME_BYTES,
    OLDEST_VERSION,
    PRIOR_SINCE,
    REPLY,
    SINCE,
    VERSION,
    Get,
    Kind,
    MapUpdate,
    Mode,
    OpKind,
    Peek,
    Refusal,
    Replicate,
    Reply,
    Request,
    Status,
    Store,
    UnknownKind,
    Values,
    WireError,
    wire_key,
)

COUNTS = st.integers(0, 2**63 - 1)
KEYS = st.binary(min_size=2, max_size=40)
ONE: dict[str, st.SearchStrategy[Any]] = {
    "i": st.integers(-(2**63), 2**63 - 1),
    "u": COUNTS,
    "f": st.floats(allow_nan=False) | st.integers(-1000, 1000),
    "b": st.booleans(),
    "s": st.text(max_size=20),
    "y": st.binary(max_size=40),
    "k": KEYS,
    "K": KEYS | st.binary(max_size=9).map(lambda end: b"\0\xff" + end),
    "N": st.integers(-(2**31), 2**31 - 1),
    "V": st.integers(-(2**63), 2**63 - 1),
}


def field_values(code: str) -> st.SearchStrategy[Any]:
    one = ONE[code[0]]
    if "?" in code:
        one = st.none() | one
    return st.lists(one, max_size=5).map(tuple) if "*" in code or code in "KNV" else one


def messages(cls: type[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(*map(field_values, cls.shape.split())).map(lambda values: cls(*values))


@st.composite
def stores(draw: st.DrawFn) -> tuple[Store, bytes]:
    values = draw(st.lists(st.binary(max_size=20), max_size=5))
    mode = draw(st.sampled_from(list(Mode)))
    n = len(values)
    store = Store(
        int(mode),
        tuple(draw(st.lists(KEYS, min_size=n, max_size=n))),
        tuple(map(len, values)),
        draw(st.binary(min_size=n, max_size=n)),
        tuple(draw(st.lists(field_values("f?"), min_size=1, max_size=1))),
        tuple(range(n)) if mode is Mode.CAS else (),
    )
    return store, b"".join(values)


@st.composite
def replicates(draw: st.DrawFn) -> tuple[Replicate, bytes]:
    values = draw(st.lists(st.binary(max_size=20), max_size=5))
    n = len(values)
    plain = draw(messages(Replicate))
    replicate = replace(
        plain,
        kinds=bytes(draw(st.lists(st.sampled_from(list(OpKind)), min_size=n, max_size=n))),
        keys=tuple(draw(st.lists(KEYS, min_size=n, max_size=n))),
        versions=tuple(draw(st.lists(COUNTS, min_size=n, max_size=n))),
        sizes=tuple(map(len, values)),
        flags=draw(st.binary(min_size=n, max_size=n)),
        ttls=tuple(draw(st.lists(field_values("f?"), min_size=n, max_size=n))),
        names=draw(st.sampled_from([b"", bytes(n * NAME_BYTES)])),
    )
    return replicate, b"".join(values)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    kind = draw(st.sampled_from(list(ASKED)))
    whole = {Kind.STORE: stores(), Kind.REPLICATE: replicates()}
    others = st.tuples(messages(ASKED[kind]), st.binary(max_size=9))
    fields, body = draw(whole.get(kind, others))
    oldest = VERSION if ASKED[kind] in FIRST_FIELDS else SINCE.get(kind, OLDEST_VERSION)
    protocol = draw(st.integers(oldest, VERSION))
    prior = draw(st.just(0) | COUNTS) if protocol >= PRIOR_SINCE else 0
    return Request(
        kind, draw(COUNTS), draw(COUNTS), draw(COUNTS), draw(st.binary(min_size=8, max_size=8)),
        bool(prior) or draw(st.booleans()), fields, body, protocol, prior,
    )  # fmt: skip


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    kind = draw(st.sampled_from(list(ANSWERED)))
    status = draw(st.sampled_from(list(Status)))
    cls = {Status.OK: ANSWERED[kind], Status.STALE_MAP: MapUpdate}.get(status, Refusal)
    return Reply(kind, draw(COUNTS), draw(COUNTS), draw(COUNTS), status, draw(messages(cls)),
                 draw(st.binary(max_size=9)))  # fmt: skip


@given(requests())
@settings(max_examples=80)
def test_a_request_comes_back_as_it_was(request: Request) -> None:
    assert decode_request(encode_request(request)) == request


@given(replies())
@settings(max_examples=80)
def test_a_reply_comes_back_as_it_was(reply: Reply) -> None:
    assert decode_reply(encode_reply(reply)) == reply


def test_every_message_names_the_check_of_each_field() -> None:
    for cls in {*ASKED.values(), *ANSWERED.values(), Refusal}:
        assert len(cls.shape.split()) == len(fields_of(cls)), cls


def is_message_or_wire_error(frames: list[bytes]) -> None:
    for decode in (decode_request, decode_reply):
        with suppress(WireError):
            decode(frames)


@given(st.lists(st.binary(max_size=60), max_size=4))
@settings(max_examples=80)
def test_random_bytes_are_a_wire_error_at_worst(frames: list[bytes]) -> None:
    is_message_or_wire_error(frames)


@given(requests().map(encode_request) | replies().map(encode_reply), st.data())
@settings(max_examples=100)
def test_mutated_messages_are_a_wire_error_at_worst(
    frames: list[bytes], data: st.DataObject
) -> None:
    header = bytearray(frames[0])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(header) - 1))
        header[at] = data.draw(st.integers(0, 255))
    is_message_or_wire_error([bytes(header), *frames[1:]])
    is_message_or_wire_error([bytes(header[: data.draw(st.integers(0, len(header)))]), *frames[1:]])


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(st.lists(PLAIN, min_size=6, max_size=9))
@settings(max_examples=80)
def test_headers_of_any_values_are_a_wire_error_at_worst(header: list[Any]) -> None:
    is_message_or_wire_error([cbor2.dumps([VERSION, *header[1:]]), b""])


@pytest.mark.parametrize(
    "hostile",
    [
        b"\x81" * 100_000,  # nested
        b"\xc1" * 100_000,  # tags upon tags
        b"\xbf" * 1000,  # maps of unknown length
        b"\x9f" * 1000,
        b"\x9b\x7f" + b"\xff" * 7,  # an array of 2**63 items
        b"\x9a\xff\xff\xff\xff\x00",
        b"\x5b\x7f" + b"\xff" * 7,  # a string of 2**63 bytes
        b"\xbb\x7f" + b"\xff" * 7,
        b"\xc2\x5a\x7f\xff\xff\xff",
        cbor2.dumps(cbor2.CBORTag(35, "(?:a|b)" * 100_000)),  # a regular expression
        cbor2.dumps([VERSION, cbor2.CBORTag(2, b"\xff" * 1_000_000)]),
        cbor2.dumps([VERSION, cbor2.CBORTag(4, [10**9, 1])]),
        b"\xd8\x1c\x81\xd8\x1d\x00",  # a list that holds itself
        b"\xd9\xd9\xf7\x80",
        b"\xa1\x80\x00",
        b"\x7f\x61\xff\xff",
        b"",
    ],
)
def test_hostile_headers_cost_nothing_and_are_a_wire_error(hostile: bytes) -> None:
    start = time.process_time()
    for decode in (decode_request, decode_reply):
        with pytest.raises(WireError):
            decode([hostile, b""])
    assert time.process_time() - start < 0.5


def request_of(fields: list[Any], kind: int = Kind.GET, body: bytes = b"") -> list[bytes]:
    return [cbor2.dumps([VERSION, kind, 1, 2, 3, b"c" * 8, False, fields]), body]


def test_the_helper_makes_good_requests() -> None:
    assert decode_request(request_of([[b"kk"], False])).fields == Get((b"kk",), False)


@pytest.mark.parametrize(
    "fields",
    [
        [[b"k"], False],  # below the shortest wire key
        [[b"k" * (wire.MAX_WIRE_KEY_BYTES + 1)], False],
        [[b"kk", b"k" * (wire.MAX_WIRE_KEY_BYTES + 1)], False],
        [[b"kk", "kk"], False],
        [["kk"], False],
        [[b"kk"] * (wire.MAX_KEYS + 1), False],
        [b"k", False],
        [b"", False],
        [b"kk\xff", False],
        [b"kk\xff" + b"k" * (wire.MAX_WIRE_KEY_BYTES + 1), False],
        [b"kk\xff" * wire.MAX_KEYS + b"kk", False],
        [[b"kk"], 0],
        [[b"kk"]],
        [[b"kk"], False, 1],
        None,
        {},
    ],
)
def test_fields_of_another_shape_are_refused(fields: Any) -> None:
    with pytest.raises(WireError):
        decode_request(request_of(fields))


@pytest.mark.parametrize(
    "head",
    [
        [VERSION + 1, 1, 1, 2, 3, b"c" * 8, False, [[b"kk"], False]],
        [VERSION, 99, 1, 2, 3, b"c" * 8, False, [[b"kk"], False]],
        [VERSION, True, 1, 2, 3, b"c" * 8, False, [[b"kk"], False]],
        [VERSION, 1, -1, 2, 3, b"c" * 8, False, [[b"kk"], False]],
        [VERSION, 1, 2**63, 2, 3, b"c" * 8, False, [[b"kk"], False]],
        [VERSION, 1, 1, 2, 3, b"short", False, [[b"kk"], False]],
        [VERSION, 1, 1, 2, 3, b"c" * 8, 0, [[b"kk"], False]],
        [VERSION, 1, 1, 2, 3, b"c" * 8, False],
        [VERSION, int(Kind.MAP_PUSH), 1, 2, 3, b"c" * 8, False, [0, b""]],
    ],
)
def test_headers_of_another_shape_are_refused(head: list[Any]) -> None:
    with pytest.raises(WireError):
        decode_request([cbor2.dumps(head), b""])


@pytest.mark.parametrize(
    "store",
    [
        [0, [b"kk"], [3], [0], [None], []],  # the body has 2 bytes
        [0, [b"kk"], [-1], [0], [None], []],
        [0, [b"kk"], [2], [256], [None], []],
        [0, [b"kk"], [2], [0], [], []],
        [0, [b"kk"], [2, 0], [0], [None], []],
        [0, [b"kk"], [2], [0], [None], [1]],
        [3, [b"kk"], [2], [0], [None], []],
        [4, [b"kk"], [2], [0], [None], []],
        [0, [b"kk"], [2], [0], [math.nan], []],
        [0, [b"kk", b"ll"], [2, 0], [0, 0], [math.nan, 1.0], []],
    ],
)
def test_a_store_that_does_not_fit_its_body_is_refused(store: list[Any]) -> None:
    with pytest.raises(WireError):
        decode_request(request_of(store, Kind.STORE, b"vv"))


def test_a_store_of_no_keys_has_a_time_to_live_all_the_same() -> None:
    """The node looks at the first one before it looks at any key."""
    with pytest.raises(WireError, match="differ"):
        decode_request(request_of([0, [], b"", b"", [], b""], Kind.STORE)[:1])
    assert decode_request(request_of([0, [], b"", b"", [None], b""], Kind.STORE)[:1])


@pytest.mark.parametrize("number", [-1, 2**63])
@pytest.mark.parametrize("at", [2, 3])
def test_what_no_row_of_the_cold_store_takes_is_refused(at: int, number: int) -> None:
    """It would end the cold worker, which packs and stores what the shard gives it."""
    put = ["n2/cold@1", b"kk", 7, 0, None]
    decode_request(request_of(put, Kind.COLD_PUT, b"v"))
    put[at] = number
    with pytest.raises(WireError):
        decode_request(request_of(put, Kind.COLD_PUT, b"v"))


def test_frames_above_the_limits_are_refused_before_they_are_read() -> None:
    with pytest.raises(WireError, match="limit"):
        decode_request([b"\x00" * (wire.MAX_HEADER_BYTES + 1), b""])
    with pytest.raises(WireError, match="limit"):
        decode_reply([b"\x00", bytes(wire.MAX_BODY_BYTES + 1)])


@pytest.mark.parametrize("count", [0, 3])
def test_a_message_is_one_frame_or_two(count: int) -> None:
    with pytest.raises(WireError, match="frames"):
        decode_request([b""] * count)


@pytest.mark.parametrize("sizes", [b"123", b"12345", b"1234" * (wire.MAX_KEYS + 1), [1], "1234"])
def test_packed_numbers_of_another_shape_are_refused(sizes: Any) -> None:
    said = [VERSION, Kind.GET + REPLY, 1, 2, 3, 0, [sizes, b"", b"", [], b""]]
    with pytest.raises(WireError, match="packed"):
        decode_reply([cbor2.dumps(said), b""])


def test_keys_travel_in_one_piece_unless_one_holds_the_byte_between_them() -> None:
    def sent(*keys: bytes) -> Any:
        request = Request(Kind.PEEK, 1, 1, 0, b"12345678", False, Peek(keys))
        return cbor2.loads(encode_request(request)[0])[-1][0]

    assert sent(b"\0a", b"\0b") == b"\0a\xff\0b"
    assert sent(b"\0a", b"\0\xff") == [b"\0a", b"\0\xff"]


def test_a_status_or_kind_that_is_none_is_refused() -> None:
    good = [VERSION, Kind.GET + REPLY, 1, 2, 3, 0, [b"", b"", b"", [], b""]]
    assert decode_reply([cbor2.dumps(good), b""]).fields == Values((), b"")
    for at, value in ((1, 1), (1, 255), (5, 99), (5, True)):
        with pytest.raises(WireError):
            decode_reply([cbor2.dumps([*good[:at], value, *good[at + 1 :]]), b""])


@given(st.binary(max_size=9), st.binary(max_size=9), st.binary(max_size=9), st.binary(max_size=9))
def test_wire_keys_of_different_keys_differ(a: bytes, b: bytes, c: bytes, d: bytes) -> None:
    assert (wire_key(a, b) == wire_key(c, d)) == ((a, b) == (c, d))


# --- versions -------------------------------------------------------------------------------------

GET_1 = Request(Kind.GET, 7, 2, 3, b"c" * 8, False, Get((b"\0k",)))


@pytest.mark.parametrize("protocol", [1, 2])
def test_a_message_says_its_version(protocol: int) -> None:
    request = GET_1._replace(protocol=protocol)
    assert cbor2.loads(encode_request(request)[0])[0] == protocol
    assert decode_request(encode_request(request)) == request
    reply = Reply(Kind.GET, 7, 2, 3, Status.RETRY, Refusal("later"), protocol=protocol)
    assert cbor2.loads(encode_reply(reply)[0])[0] == protocol
    assert decode_reply(encode_reply(reply)) == reply


def test_a_newer_version_is_an_error_that_says_who_is_to_be_upgraded() -> None:
    frames = [cbor2.dumps([VERSION + 1, "whatever"])]
    told = "speaks protocol version 1 to 2, the client 3 to 3: upgrade this node"
    with pytest.raises(WireError, match=told):
        decode_request(frames)
    told = "speaks protocol version 1 to 2, the node 3 to 3: upgrade this client"
    with pytest.raises(WireError, match=told):
        decode_reply(frames)


def test_an_unknown_kind_keeps_the_id_that_it_is_refused_by() -> None:
    with pytest.raises(UnknownKind, match="no request of kind 99 in protocol version 2") as caught:
        decode_request([cbor2.dumps([2, 99, 7, 2, 3, b"c" * 8, False, ["anything"]])])
    assert (caught.value.rid, caught.value.protocol) == (7, 2)


def test_a_kind_is_not_known_in_versions_before_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SINCE, Kind.GET, 2)
    with pytest.raises(WireError, match="GET cannot be asked in protocol version 1"):
        encode_request(GET_1)
    newer = GET_1._replace(protocol=2)
    assert decode_request(encode_request(newer)) == newer
    head = cbor2.loads(encode_request(newer)[0])
    with pytest.raises(UnknownKind):
        decode_request([cbor2.dumps([1, *head[1:]])])
