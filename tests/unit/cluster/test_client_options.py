"""Arguments, URLs, the environment, keys and what an import costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiercluster import AsyncClient, Client
from tiercluster.cluster import keys
from tiercluster.cluster.errors import InvalidKey
from tiercluster.cluster.keys_files import load_client_keys, make_keys, read_pair
from tiercluster.cluster.options import arguments_of_environment, arguments_of_url, parse_nodes


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("a:1,b:2", ("a:1", "b:2")),
        (["a:1", "b:2"], ("a:1", "b:2")),
        (" a:1 , a:1 ", ("a:1",)),
        ("host", ("host:7701",)),
        ("[::1]:7701", ("[::1]:7701",)),
        ("10.0.0.1", ("10.0.0.1:7701",)),
    ],
)
def test_nodes_may_be_written_in_several_ways(nodes: Any, expected: tuple[str, ...]) -> None:
    assert parse_nodes(nodes) == expected


@pytest.mark.parametrize(
    "nodes", ["", ",", "a:b", "a:0", "a:70000", "tcp://a:1", "a b:1", [5], [], ["a:1"] * 0]
)
def test_what_is_no_address_is_a_value_error(nodes: Any) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_nodes(nodes)


@pytest.mark.parametrize(
    "arguments",
    [
        {"on_error": "ignore"}, {"timeout": 0}, {"timeout": -1}, {"timeout": "1"},
        {"timeout": float("nan")}, {"near_cache": -1}, {"serializer": "yaml"},
        {"namespace": "x" * 201}, {"namespace": "\0x"}, {"keys": "/nowhere"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_wrong_arguments_are_a_value_error(kind: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        kind("127.0.0.1:1", **arguments)


@pytest.mark.parametrize("entries", [True, 10.0, "10"])
def test_a_near_cache_of_no_number_is_a_type_error(entries: Any) -> None:
    with pytest.raises(TypeError, match="near_cache"):
        Client("127.0.0.1:1", near_cache=entries)


def test_a_url_names_everything() -> None:
    assert arguments_of_url("tier://h:1,g:2/name%20space?timeout=0.2&on_error=miss") == {
        "nodes": "h:1,g:2", "namespace": "name space", "timeout": 0.2, "on_error": "miss",
    }  # fmt: skip
    client = Client.from_url("tier://127.0.0.1:1/ns?serializer=json&default_ttl=60")
    assert client.namespace == "ns"
    assert repr(client) == "Client('127.0.0.1:1', namespace='ns')"
    assert Client.from_url("tier://127.0.0.1:1").namespace == ""


@pytest.mark.parametrize(
    "url", ["redis://h:1", "h:1", "tier://h:1?colour=red", "tier://h:1?timeout=soon"]
)
def test_a_wrong_url_is_a_value_error(url: str) -> None:
    with pytest.raises(ValueError):
        Client.from_url(url)


def test_the_environment_names_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    assert arguments_of_environment({}) == {}
    environment = {
        "TIERCLUSTER_CLUSTER": "h:1", "TIERCLUSTER_NAMESPACE": "ns", "TIERCLUSTER_TIMEOUT": "0.5",
        "TIERCLUSTER_ON_ERROR": "miss", "TIERCLUSTER_DEFAULT_TTL": "60", "TIERCLUSTER_OTHER": "x",
    }  # fmt: skip
    assert arguments_of_environment(environment) == {
        "nodes": "h:1", "namespace": "ns", "timeout": 0.5, "on_error": "miss", "default_ttl": 60.0,
    }  # fmt: skip
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    assert Client.from_env().namespace == "ns"
    monkeypatch.setenv("TIERCLUSTER_TIMEOUT", "long")
    with pytest.raises(ValueError, match="timeout"):
        AsyncClient.from_env()


def test_importing_the_client_imports_little() -> None:
    heavy = ["pysyncobj", "click", "rich", "prometheus_client", "structlog", "zstandard",
             "http.server", "aiohttp"]  # fmt: skip
    code = f"import sys, tiercluster; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "[]"


def test_the_errors_have_a_door_of_their_own() -> None:
    import tiercluster.errors as errors

    assert issubclass(errors.Unavailable, ConnectionError)
    assert issubclass(errors.DeadlineExceeded, TimeoutError)
    assert issubclass(errors.InvalidKey, ValueError)
    assert issubclass(errors.ValueTooLarge, ValueError)
    assert issubclass(errors.SerializationError, TypeError)
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.TierclusterError)


@given(st.binary(min_size=1, max_size=30))
def test_any_key_comes_back_from_its_text(key: bytes) -> None:
    assert keys.encode_key(keys.decode_text(key)) == key


@given(st.text(min_size=1, max_size=30))
def test_text_keys_are_utf8_or_invalid(key: str) -> None:
    try:
        assert keys.encode_key(key) == key.encode()
    except InvalidKey:
        assert any(0xD800 <= ord(c) <= 0xDFFF for c in key)


def test_locks_are_outside_every_namespace_a_user_can_name() -> None:
    space = keys.Space(b"ns")
    assert space.text(space.wire("key")) == "key"
    assert space.locks().prefix[1:].startswith(b"\0")
    with pytest.raises(ValueError):
        keys.encode_namespace(space.locks().name.decode())


def test_key_files_are_read_as_they_were_made(tmp_path: Path) -> None:
    for name in ("cluster", "client"):
        make_keys(tmp_path, name)
    client, (public, secret) = (
        load_client_keys(tmp_path),
        read_pair(tmp_path / "cluster.key_secret"),
    )
    assert client.server == public
    assert client.secret != secret
    assert (tmp_path / "client.key_secret").stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError):
        make_keys(tmp_path, "client")
    (tmp_path / "cluster.key").write_text("nonsense")
    with pytest.raises(ValueError, match="key file"):
        load_client_keys(tmp_path)
    with pytest.raises(ValueError, match="keygen"):
        load_client_keys(tmp_path / "missing")


def test_keys_that_are_not_there_are_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"(?i)no such file.*; run tiercluster keygen"):
        load_client_keys(tmp_path)
