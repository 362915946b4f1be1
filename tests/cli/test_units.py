"""Sizes and addresses as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiercluster.cli import address
from tiercluster.cli.units import exact_size, parse_size, short_size, short_time


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1KB", 1000), ("1MB", 10**6), ("1GB", 10**9), ("1KiB", 1024), ("64MiB", 2**26),
        ("1GiB", 2**30), ("1.5 GiB", 3 * 2**29), ("4096", 4096), ("0.5kib", 512),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1MiB", "1M", "1 2MiB", "1e3", "\u0661MiB", "nan"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="KiB, MiB or GiB"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=2**60))
def test_an_exact_size_is_read_back_as_itself(size: int) -> None:
    assert parse_size(exact_size(size)) == size


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (2048, "2.0 KiB"), (150 * 2**20, "150 MiB")]
)
def test_short_sizes(size: int, text: str) -> None:
    assert short_size(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.25, "0.2 s"), (600, "10 min"), (9000, "2.5 h")])
def test_short_times(seconds: float, text: str) -> None:
    assert short_time(seconds) == text


@pytest.mark.parametrize(
    ("text", "parts"),
    [("h:1", ("h", 1)), ("127.0.0.1:7701", ("127.0.0.1", 7701)), ("[::1]:80", ("::1", 80))],
)
def test_addresses(text: str, parts: tuple[str, int]) -> None:
    assert address.split(text) == parts
    assert address.join(*parts) == text


@pytest.mark.parametrize("text", ["", "h", "h:", ":1", "h:0", "h:65536", "h:x", "h:-1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"HOST:PORT|65535"):
        address.split(text)


def test_a_list_of_addresses_fills_in_the_port() -> None:
    assert address.split_list("a:1, b,") == ("a:1", "b:7701")
