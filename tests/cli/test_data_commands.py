"""The data path by hand: exact bytes, misses, and where a key lives."""

from __future__ import annotations

import os

import pytest

from tiercluster.cluster.wire import MAX_VALUE_BYTES

from .conftest import Run
from .fakes import FakeClient


def test_what_was_set_is_printed_with_a_line_end(run: Run, client: FakeClient) -> None:
    assert run("set", "greeting", "hello", "--ttl", "60").out == ""
    assert client.ttls == {"greeting": 60.0}
    assert run("get", "greeting").out == "hello\n"


def test_a_value_is_text_even_if_it_looks_like_a_number(run: Run, client: FakeClient) -> None:
    run("set", "n", "42")
    assert client.store == {"n": "42"}


def test_dashes_carry_bytes_exactly(run: Run, client: FakeClient) -> None:
    content = bytes(range(256)) + b"\n\n"
    assert run("set", "blob", "-", stdin=content).code == 0
    assert client.store["blob"] == content
    assert run("get", "blob", "-").raw == content


def test_what_is_larger_than_a_value_is_not_read_to_its_end(run: Run) -> None:
    ran = run("set", "blob", "-", stdin=bytes(MAX_VALUE_BYTES + 1))
    assert ran.code == 2
    assert f"more than the {MAX_VALUE_BYTES} bytes of a value" in ran.err


def test_an_argument_that_is_no_text_is_stored_as_bytes(run: Run, client: FakeClient) -> None:
    assert run("set", "b", os.fsdecode(b"\xff")).code == 0
    assert client.store == {"b": b"\xff"}


def test_text_from_stdin_is_stored_as_text(run: Run, client: FakeClient) -> None:
    run("set", "t", "-", stdin="grüße\n".encode())
    assert client.store == {"t": "grüße\n"}
    assert run("get", "t", "-").raw == "grüße\n".encode()


def test_a_miss_is_1_with_nothing_on_stdout(run: Run) -> None:
    ran = run("get", "nothing")
    assert (ran.code, ran.out, ran.err) == (1, "", "error: nothing is not there\n")


def test_a_stored_none_is_no_miss(run: Run, client: FakeClient) -> None:
    client.store["none"] = None
    assert (run("get", "none").out, run("get", "none").code) == ("null\n", 0)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("text", "text"),
        (7, 7),
        ({"a": [1, b"\xff"]}, {"a": [1, {"base64": "/w=="}]}),
        (b"\xff", {"base64": "/w=="}),
    ],
)
def test_get_json_tells_what_is_known(
    run: Run, client: FakeClient, value: object, shown: object
) -> None:
    client.store["k"] = value
    assert run("get", "k", "--json").json == {
        "key": "k", "value": shown, "version": 7, "ttl": None, "tier": "hot", "node": "n1",
        "degraded": False,
    }  # fmt: skip


def test_a_value_that_no_tier_took_is_1(run: Run, client: FakeClient) -> None:
    client.full = True
    ran = run("set", "k", "v")
    assert ran.code == 1
    assert "not stored" in ran.err


def test_deleting_what_is_not_there_is_4(run: Run, client: FakeClient) -> None:
    client.store["k"] = "v"
    assert run("delete", "k").code == 0
    assert run("delete", "k").code == 4


def test_locate_is_what_the_contract_says(run: Run) -> None:
    assert run("locate", "user:42", "--json").json == {
        "key": "user:42",
        "owner": "n2",
        "preference": ["n2", "n3", "n1"],
        "tiers": {"hot": "n2/hot", "warm": "n2/warm", "cold": "n3/cold"},
        "version": 9,
    }


def test_locate_says_why(run: Run) -> None:
    out = run("locate", "user:42").out
    assert "n2/cold" in out
    assert "DOWN: io_error" in out
