"""Values and TTLs: what is written comes back, and the flags say how."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiercluster.cluster.errors import SerializationError, ValueTooLarge
from tiercluster.cluster.values import INT, MAX_INT, MIN_INT, RAW, Encoding, Values, seconds
from tiercluster.cluster.wire import MAX_VALUE_BYTES

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


def nested(one: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        one,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )


@given(nested(SCALARS | st.binary()))
@settings(max_examples=100, deadline=None)
@pytest.mark.parametrize("name", ["cbor", "pickle"])
def test_cbor_and_pickle_bring_back_what_they_were_given(name: str, value: Any) -> None:
    values = Values(name)
    found = values.decode(*values.encode(value))
    assert found == value
    assert type(found) is type(value)


@given(nested(SCALARS))
@settings(max_examples=60, deadline=None)
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
@settings(max_examples=300, deadline=None)
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
