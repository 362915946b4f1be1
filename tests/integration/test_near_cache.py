"""The near cache on real nodes: who writes is heard by who keeps, and nobody reads their past."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.cluster import ClusterUnderTest, wait_until
from tiercluster import AsyncClient, Client

HEARD_S = 2.0  # milliseconds on a quiet machine


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ClusterUnderTest(Path(tmp_path_factory.mktemp("near"))) as cluster:
        yield cluster.addresses


@pytest.fixture
def writer(addresses: str, namespace: str) -> Iterator[Client]:
    with Client(addresses, namespace=namespace) as client:
        yield client


@pytest.fixture
def near(addresses: str, namespace: str) -> Iterator[Client]:
    with Client(addresses, namespace=namespace, near_cache=1000) as client:
        yield client


def keep(client: Client, key: str) -> Any:
    """Read until the value comes from the near cache."""

    def is_near() -> bool:
        before = client.stats().near_hits
        client.get(key)
        return client.stats().near_hits > before

    wait_until(is_near, 10, f"{key} is kept")
    return client.get(key)


def test_a_repeated_read_asks_no_node(near: Client, writer: Client) -> None:
    writer.set("k", "v")
    assert keep(near, "k") == "v"
    before = near.stats()
    assert [near.get("k") for _ in range(100)] == ["v"] * 100
    after = near.stats()
    assert after.calls == before.calls
    assert after.near_hits == before.near_hits + 100


WRITES: dict[str, Callable[[Client], object]] = {
    "set": lambda c: c.set("k", 2),
    "set_many": lambda c: c.set_many({"k": 2, "other": 3}),
    "incr": lambda c: c.incr("k"),
    "replace": lambda c: c.replace("k", 2),
    "cas": lambda c: c.cas("k", 2, c.gets("k").version),  # type: ignore[union-attr]
    "delete": lambda c: c.delete("k"),
    "delete_many": lambda c: c.delete_many(["k"]),
    "touch": lambda c: c.touch("k", 0),
    "delete_prefix": lambda c: c.delete_prefix("k"),
    "clear": lambda c: c.clear(),
}


@pytest.mark.parametrize("verb", WRITES)
def test_what_another_client_writes_is_heard(near: Client, writer: Client, verb: str) -> None:
    writer.set("k", 1)
    assert keep(near, "k") == 1
    WRITES[verb](writer)
    expected = writer.get("k")
    assert expected != 1
    wait_until(lambda: near.get("k") == expected, HEARD_S, "the write is heard")
    assert near.stats().near_invalidations == 1


def test_a_client_reads_its_own_writes(near: Client) -> None:
    near.set("k", 0)
    keep(near, "k")
    for number in range(1, 300):
        near.set("k", number)
        assert near.get("k") == number
        assert near.get_many(["k", "absent"]) == {"k": number}


def test_threads_read_the_writes_of_each_other(near: Client) -> None:
    """A read of one thread that is on its way while another writes must not bring the past back."""
    near.set("k", 0)
    keep(near, "k")
    done, stop, wrong = [0], threading.Event(), list[tuple[int, int]]()

    def read() -> None:
        while not stop.is_set():
            floor = done[0]
            value = near.get("k")
            if value < floor:
                wrong.append((floor, value))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for thread in readers:
        thread.start()
    for number in range(1, 200):
        near.set("k", number)
        done[0] = number
    stop.set()
    for thread in readers:
        thread.join()
    assert wrong == []


def test_many_keys_come_from_near_and_far(near: Client, writer: Client) -> None:
    values = {f"k{i}": {"n": i} for i in range(50)}
    writer.set_many(values)
    for key in list(values)[::2]:
        keep(near, key)
    before = near.stats()
    found = near.get_many([*values, "absent"])
    assert found == values
    assert list(found) == list(values)
    assert near.stats().near_hits == before.near_hits + 25
    wait_until(lambda: near.get_many(values) == values and _all_near(near, values), 5, "all near")
    zeros = dict.fromkeys(values, 0)
    writer.set_many(zeros)
    wait_until(lambda: near.get_many(values) == zeros, HEARD_S, "all heard")


def _all_near(near: Client, values: dict[str, Any]) -> bool:
    before = near.stats().calls
    near.get_many(values)
    return near.stats().calls == before


def test_namespaces_share_the_cache_and_not_their_keys(near: Client, writer: Client) -> None:
    other = near.namespaced("other-" + near.namespace)
    writer.set("k", "mine")
    other.set("k", "other")
    assert keep(near, "k") == "mine"
    assert keep(other, "k") == "other"
    other.set("k", "new")
    assert (near.get("k"), other.get("k")) == ("mine", "new")


def test_what_one_caller_does_to_a_value_no_other_sees(near: Client, writer: Client) -> None:
    writer.set("k", {"list": [1]})
    keep(near, "k")["list"].append(2)
    assert near.get("k") == {"list": [1]}


def test_a_value_expires_near_as_it_does_at_its_node(near: Client, writer: Client) -> None:
    writer.set("k", "v", ttl=2.0)  # the first copy is kept after a tenth of a second
    keep(near, "k")
    wait_until(lambda: near.get("k") is None, 10.0, "it has expired")
    assert writer.get("k") is None


def test_gets_asks_the_node_and_drops_what_is_past(near: Client, writer: Client) -> None:
    writer.set("k", 1)
    keep(near, "k")
    calls = near.stats().calls
    item = near.gets("k")
    assert item is not None
    assert near.stats().calls == calls + 1
    writer.set("k", 2)
    newer = near.gets("k")
    assert newer is not None
    assert newer.version > item.version
    assert near.get("k") == 2


def test_functions_and_makers_use_it(near: Client) -> None:
    calls: list[int] = []

    @near.cached(ttl=60)
    def square(x: int) -> int:
        calls.append(x)
        return x * x

    square(3)
    keep(near, square.key_for(3))  # type: ignore[arg-type]
    before = near.stats().calls
    assert square(3) == 9
    assert near.get_or_set(square.key_for(3), 0) == 9
    assert near.stats().calls == before
    square.invalidate(3)
    assert square(3) == 9
    assert calls == [3, 3]


def test_a_child_of_a_fork_begins_with_nothing(near: Client, writer: Client) -> None:
    writer.set("k", 1)
    keep(near, "k")
    reader, answer = os.pipe()
    child = os.fork()
    if child == 0:  # no assertion may leave the child
        status = b"0"
        try:
            near.set("k", 5)
            mine = near.get("k")
            kept = keep(near, "k")
            status = b"%d %d" % (mine, kept)
        finally:
            os.write(answer, status)
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 100) == b"5 5"
    os.close(reader)
    os.close(answer)
    wait_until(lambda: near.get("k") == 5, HEARD_S, "the child's write is heard")
    assert keep(near, "k") == 5


def test_the_copies_can_be_compared_with_their_owners(near: Client, writer: Client) -> None:
    writer.set("k", 1)
    keep(near, "k")
    item = near.gets("k")
    assert item is not None
    assert near._near is not None
    assert near._near.sample(10) == [(near._api.space.wire("k"), item.version, item.node)]


def test_a_closed_client_ends_its_thread(addresses: str) -> None:
    client = Client(addresses, near_cache=10)
    client.set("closing", 1)
    keep(client, "closing")
    assert "tiercluster-near" in {t.name for t in threading.enumerate()}
    client.close()
    assert "tiercluster-near" not in {t.name for t in threading.enumerate()}


def test_the_asyncio_client_keeps_and_hears(addresses: str, namespace: str, writer: Client) -> None:
    async def scenario() -> None:
        async with AsyncClient(addresses, namespace=namespace, near_cache=100) as near:
            await near.set("k", 1)
            for _ in range(500):
                await near.get("k")
                if (await near.stats()).near_hits:
                    break
                await asyncio.sleep(0.01)
            assert (await near.stats()).near_hits == 1
            await near.set("k", 2)
            assert await near.get("k") == 2
            assert await near.get_many(["k", "absent"]) == {"k": 2}
            await asyncio.to_thread(writer.set, "k", 3)
            async with asyncio.timeout(HEARD_S):
                while await near.get("k") != 3:
                    await asyncio.sleep(0)
            await near.clear()
            assert await near.get("k") is None

    asyncio.run(scenario())
