"""Values and TTLs: what is written comes back, and the flags say how."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiercluster.cluster.errors import SerializationError, ValueTooLarge
from tiercluster.cluster.values import (
    INT,
    MAX_DEPTH,
    MAX_INT,
    MIN_INT,
    RAW,
    Encoding,
    Values,
    seconds,
)
from tiercluster.cluster.wire import MAX_VALUE_BYTES

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


def nested(one: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        one,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )


@given(nested(SCALARS | st.binary()))
@settings(max_examples=100)
@pytest.mark.parametrize("name", ["cbor", "pickle"])
def test_cbor_and_pickle_bring_back_what_they_were_given(name: str, value: Any) -> None:
    values = Values(name)
    found = values.decode(*values.encode(value))
    assert found == value
    assert type(found) is type(value)


@given(nested(SCALARS))
@settings(max_examples=60)
def test_json_brings_back_what_it_was_given(value: Any) -> None:
    values = Values("json")
    assert values.decode(*values.encode(value)) == value


@given(st.integers(MIN_INT, MAX_INT), st.sampled_from(["cbor", "json", "bytes", "pickle"]))
def test_integers_are_decimals_under_every_serializer(value: int, name: str) -> None:
    data, flags = Values(name).encode(value)
    assert (data, flags) == (str(value).encode(), INT)
    assert Values("bytes").decode(data, flags) == value


@pytest.mark.parametrize("value", [True, False, MAX_INT + 1, MIN_INT - 1])
def test_what_incr_could_not_count_is_no_integer(value: int) -> None:
    data, flags = Values("cbor").encode(value)
    assert flags == Encoding.CBOR
    assert (
        Values("cbor").decode(data, flags) is value or Values("cbor").decode(data, flags) == value
    )


def test_bytes_are_stored_as_they_are() -> None:
    assert Values("cbor").encode(b"\x00raw") == (b"\x00raw", RAW)
    assert Values("bytes").encode(bytearray(b"raw")) == (b"raw", RAW)


@pytest.mark.parametrize(
    ("name", "value"), [("json", b"bytes"), ("bytes", "text"), ("cbor", object()), ("json", {1})]
)
def test_what_a_serializer_cannot_write_is_an_error(name: str, value: Any) -> None:
    with pytest.raises(SerializationError, match="cannot write"):
        Values(name).encode(value)


@given(st.binary(max_size=40), st.integers(0, 255), st.sampled_from(["cbor", "json", "bytes"]))
@settings(max_examples=300)
def test_any_stored_bytes_are_a_value_or_a_serialization_error(
    data: bytes, flags: int, name: str
) -> None:
    with suppress(SerializationError):
        Values(name).decode(data, flags)


class Upper:
    """A serializer of a user's own, with bugs to choose from."""

    def dumps(self, value: Any) -> Any:
        return value.upper().encode() if value != "text" else "no bytes"

    def loads(self, data: bytes) -> Any:
        if data == b"BROKEN":
            raise LookupError
        return data.decode().lower()


def test_a_serializer_of_ones_own() -> None:
    values = Values(Upper())
    data, flags = values.encode("abc")
    assert (data, flags) == (b"ABC", Encoding.CUSTOM)
    assert values.decode(data, flags) == "abc"
    assert values.encode(5) == (b"5", INT)
    for bad in ("text", None):
        with pytest.raises(SerializationError):
            values.encode(bad)
    with pytest.raises(SerializationError):
        values.decode(b"BROKEN", flags)
    with pytest.raises(SerializationError, match="custom"):
        Values("cbor").decode(data, flags)


def test_pickle_is_not_read_unless_asked_for() -> None:
    data, flags = Values("pickle").encode({1, 2})
    for name in ("cbor", "json", "bytes"):
        with pytest.raises(SerializationError, match="pickle"):
            Values(name).decode(data, flags)


def test_the_limit_of_a_value_counts_its_serialized_bytes() -> None:
    assert Values("bytes").encode(bytes(MAX_VALUE_BYTES))[1] == RAW
    with pytest.raises(ValueTooLarge, match="limit"):
        Values("bytes").encode(bytes(MAX_VALUE_BYTES + 1))
    with pytest.raises(ValueTooLarge):
        Values("cbor").encode("x" * MAX_VALUE_BYTES)


