"""What only AsyncClient has: tasks, turns of the loop, cancellation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tiercluster import AsyncClient, errors
from tiercluster.cluster import members
from tiercluster.cluster.wire import Kind
from tiercluster.tiermap import Event

from .fake_cluster import FakeCluster


def run(fake: FakeCluster, test: Callable[[AsyncClient], Awaitable[Any]], **options: Any) -> None:
    async def main() -> None:
        async with AsyncClient(fake.address, **{"timeout": 3.0} | options) as client:
            await test(client)

    asyncio.run(main())


def test_many_tasks_share_a_client(fake: FakeCluster) -> None:
    async def test(client: AsyncClient) -> None:
        keys = [f"k{i}" for i in range(300)]
        assert all(await asyncio.gather(*(client.set(k, k) for k in keys)))
        assert await asyncio.gather(*(client.get(k) for k in keys)) == keys
        await asyncio.gather(*(client.incr("n", initial=1) for _ in range(100)))
        assert await client.get("n") == 100
        assert (await client.stats()).connections == 3

    run(fake, test)


def test_a_client_can_be_used_in_one_loop_after_the_other(fake: FakeCluster) -> None:
    client = AsyncClient(fake.address)
    assert asyncio.run(client.set("k", 1)) is True
    assert asyncio.run(client.get("k")) == 1

    async def close() -> None:
        await client.aclose()

    asyncio.run(close())


def test_a_cancelled_call_leaves_the_client_usable(fake: FakeCluster) -> None:
    async def test(client: AsyncClient) -> None:
        await client.set("k", 1)
        for node in fake.nodes.values():
            node.script(Kind.GET, lambda _: None)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.get("k"), 0.1)
        for node in fake.nodes.values():
            node.script(Kind.GET, None)
        assert await client.get("k") == 1

    run(fake, test)


def test_the_deadline_holds_beside_calls_that_are_answered(fake: FakeCluster) -> None:
    async def test(client: AsyncClient) -> None:
        good, bad = fake.key_of("n1"), fake.key_of("n2")
        await client.set(good, 1)
        fake["n2"].script(Kind.GET, lambda _: None)
        slow = asyncio.create_task(client.get(bad))
        while not slow.done():
            assert await client.get(good) == 1
        with pytest.raises(errors.DeadlineExceeded):
            await slow

    run(fake, test, timeout=0.3)


def test_calls_that_wait_at_the_close_are_unavailable(fake: FakeCluster) -> None:
    async def main() -> None:
        client = AsyncClient(fake.address, timeout=5)
        await client.set("k", 1)
        for node in fake.nodes.values():
            node.script(Kind.GET, lambda _: None)
        waiting = asyncio.create_task(client.get("k"))
        await asyncio.sleep(0.05)
        await client.aclose()
        with pytest.raises(errors.Unavailable, match="closed"):
            await waiting
        with pytest.raises(errors.Unavailable, match="closed"):
            await client.get("k")

    asyncio.run(main())


def test_a_node_that_dies_is_left_when_the_map_says_so(fake: FakeCluster) -> None:
    async def test(client: AsyncClient) -> None:
        keys = [fake.key_of(node) for node in fake.nodes]
        await client.set_many(dict.fromkeys(keys, 1))
        fake["n3"].stop()
        timer = threading.Timer(0.2, lambda: fake.down("n3"))
        timer.start()
        assert await client.set_many(dict.fromkeys(keys, 2)) == []
        timer.join()
        assert await client.get_many(keys) == dict.fromkeys(keys, 2)

    run(fake, test)


def test_cached_coroutine_functions(fake: FakeCluster) -> None:
    async def test(client: AsyncClient) -> None:
        calls: list[Any] = []

        @client.cached(60, key="user:{id}", unless=lambda value: value == "bad")
        async def load(id: Any) -> Any:
            calls.append(id)
            return id if id != 3 else "bad"

        assert [await load(1), await load(id=1), await load(3), await load(3)] == [
            1, 1, "bad", "bad",
        ]  # fmt: skip
        assert calls == [1, 3, 3]
        assert load.key_for(1) == "user:1"
        assert await client.get("user:1") == 1
        assert await load.invalidate(1) is True
        assert await load(1) == 1
        assert await load.refresh(1) == 1
        assert calls == [1, 3, 3, 1, 1]

    run(fake, test)


def test_results_of_none_are_cached_unless_told(fake: FakeCluster) -> None:
    async def test(client: AsyncClient) -> None:
        calls: list[int] = []

        async def load(number: int) -> None:
            calls.append(number)

        cached = client.cached(60, key="a{number}")(load)
        uncached = client.cached(60, key="b{number}", cache_none=False)(load)
        for _ in range(2):
            await cached(1)
            await uncached(2)
        assert calls == [1, 2, 2]

    run(fake, test)


def test_arguments_that_make_no_key_are_an_error(fake: FakeCluster) -> None:
    async def test(client: AsyncClient) -> None:
        @client.cached(60)
        async def load(thing: object) -> int:
            return 1

        with pytest.raises(errors.SerializationError, match="give cached"):
            await load(object())

    run(fake, test)


def test_one_task_of_many_makes_the_value(fake: FakeCluster) -> None:
    async def test(client: AsyncClient) -> None:
        made: list[int] = []

        async def make() -> int:
            made.append(1)
            await asyncio.sleep(0.1)
            return len(made)

        calls = (client.get_or_set("k", make, 60, lock=True) for _ in range(10))
        assert await asyncio.gather(*calls) == [1] * 10
        assert made == [1]

    run(fake, test)


def test_events_reach_coroutine_functions(fake: FakeCluster) -> None:
    async def test(client: AsyncClient) -> None:
        told: asyncio.Queue[Event] = asyncio.Queue()
        await client.on_event(told.put)
        event = Event(11, 0.0, "n3", "UP", "DOWN", "n1", "unreachable")
        for node in fake.nodes.values():
            node.do(lambda node=node: node.events.append(event))
        fake.down("n3")
        assert (await asyncio.wait_for(told.get(), 5)).version == 11

    run(fake, test)


def test_who_waits_for_events_and_calls_nothing_stays_subscribed(
    fake: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node forgets who has not renewed its subscription for a while."""
    monkeypatch.setattr(members, "RENEW_S", 0.1)

    def subscriptions() -> int:
        return sum(len(node.asked(Kind.SUBSCRIBE)) for node in fake.nodes.values())

    async def test(client: AsyncClient) -> None:
        await client.on_event(lambda event: None)
        await asyncio.sleep(0.5)  # what it asks at its start is over
        before = subscriptions()
        async with asyncio.timeout(5):
            while subscriptions() < before + 3:
                await asyncio.sleep(0.02)

    run(fake, test)


def test_a_callback_that_raises_is_told_the_next_event(fake: FakeCluster) -> None:
    async def test(client: AsyncClient) -> None:
        told: asyncio.Queue[int] = asyncio.Queue()

        def callback(event: Event) -> None:
            told.put_nowait(event.version)
            raise RuntimeError("a callback that raises is not the end")

        await client.on_event(callback)
        events = [Event(v, 0.0, "n3", "UP", "DOWN", "n1", "unreachable") for v in (11, 12)]
        for node in fake.nodes.values():
            node.do(lambda node=node: node.events.extend(events))
        fake.down("n3")
        assert [await asyncio.wait_for(told.get(), 5) for _ in events] == [11, 12]

    run(fake, test)
