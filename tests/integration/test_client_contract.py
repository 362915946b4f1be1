"""The value API as the contract names it: the same tests for Client and AsyncClient.

AsyncClient is driven through `Blocking`, which runs each coroutine in a loop of its own.
"""

from __future__ import annotations

import asyncio
import datetime
import inspect
import math
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from tiercluster import AsyncClient, Client, Item, errors


class Blocking:
    """An AsyncClient that is called like a Client."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: Any) -> None:
        self._loop, self._target = loop, target

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        return self._wrapped(found) if callable(found) else found

    def _wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            if inspect.isasyncgen(result):
                return iter(self._loop.run_until_complete(_listed(result)))
            if inspect.isawaitable(result):
                result = self._loop.run_until_complete(_awaited(result))
            if hasattr(result, "acquire") or isinstance(result, AsyncClient):
                return Blocking(self._loop, result)
            return result

        return call

    def __enter__(self) -> Any:
        self._loop.run_until_complete(self._target.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._target.__aexit__(None, None, None))


async def _listed(generator: Any) -> list[Any]:
    return [item async for item in generator]


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


Make = Callable[..., Any]


@pytest.fixture(params=["Client", "AsyncClient"])
def make(request: pytest.FixtureRequest, cluster_address: str, namespace: str) -> Iterator[Make]:
    """Makes a client of the kind under test, in a namespace of this test."""
    made: list[Any] = []
    loop = asyncio.new_event_loop()

    def build(**options: Any) -> Any:
        options = {"namespace": namespace, "timeout": 3.0} | options
        if request.param == "Client":
            made.append(Client(cluster_address, **options))
        else:
            made.append(Blocking(loop, AsyncClient(cluster_address, **options)))
        return made[-1]

    yield build
    for client in made:
        client.close()
    loop.close()


@pytest.fixture
def client(make: Make) -> Any:
    return make()


@pytest.mark.parametrize(
    "value",
    [
        "text", b"bytes", b"", "", 0, 1, -5, 2**63 - 1, -(2**63), 2**70, 1.5, True, False, None,
        [1, "a", None], {"a": {"b": [1, 2]}}, datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
    ],
)  # fmt: skip
def test_a_value_comes_back_as_it_was(client: Any, value: Any) -> None:
    assert client.set("k", value) is True
    found = client.get("k", "default")
    assert found == value
    assert type(found) is type(value)


def test_a_missing_key_gives_the_default(client: Any) -> None:
    assert client.get("missing") is None
    assert client.get("missing", 7) == 7


def test_a_stored_none_is_no_miss(client: Any) -> None:
    client.set("k", None)
    assert client.get("k", "default") is None
    assert client.gets("k").value is None
    assert client.gets("missing") is None


def test_gets_carries_version_ttl_and_place(client: Any) -> None:
    client.set("k", "v", ttl=100)
    item = client.gets("k")
    assert isinstance(item, Item)
    assert item.value == "v"
    assert item.version > 0
    assert 90 < item.ttl <= 100
    assert item.tier in ("hot", "warm", "cold")
    assert item.node
    assert item.degraded is False


def test_versions_grow(client: Any) -> None:
    client.set("k", 1)
    first = client.gets("k").version
    client.set("k", 2)
    assert client.gets("k").version > first


def test_many_keys_at_once(client: Any) -> None:
    items = {f"k{i}": i for i in range(300)}
    assert client.set_many(items) == []
    assert client.get_many([*items, "missing"]) == items
    assert client.delete_many([*items, "missing"]) == 300
    assert client.get_many(items) == {}


def test_nothing_at_once(client: Any) -> None:
    assert client.get_many([]) == {}
    assert client.set_many({}) == []
    assert client.delete_many([]) == 0


def test_bytes_and_text_name_the_same_key(client: Any) -> None:
    client.set("k", 1)
    assert client.get(b"k") == 1
    assert client.get_many(["k", b"k"]) == {"k": 1, b"k": 1}


def test_add_stores_only_if_absent(client: Any) -> None:
    assert client.add("k", 1) is True
    assert client.add("k", 2) is False
    assert client.get("k") == 1


def test_replace_stores_only_if_present(client: Any) -> None:
    assert client.replace("k", 1) is False
    client.set("k", 1)
    assert client.replace("k", 2) is True
    assert client.get("k") == 2


def test_cas_stores_only_over_the_same_version(client: Any) -> None:
    client.set("k", 1)
    version = client.gets("k").version
    assert client.cas("k", 2, version) is True
    assert client.cas("k", 3, version) is False
    assert client.get("k") == 2


def test_delete_says_whether_it_was_there(client: Any) -> None:
    client.set("k", 1)
    assert client.delete("k") is True
    assert client.delete("k") is False
    assert client.get("k") is None


def test_delete_of_another_version_does_nothing(client: Any) -> None:
    client.set("k", 1)
    version = client.gets("k").version
    assert client.delete("k", version=version + 1) is False
    assert client.delete("k", version=version) is True


def test_incr_counts(client: Any) -> None:
    client.set("n", 5)
    assert client.incr("n") == 6
    assert client.incr("n", 10) == 16
    assert client.decr("n", 20) == -4
    assert client.get("n") == -4


def test_incr_of_an_absent_key(client: Any) -> None:
    with pytest.raises(KeyError):
        client.incr("n")
    assert client.incr("n", initial=10) == 10
    assert client.incr("n", initial=10) == 11
    assert client.get("n") == 11


def test_incr_of_what_is_no_integer(client: Any) -> None:
    client.set("k", "text")
    with pytest.raises(errors.SerializationError):
        client.incr("k")
    assert client.get("k") == "text"


def test_incr_keeps_the_ttl_unless_told(client: Any) -> None:
    client.set("n", 1, ttl=100)
    client.incr("n")
    assert 90 < client.ttl("n") <= 100
    client.incr("n", ttl=1000)
    assert 900 < client.ttl("n") <= 1000


@pytest.mark.parametrize("ttl", [50, 50.0, timedelta(seconds=50)])
def test_ttl_is_seconds_or_a_timedelta(client: Any, ttl: Any) -> None:
    client.set("k", 1, ttl=ttl)
    assert 40 < client.ttl("k") <= 50


def test_ttl_of_what_never_expires_and_of_what_is_not_there(client: Any) -> None:
    client.set("k", 1, ttl=None)
    assert client.ttl("k") == math.inf
    assert client.ttl("missing") is None
    client.set("k", 1, ttl=math.inf)
    assert client.ttl("k") == math.inf


@pytest.mark.parametrize("ttl", [0, -1, -0.5, timedelta(seconds=-5)])
def test_a_ttl_of_zero_or_less_is_gone_at_once(client: Any, ttl: Any) -> None:
    client.set("k", "old")
    client.set("k", "new", ttl=ttl)
    assert client.get("k") is None
    assert client.exists("k") is False


def test_an_entry_expires(client: Any) -> None:
    client.set("k", 1, ttl=0.05)
    until = time.monotonic() + 3
    while client.get("k") is not None:
        assert time.monotonic() < until
    assert client.ttl("k") is None


def test_touch_changes_the_ttl(client: Any) -> None:
    client.set("k", 1)
    assert client.touch("k", 50) is True
    assert 40 < client.ttl("k") <= 50
    assert client.touch("missing", 50) is False
    assert client.touch("k", 0) is True
    assert client.exists("k") is False


def test_the_default_ttl_is_taken_where_none_is_given(make: Make) -> None:
    client = make(default_ttl=60)
    client.set("a", 1)
    client.set("b", 1, ttl=None)
    client.set_many({"c": 1})
    assert 50 < client.ttl("a") <= 60
    assert client.ttl("b") == math.inf
    assert 50 < client.ttl("c") <= 60


def test_exists(client: Any) -> None:
    assert client.exists("k") is False
    client.set("k", None)
    assert client.exists("k") is True


def test_get_or_set_makes_the_value_once(client: Any) -> None:
    made: list[int] = []

    def make_it() -> str:
        made.append(1)
        return "made"

    assert client.get_or_set("k", make_it, 60) == "made"
    assert client.get_or_set("k", make_it, 60) == "made"
    assert made == [1]
    assert client.get_or_set("other", "constant") == "constant"
    assert client.get("other") == "constant"


def test_get_or_set_passes_on_what_the_maker_raises(client: Any) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    for lock in (None, True):
        with pytest.raises(ZeroDivisionError):
            client.get_or_set("k", broken, 60, lock=lock)
    assert client.get_or_set("k", 1, 60, lock=True) == 1  # nobody holds the lease


def test_scan_yields_the_keys_of_this_namespace(make: Make, namespace: str) -> None:
    client, other = make(), make(namespace=f"{namespace}-other")
    client.set_many({f"a{i}": i for i in range(150)} | {"b": 1, "ü": 2})
    other.set("a-other", 1)
    assert sorted(client.scan("a")) == sorted(f"a{i}" for i in range(150))
    assert len(list(client.scan())) == 152
    assert len(list(client.scan(limit=10))) == 10
    assert list(client.scan(limit=0)) == []
    assert list(client.scan("ü")) == ["ü"]


def test_keys_that_are_no_text_come_back_from_a_scan_and_can_be_used(client: Any) -> None:
    client.set(b"\xff\x00", 1)
    (key,) = client.scan()
    assert client.get(key) == 1


def test_delete_prefix_and_clear_count(make: Make, namespace: str) -> None:
    client, other = make(), make(namespace=f"{namespace}2")
    client.set_many({f"a{i}": i for i in range(50)} | {"b": 1})
    other.set("a", 1)
    assert client.delete_prefix("a") == 50
    assert client.get("b") == 1
    assert client.clear() == 1
    assert client.clear() == 0
    assert other.get("a") == 1


def test_namespaces_do_not_meet(make: Make, namespace: str) -> None:
    client = make()
    other = client.namespaced(f"{namespace}/x")
    client.set("k", 1)
    assert other.get("k") is None
    other.set("k", 2)
    assert client.get("k") == 1
    other.close()
    assert client.get("k") == 1
    assert other.namespace == f"{namespace}/x"


def test_a_lock_is_held_by_one(client: Any) -> None:
    first, second = client.lock("l", ttl=30), client.lock("l", ttl=30, wait=0)
    assert first.acquire() is True
    assert first.locked() is True
    assert second.acquire() is False
    assert second.acquire(wait=0.05) is False
    with pytest.raises(errors.DeadlineExceeded), second:
        pass
    assert second.release() is False
    assert first.release() is True
    assert first.locked() is False
    assert first.release() is False
    with second as held:
        assert held.fence > 0


def test_the_fence_of_a_lock_grows(client: Any) -> None:
    fences = []
    for _ in range(3):
        with client.lock("l") as lock:
            fences.append(lock.fence)
            assert lock.extend() is True
            fences.append(lock.fence)
    assert fences == sorted(set(fences))


def test_a_lock_that_expired_is_lost(client: Any) -> None:
    lost = client.lock("l", ttl=0.02)
    assert lost.acquire() is True
    assert client.lock("l", wait=3).acquire() is True
    assert lost.extend() is False
    assert lost.release() is False


def test_locks_are_not_seen_among_the_data(client: Any) -> None:
    with client.lock("l"):
        assert list(client.scan()) == []
        assert client.clear() == 0
        assert client.lock("l", wait=0).acquire() is False


@pytest.mark.parametrize("key", ["", b"", "x" * 1025, "ü" * 513, 5, None, "\ud800"])
def test_an_invalid_key_is_an_error(client: Any, key: Any) -> None:
    for call in (client.get, client.delete, client.exists, client.ttl, client.gets):
        with pytest.raises(errors.InvalidKey):
            call(key)
    with pytest.raises(errors.InvalidKey):
        client.set(key, 1)
    with pytest.raises(ValueError):
        client.get_many(["good", key])


def test_the_longest_key_works(client: Any) -> None:
    for key in ("x" * 1024, b"\x00" * 1024):
        client.set(key, 1)
        assert client.get(key) == 1
        assert client.get_or_set(key, 2, lock=True) == 1


def test_a_value_above_the_limit_is_refused_and_one_at_it_is_not(client: Any) -> None:
    with pytest.raises(errors.ValueTooLarge):
        client.set("k", b"x" * (8 * 2**20 + 1))
    assert client.set("k", b"x" * (8 * 2**20)) is True
    assert len(client.get("k")) == 8 * 2**20


def test_more_bytes_than_one_message_takes_are_split(client: Any) -> None:
    items = {f"k{i}": bytes([i]) * (3 * 2**20) for i in range(9)}
    assert client.set_many(items) == []
    assert sum(client.get(k) == v for k, v in items.items()) == 9


def test_a_value_that_cannot_be_written_is_an_error(client: Any) -> None:
    with pytest.raises(errors.SerializationError):
        client.set("k", object())
    with pytest.raises(TypeError):
        client.set_many({"a": 1, "k": object()})


@pytest.mark.parametrize("serializer", ["json", "bytes", "pickle", "cbor"])
def test_each_serializer_reads_what_it_wrote(make: Make, serializer: str) -> None:
    client = make(serializer=serializer)
    value: Any = {
        "json": {"a": [1, None]}, "bytes": b"raw", "pickle": {1, 2}, "cbor": {"a": b"b"},
    }[serializer]  # fmt: skip
    client.set("k", value)
    client.set("n", 41)
    assert client.get("k") == value
    assert client.incr("n") == 42
    assert client.get("n") == 42


def test_pickle_is_read_only_by_those_who_asked_for_it(make: Make) -> None:
    make(serializer="pickle").set("k", {1, 2})
    with pytest.raises(errors.SerializationError, match="pickle"):
        make().get("k")


def test_explain_names_owner_and_tiers(client: Any) -> None:
    placement = client.explain("k")
    assert placement.owner == placement.preference[0]
    assert set(placement.tiers) == {"hot", "warm", "cold"}
    assert placement.tiers["hot"] == f"{placement.owner}/hot"
    assert placement.version > 0
    assert placement.skipped == {}


def test_tiers_ping_and_stats(client: Any) -> None:
    client.set("k", 1)
    client.get("k")
    client.get("missing")
    assert {status.tier for status in client.tiers()} == {"hot", "warm", "cold"}
    assert 0 < client.ping() < 3
    stats = client.stats()
    assert (stats.hits, stats.misses, stats.errors) == (1, 1, 0)
    assert stats.map_version > 0


def test_cached_functions(make: Make, request: pytest.FixtureRequest) -> None:
    client = make()
    if isinstance(client, Blocking):
        pytest.skip("test_aclient.py has its own")
    calls: list[int] = []

    @client.cached(60)
    def double(x: int, *, plus: int = 0) -> int:
        """Doubles."""
        calls.append(x)
        return 2 * x + plus

    assert [double(2), double(x=2), double(2, plus=0)] == [4, 4, 4]
    assert calls == [2]
    assert double(2, plus=1) == 5
    assert double.invalidate(2) is True
    assert double.invalidate(2) is False
    assert double(2) == 4
    assert double.refresh(2) == 4
    assert calls == [2, 2, 2, 2]
    assert client.get(double.key_for(2)) == 4
    assert double.__doc__ == "Doubles."


def test_mapping(make: Make) -> None:
    client = make()
    if isinstance(client, Blocking):
        pytest.skip("a mapping cannot be awaited")
    mapping = client.mapping(ttl=60)
    mapping["a"] = 1
    mapping.update(b=2, c=None)
    assert 50 < client.ttl("a") <= 60
    assert mapping["c"] is None
    assert sorted(mapping) == ["a", "b", "c"]
    assert len(mapping) == 3
    assert dict(mapping) == {"a": 1, "b": 2, "c": None}
    assert "a" in mapping
    assert 5 not in mapping
    del mapping["a"]
    with pytest.raises(KeyError):
        mapping["a"]
    with pytest.raises(KeyError):
        del mapping["a"]
    assert mapping.pop("b") == 2
    mapping.clear()
    assert len(mapping) == 0


def test_one_of_many_makes_the_value(make: Make) -> None:
    clients = [make() for _ in range(3)]
    if isinstance(clients[0], Blocking):
        pytest.skip("test_aclient.py has its own")
    made: list[int] = []

    def make_it() -> int:
        made.append(1)
        time.sleep(0.1)
        return len(made)

    results: list[Any] = []
    threads = [
        threading.Thread(
            target=lambda c=client: results.append(c.get_or_set("k", make_it, 60, lock=True))
        )
        for client in clients * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [1] * 9
    assert made == [1]


@pytest.mark.parametrize("lock", [1e-5, -1, float("nan"), float("inf"), "soon"])
def test_a_lease_that_ends_before_it_is_answered_is_refused(client: Any, lock: Any) -> None:
    with pytest.raises(ValueError, match=r"lock is True or 0\.05 to 86400 s"):
        client.get_or_set("k", 1, 60, lock=lock)