@pytest.mark.parametrize("serializer", ["yaml", ""])
def test_an_unknown_serializer_is_a_value_error(serializer: str) -> None:
    with pytest.raises(ValueError, match="cbor"):
        Values(serializer)


def test_an_object_that_is_no_serializer_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        Values(object())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ttl", "expected"),
    [
        (None, None), (math.inf, None), (5, 5.0), (0.25, 0.25), (timedelta(minutes=2), 120.0),
        (0, 0.0), (-3, -1.0), (-math.inf, -1.0), (timedelta(seconds=-1), -1.0), (1e300, 1e15),
        (timedelta.max, timedelta.max.total_seconds()),
    ],
)  # fmt: skip
def test_a_ttl_is_seconds_or_none_for_never(ttl: Any, expected: float | None) -> None:
    assert seconds(ttl) == expected


@pytest.mark.parametrize("ttl", ["5", True, object(), math.nan])
def test_a_ttl_that_is_none_is_an_error(ttl: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        seconds(ttl)


def _references(depth: int) -> bytes:
    """A list of lists, each of which holds the one before twice, as the member of a set: hashing it
    would take 2 ** depth steps."""
    item = b"\xd8\x1c\x82\x01\x02"
    pairs = (b"\xd8\x1c\x82" + 2 * (b"\xd8\x1d" + cbor2.dumps(at)) for at in range(depth))
    return b"\xd9\x01\x02" + b"\x98" + bytes((depth + 1,)) + item + b"".join(pairs)


@pytest.mark.parametrize(
    "data",
    [
        _references(100),
        b"\xd9\x01\x00\x82" + cbor2.dumps("x" * 100) + b"\xd8\x19\x00",  # a text again, by number
        b"\xc2\x59\x04\x01" + b"\xff" * 1025,  # an integer of 1025 bytes
        b"\xc3\x59\x04\x01" + b"\xff" * 1025,
        b"\xd8\x1e\x82\xc2\x59\x04\x01" + b"\xff" * 1025 + b"\x03",  # in a fraction
        b"\xc2\x9b" + b"\xff" * 8,  # a byte string that is none
        b"\xd8\x23" + cbor2.dumps("a{1,60000}" * 10_000),  # a regular expression
        b"\x81" * 1_000_000,
        b"\x9b" + b"\xff" * 8,
        b"\x5b\x7f" + b"\xff" * 7,
        b"\xbf" * 500,
    ],
)
def test_a_value_that_would_blow_up_in_its_reader_is_refused(data: bytes) -> None:
    with pytest.raises(SerializationError):
        Values("cbor").decode(data, int(Encoding.CBOR))


@pytest.mark.parametrize(
    "value",
    [2**8191, -(2**8191), 2**64, re.compile("a+b"), Fraction(3, 4), Decimal("1.5"), {1, 2}],
)
def test_values_that_python_has_come_back_as_they_were(value: Any) -> None:
    data, flags = Values("cbor").encode(value)
    assert Values("cbor").decode(data, flags) == value


def test_an_integer_that_could_not_be_read_is_not_written() -> None:
    with pytest.raises(SerializationError, match="1024 bytes"):
        Values("cbor").encode(2**8192)


_WAYS: list[Callable[[Any], Any]] = [
    lambda inner: [inner],
    lambda inner: {"k": inner},
    lambda inner: frozenset([inner]),
]


@pytest.mark.parametrize("way", _WAYS)
def test_what_is_nested_too_deep_to_be_read_is_not_written(way: Callable[[Any], Any]) -> None:
    values, value = Values("cbor"), way(1)
    for _ in range(MAX_DEPTH - 1):
        value = way(value)
    assert values.decode(*values.encode(value)) == value
    with pytest.raises(SerializationError, match="deep"):
        values.encode(way(value))


def test_a_value_nested_without_end_does_not_end_the_process() -> None:
    value: Any = 1
    for _ in range(20_000):
        value = [value]
    with pytest.raises(SerializationError, match="deep"):
        Values("cbor").encode(value)


def test_one_value_that_cannot_be_read_hides_no_other() -> None:
    values, found = Values("cbor"), {}
    good, bad = values.encode([1]), Values("pickle").encode({1, 2})
    datas, flags = zip(good, bad, good, strict=True)

    def decode() -> None:
        for key, value in values.decode_many("abc", datas, bytes(flags)):
            found[key] = value

    with pytest.raises(SerializationError):
        decode()
    assert found == {"a": [1], "c": [1]}
