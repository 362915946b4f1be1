"""How the client behaves when nodes are old, slow, silent or gone."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tiercluster import Client, errors
from tiercluster.cluster.wire import (
    Counter,
    Kind,
    MapUpdate,
    Refusal,
    Request,
    Status,
    Stored,
    Values,
)
from tiercluster.tiermap import Event, Health, NodeState, TierMap, TierRecord, encode_map

from .fake_cluster import Answer, FakeCluster, FakeNode

OK_1 = Status.OK, Stored((1,)), b""


@pytest.fixture
def client(fake: FakeCluster) -> Iterator[Client]:
    with Client(fake.address, timeout=2.0) as client:
        yield client


def connect_to_all(fake: FakeCluster, client: Client) -> None:
    for node in fake.nodes:
        client.set(fake.key_of(node), node)


def once(*answers: Answer | None, then: Callable[[Request], Answer | None]) -> Any:
    """A script: these answers first, then what ``then`` says."""
    left = list(answers)
    return lambda request: left.pop(0) if left else then(request)


def test_a_stale_map_is_replaced_and_the_request_planned_anew(
    fake: FakeCluster, client: Client
) -> None:
    connect_to_all(fake, client)
    key = fake.key_of("n2")
    fake.down("n1", push=False)
    assert client.get(key) == "n2"
    stats = client.stats()
    assert stats.stale_maps >= 1
    assert stats.map_version == fake.map.version


def test_a_request_for_a_moved_key_goes_to_its_new_owner(fake: FakeCluster, client: Client) -> None:
    connect_to_all(fake, client)
    key = fake.key_of("n1")
    fake.down("n1", push=False)
    assert client.set(key, "moved") is True
    assert fake.owner(b"\0" + key.encode()) != "n1"
    assert client.gets(key).node == fake.owner(b"\0" + key.encode())


def test_a_node_that_is_not_ready_is_asked_again_with_a_new_request(single: FakeCluster) -> None:
    node = single["n1"]
    not_ready: Answer = Status.RETRY, Refusal("settling"), b""
    node.script(Kind.STORE, once(not_ready, not_ready, then=node.apply_once))
    with Client(single.address) as client:
        assert client.set("k", 1) is True
    rids = [request.rid for request in node.asked(Kind.STORE)]
    assert len(rids) == len(set(rids)) == 3
    assert not any(request.retry for request in node.asked(Kind.STORE))


def test_a_node_that_is_never_ready_is_unavailable_and_says_why(single: FakeCluster) -> None:
    single["n1"].script(Kind.GET, lambda _: (Status.RETRY, Refusal("no lease"), b""))
    with Client(single.address, timeout=0.3) as client:
        start = time.monotonic()
        with pytest.raises(errors.Unavailable, match="no lease"):
            client.get("k")
        assert 0.25 < time.monotonic() - start < 0.6


def test_load_that_is_shed_three_times_is_given_up(single: FakeCluster) -> None:
    single["n1"].script(Kind.GET, lambda _: (Status.SHED, Refusal("full"), b""))
    with Client(single.address, timeout=5) as client:
        with pytest.raises(errors.Unavailable, match="sheds load"):
            client.get("k")
        assert len(single["n1"].asked(Kind.GET)) == 3


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (Status.BAD_REQUEST, errors.ProtocolError),
        (Status.FORBIDDEN, errors.Unauthorized),
        (Status.READ_ONLY, errors.NoQuorum),
        (Status.REFUSED, errors.Refused),
    ],
)
def test_each_refusal_is_an_error_of_its_own(
    single: FakeCluster, status: Status, error: type[Exception]
) -> None:
    single["n1"].script(Kind.STORE, lambda _: (status, Refusal("because"), b""))
    with Client(single.address) as client, pytest.raises(error, match="because"):
        client.set("k", 1)


def test_an_unknown_outcome_is_repeated_only_if_that_does_no_harm(single: FakeCluster) -> None:
    node = single["n1"]
    unknown: Answer = Status.UNKNOWN_OUTCOME, Refusal("forgotten"), b""
    node.script(Kind.STORE, once(unknown, unknown, then=node.apply_once))
    node.script(Kind.INCR, lambda _: unknown)
    with Client(single.address) as client:
        with pytest.raises(errors.DeadlineExceeded, match="not known"):
            client.add("k", 1)
        assert client.set("k", 1) is True
        with pytest.raises(errors.DeadlineExceeded, match="not known"):
            client.incr("n")
    assert len(node.asked(Kind.INCR)) == 1


def test_a_silent_node_is_asked_again_with_the_same_id(single: FakeCluster) -> None:
    node = single["n1"]
    node.script(Kind.INCR, once(None, then=node.apply_once))
    with Client(single.address) as client:
        client.set("n", 1)
        assert client.incr("n") == 2
    first, second = node.asked(Kind.INCR)
    assert (first.rid, first.client) == (second.rid, second.client)
    assert (first.retry, second.retry) == (False, True)
    assert second.deadline_ms <= first.deadline_ms


def test_a_write_whose_answer_was_lost_is_not_applied_twice(single: FakeCluster) -> None:
    node = single["n1"]
    lost = [True]

    def loses_the_first(request: Request) -> Answer | None:
        answer = node.apply_once(request)
        return None if lost and lost.pop() else answer

    node.script(Kind.INCR, loses_the_first)
    with Client(single.address) as client:
        client.set("n", 1)
        assert client.incr("n") == 2
        assert client.get("n") == 2


def test_the_deadline_is_the_callers_whatever_the_node_does(single: FakeCluster) -> None:
    single["n1"].script(Kind.GET, lambda _: None)
    for timeout in (0.05, 0.3):
        with Client(single.address, timeout=timeout) as client:
            client_start = time.monotonic()
            with pytest.raises(errors.DeadlineExceeded):
                client.get("k")
            assert timeout * 0.9 < time.monotonic() - client_start < timeout + 0.2


def test_requests_carry_the_deadline_on_the_nodes_clock() -> None:
    cluster = FakeCluster(1, skew_ms=5_000_000)
    try:
        with Client(cluster.address, timeout=0.5) as client:
            for i in range(10):
                client.set(f"k{i}", i)
            sent = time.monotonic() * 1000 + 5_000_000
            last = cluster["n1"].asked(Kind.STORE)[-1]
            assert sent < last.deadline_ms < sent + 501
            assert last.map_version == cluster.map.version
    finally:
        cluster.stop()


def test_a_frozen_node_costs_the_deadline_and_no_more(fake: FakeCluster, client: Client) -> None:
    connect_to_all(fake, client)
    fake["n2"].do(lambda: setattr(fake["n2"], "is_frozen", True))
    slow = Client(fake.address, timeout=0.4)
    for _ in range(2):
        start = time.monotonic()
        with pytest.raises(errors.DeadlineExceeded):
            slow.get(fake.key_of("n2"))
        assert time.monotonic() - start < 0.7
    assert slow.set(fake.key_of("n1"), 1) is True  # the others serve meanwhile
    slow.close()


def test_a_call_to_a_node_that_dies_moves_on_when_the_map_says_so(
    fake: FakeCluster, client: Client
) -> None:
    connect_to_all(fake, client)
    key = fake.key_of("n3")
    fake["n3"].stop()
    timer = threading.Timer(0.2, lambda: fake.down("n3"))
    timer.start()
    start = time.monotonic()
    assert client.set(key, "again") is True
    assert 0.15 < time.monotonic() - start < 1.5
    timer.join()
    assert client.get(key) == "again"
    new = fake.owner(b"\0" + key.encode())
    asked = fake[new].asked(Kind.STORE)[-1]
    assert asked.retry is False


def test_a_write_that_waits_at_a_frozen_node_becomes_a_new_request_at_the_next_owner(
    fake: FakeCluster, client: Client
) -> None:
    connect_to_all(fake, client)
    client.set(fake.key_of("n1"), 1)
    key = fake.key_of("n2")
    fake["n2"].script(Kind.INCR, lambda _: None)
    timer = threading.Timer(0.3, lambda: fake.down("n2"))
    timer.start()
    assert client.incr(key, initial=5) == 5
    timer.join()
    first = fake["n2"].asked(Kind.INCR)[0]
    last = fake[fake.owner(b"\0" + key.encode())].asked(Kind.INCR)[-1]
    assert last.rid != first.rid
    assert last.retry is False
    assert client.stats().rerouted == 1


def test_a_restarted_node_is_found_again_at_its_address(single: FakeCluster) -> None:
    old = single["n1"]
    with Client(single.address, timeout=3) as client:
        client.set("k", 1)
        old.stop()
        with pytest.raises(errors.Unavailable):
            client.get("k")
        new = FakeNode(single.context, port=old.port)
        new.id, single.nodes["n1"] = "n1", new
        new.start()
        single.change("n1", incarnation="b")
        new.use_map(single.map)
        until = time.monotonic() + 5
        while True:
            try:
                assert client.get("k") is None
                break
            except errors.Unavailable:
                assert time.monotonic() < until
        assert client.set("k", 2) is True


def test_a_write_that_failed_while_the_node_was_away_is_not_delivered_later(
    single: FakeCluster,
) -> None:
    old = single["n1"]
    with Client(single.address, timeout=0.5) as client:
        client.set("k", 1)
        old.stop()
        for _ in range(3):
            with pytest.raises(errors.TierclusterError):
                client.set("k", 2)
        new = FakeNode(single.context, port=old.port)
        new.id, single.nodes["n1"] = "n1", new
        new.use_map_before_start(single.map)
        new.start()
        until = time.monotonic() + 5
        while True:
            try:
                assert client.get("k") is None
                break
            except errors.TierclusterError:
                assert time.monotonic() < until
        assert new.asked(Kind.STORE) == []


def test_no_member_reachable_is_said_at_once() -> None:
    cluster = FakeCluster(2)
    addresses = cluster.address
    cluster.stop()
    with Client(addresses, timeout=10) as client:
        start = time.monotonic()
        with pytest.raises(errors.Unavailable, match="no member reachable"):
            client.get("k")
        assert time.monotonic() - start < 2


def test_a_write_that_was_sent_before_all_went_may_have_been_applied(single: FakeCluster) -> None:
    with Client(single.address, timeout=10) as client:
        client.get("k")
        single["n1"].script(Kind.STORE, lambda request: None)
        gone = threading.Timer(0.2, single.stop)
        gone.start()
        with pytest.raises(errors.Unavailable, match="not known whether this was applied: no mem"):
            client.set("k", 1)
        gone.join()
        with pytest.raises(errors.Unavailable, match=r"^no member reachable"):
            client.set("k", 1)


def test_dead_seeds_do_not_matter_while_one_lives(fake: FakeCluster) -> None:
    seeds = f"127.0.0.1:9,{fake['n2'].address},127.0.0.1:10"
    with Client(seeds) as client:
        connect_to_all(fake, client)


@pytest.mark.parametrize("anew", [{"cluster": "another"}, {"founded": "z"}])
def test_a_cluster_set_up_anew_at_the_same_address_is_accepted(
    single: FakeCluster, anew: dict[str, str]
) -> None:
    old = single["n1"]
    with Client(single.address, timeout=1) as client:
        client.set("k", 1)
        old.stop()
        new = FakeNode(single.context, port=old.port)
        new.id, single.nodes["n1"] = "n1", new
        new.start()
        members = tuple(replace(m, incarnation="z") for m in single.map.members)
        single.map = replace(single.map, **anew, version=1, ring_version=1, members=members)
        new.use_map(single.map)
        until = time.monotonic() + 5
        while True:
            try:
                assert client.set("k", 2) is True
                break
            except errors.TierclusterError:
                assert time.monotonic() < until
        assert client.explain("k").version == 1


def replaced(fake: FakeCluster, node: str, tier_map: TierMap) -> None:
    """Another process at the node's address, with another map."""
    fake[node].stop()
    new = FakeNode(fake.context, port=fake[node].port)
    new.id, fake.nodes[node] = node, new
    new.use_map_before_start(tier_map)
    new.start()


def eventually(call: Callable[[], object]) -> object:
    until = time.monotonic() + 5
    while True:
        try:
            return call()
        except errors.TierclusterError:
            assert time.monotonic() < until


def test_a_member_that_was_set_up_anew_alone_captures_nobody(fake: FakeCluster) -> None:
    """The client has spoken to nobody else so far; the other two of its cluster live, but are slow
    to greet it."""
    key, other = fake.key_of("n1"), fake.key_of("n2")
    with Client(fake["n1"].address, timeout=1) as client:
        client.set(key, "ours")
        for node in ("n2", "n3"):
            fake[node].do(lambda node=node: setattr(fake[node], "greets", False))
        replaced(fake, "n1", TierMap("c1", 99, 99, fake.map.members[:1], "z", founded="z"))
        with pytest.raises(errors.TierclusterError):
            client.set(key, "for another")
        for node in ("n2", "n3"):
            fake[node].do(lambda node=node: setattr(fake[node], "greets", True))
        assert eventually(lambda: client.set(other, "ours")) is True
        assert client.explain(other).version == fake.map.version
        assert not fake["n1"].entries


def test_a_whole_cluster_set_up_anew_is_accepted(fake: FakeCluster) -> None:
    with Client(fake.address, timeout=1) as client:
        connect_to_all(fake, client)
        members = tuple(replace(m, incarnation="z") for m in fake.map.members)
        fake.map = TierMap("c1", 3, 3, members, "z", founded="z")
        for node in list(fake.nodes):
            replaced(fake, node, fake.map)
        for node in fake.nodes:
            assert eventually(lambda node=node: client.set(fake.key_of(node), "new")) is True
        assert client.explain("k").version == 3


def test_a_map_of_another_cluster_is_ignored_while_ours_lives(
    fake: FakeCluster, client: Client
) -> None:
    connect_to_all(fake, client)
    foreign = replace(fake.map, cluster="foreign", version=99, ring_version=99)
    node = fake["n1"]
    node.script(Kind.GET, once(
        (Status.STALE_MAP, MapUpdate(0, encode_map(foreign)), b""), then=node.apply_once
    ))  # fmt: skip
    assert client.get(fake.key_of("n1")) == "n1"
    assert client.stats().map_version == fake.map.version


def test_a_late_answer_is_ignored(single: FakeCluster) -> None:
    node = single["n1"]
    with Client(single.address, timeout=0.1) as client:
        client.set("k", "right")

        def late(request: Request) -> Answer:
            time.sleep(0.15)
            return Status.OK, Values((5,), b"\1"), b"wrong"

        node.script(Kind.GET, late)
        with pytest.raises(errors.DeadlineExceeded):
            client.get("k")
        node.script(Kind.GET, None)
        assert client.get("k") == "right"
        assert client.stats().late_answers >= 1


@pytest.mark.parametrize(
    "answer",
    [
        (Status.OK, Values((), b""), b""),
        (Status.OK, Values((5,), b"\1"), b"more than five"),
        (Status.OK, Values((-7,), b"\1"), b""),
        (Status.OK, Values((1,), b""), b"x"),
    ],
)
def test_an_answer_that_does_not_fit_is_a_protocol_error(
    single: FakeCluster, answer: Answer
) -> None:
    single["n1"].script(Kind.GET, lambda _: answer)
    with Client(single.address) as client:
        for _ in range(2):
            with pytest.raises(errors.ProtocolError):
                client.get("k")
        assert client.set("k", 1) is True


def test_bytes_that_are_no_answer_fail_the_call_and_not_the_client(single: FakeCluster) -> None:
    node = single["n1"]

    def garbage(request: Request) -> None:
        identity = next(iter(node.subscribers))
        node._socket.send_multipart([identity, b"\xff" * 40, b""])

    with Client(single.address) as client:
        client.set("k", 1)
        node.script(Kind.GET, garbage)
        with pytest.raises(errors.ProtocolError):
            client.get("k")
        node.script(Kind.GET, None)
        assert client.get("k") == 1


def test_unreadable_stored_bytes_are_a_serialization_error(single: FakeCluster) -> None:
    single["n1"].script(Kind.GET, lambda _: (Status.OK, Values((2,), b"\2"), b"\xff\xff"))
    with Client(single.address) as client, pytest.raises(errors.SerializationError):
        client.get("k")
    with Client(single.address, on_error="miss") as client:
        assert client.get("k", "default") == "default"
        assert client.stats().swallowed == {"SerializationError": 1}


def test_a_failing_cluster_is_a_miss_if_so_told(
    fake: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Client(fake.address, timeout=0.2, on_error="miss") as client,
        caplog.at_level(logging.WARNING, "tiercluster"),
    ):
        connect_to_all(fake, client)
        for kind in (Kind.GET, Kind.STORE, Kind.DELETE, Kind.INCR, Kind.TOUCH, Kind.PEEK):
            fake["n2"].script(kind, lambda _: (Status.SHED, Refusal("full"), b""))
        good, bad = fake.key_of("n1"), fake.key_of("n2")
        assert client.get(bad, "default") == "default"
        assert client.gets(bad) is None
        assert client.get_many([good, bad]) == {good: "n1"}
        assert client.set(bad, 1) is False
        assert client.set_many({good: 1, bad: 2}) == [good, bad]
        assert client.delete(bad) is False
        assert client.delete_many([bad]) == 0
        assert client.touch(bad, 5) is False
        assert client.exists(bad) is False
        assert client.ttl(bad) is None
        assert client.get_or_set(bad, lambda: "made") == "made"
        for call in (
            lambda: client.add(bad, 1),
            lambda: client.replace(bad, 1),
            lambda: client.cas(bad, 1, 1),
            lambda: client.incr(bad),
        ):
            with pytest.raises(errors.Unavailable):
                call()
        stats = client.stats()
        assert stats.swallowed == {"Unavailable": 12}
        assert stats.errors == 12
    assert len(caplog.records) == 1


def test_wrong_arguments_are_raised_even_where_errors_are_swallowed(single: FakeCluster) -> None:
    with Client(single.address, on_error="miss") as client:
        with pytest.raises(errors.InvalidKey):
            client.get("")
        with pytest.raises(errors.ValueTooLarge):
            client.set("k", b"x" * (9 * 2**20))


def test_a_version_that_is_none_is_wrong_usage(single: FakeCluster) -> None:
    with Client(single.address) as client:
        for wrong in (2**63, -(2**63) - 1):
            with pytest.raises(ValueError, match="64 bit"):
                client.cas("k", 1, wrong)
            with pytest.raises(ValueError, match="64 bit"):
                client.delete("k", version=wrong)
        with pytest.raises(TypeError, match="integer"):
            client.cas("k", 1, "7")  # type: ignore[arg-type]


def test_all_parts_are_sent_before_any_answer_is_awaited(fake: FakeCluster, client: Client) -> None:
    connect_to_all(fake, client)
    barrier = threading.Barrier(3, timeout=2)

    def meet(node: Any) -> Callable[[Request], Answer]:
        def answer(request: Request) -> Answer:
            barrier.wait()
            return node.apply(request)

        return answer

    for node in fake.nodes.values():
        node.script(Kind.GET, meet(node))
    keys = [fake.key_of(node) for node in fake.nodes]
    assert len(client.get_many(keys)) == 3


def test_many_keys_are_one_message_an_owner(fake: FakeCluster, client: Client) -> None:
    client.set_many({f"k{i}": i for i in range(1000)})
    assert len(client.get_many([f"k{i}" for i in range(1000)])) == 1000
    for node in fake.nodes.values():
        assert len(node.asked(Kind.GET)) == len(node.asked(Kind.STORE)) == 1


def test_more_keys_than_a_message_takes_are_split(fake: FakeCluster, client: Client) -> None:
    keys = [f"k{i}" for i in range(25_000)]
    assert client.get_many(keys) == {}
    asked = [
        len(r.fields.keys) for n in fake.nodes.values() for r in n.asked(Kind.GET) if not r.retry
    ]
    assert sum(asked) == 25_000
    assert max(asked) <= 10_000


def test_the_newest_map_is_fetched_when_an_answer_is_ahead(
    fake: FakeCluster, client: Client
) -> None:
    connect_to_all(fake, client)
    fake.change("n1", push=False, ring=False, reason="nothing that moves keys")
    key = fake.key_of("n2")
    until = time.monotonic() + 2
    while client.stats().map_version < fake.map.version:
        client.get(key)
        assert time.monotonic() < until


def test_a_degraded_answer_says_so(fake: FakeCluster, client: Client) -> None:
    key = fake.key_of("n1")
    fake.down("n1")
    client.set(key, 1)
    item = client.gets(key)
    assert item is not None
    assert item.degraded is True
    placement = client.explain(key)
    assert placement.preference[0] == "n1"
    assert "n1" in placement.skipped


def test_threads_share_a_client(fake: FakeCluster, client: Client) -> None:
    wrong: list[Any] = []

    def work(number: int) -> None:
        for i in range(40):
            key = f"k{number}-{i}"
            client.set(key, i)
            if client.get(key) != i:
                wrong.append(key)
            client.incr("shared", initial=1)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert client.get("shared") == 240
    assert client.stats().calls >= 6 * 40 * 3


def test_a_client_works_on_both_sides_of_a_fork(fake: FakeCluster, client: Client) -> None:
    client.set("k", "parent")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            found = client.get("k")
            client.set("child", found)
            os.write(write, b"ok" if found == "parent" else b"no")
        finally:
            os._exit(0)
    os.close(write)
    try:
        assert os.read(read, 10) == b"ok"
    finally:
        os.close(read)
        os.waitpid(child, 0)
    assert client.get("child") == "parent"


def test_a_closed_client_says_so(fake: FakeCluster) -> None:
    client = Client(fake.address)
    client.set("k", 1)
    client.close()
    client.close()
    with pytest.raises(errors.Unavailable, match="closed"):
        client.get("k")


def test_an_exception_in_the_caller_leaves_the_client_usable(
    fake: FakeCluster, client: Client
) -> None:
    client.set("k", 1)

    def interrupted(request: Request) -> Answer:
        raise AssertionError

    with pytest.raises(ZeroDivisionError):
        client.get_or_set("missing", lambda: 1 / 0, lock=True)
    assert client.get("k") == 1


def test_events_are_told_in_order(fake: FakeCluster, client: Client) -> None:
    told: list[Event] = []
    arrived = threading.Event()

    def callback(event: Event) -> None:
        told.append(event)
        if len(told) == 2:
            arrived.set()
        raise RuntimeError("a callback that raises is not the end")

    fake["n1"].do(lambda: None)
    client.on_event(callback)
    for version in (11, 12):
        event = Event(version, 0.0, "n3/cold", "UP", "DOWN", "n3", "sick")
        for node in fake.nodes.values():
            node.do(lambda node=node, event=event: node.events.append(event))
        fake.change("n3", tiers=tuple(
            TierRecord(t.tier, Health.DOWN) if t.tier == "cold" else t
            for t in fake.map.members[2].tiers
        ), reason=str(version))  # fmt: skip
    assert arrived.wait(5)
    assert [event.version for event in told] == [11, 12]


def test_tiers_of_a_node_that_is_down_have_no_figures(fake: FakeCluster, client: Client) -> None:
    fake.change("n1", state=NodeState.DOWN)
    tiers = {t.ref: t for t in client.tiers()}
    assert tiers["n1/hot"].entries is None
    assert tiers["n2/hot"].entries == 0
    assert len(tiers) == 9


def test_a_scan_goes_on_when_a_node_goes_down(fake: FakeCluster, client: Client) -> None:
    client.set_many({f"k{i}": i for i in range(60)})
    fake["n2"].script(Kind.SCAN, lambda _: None)
    timer = threading.Timer(0.2, lambda: fake.down("n2"))
    timer.start()
    left = [k for k in list(client.scan()) if fake.owner(b"\0" + k.encode()) != "n2"]
    timer.join()
    assert 0 < len(left) < 60


def test_counters_that_no_owner_knows(single: FakeCluster) -> None:
    single["n1"].script(Kind.INCR, lambda _: (Status.BAD_REQUEST, Refusal("past 64 bits"), b""))
    with Client(single.address) as client:
        with pytest.raises(errors.SerializationError, match="64 bits"):
            client.incr("n")
        single["n1"].script(Kind.INCR, lambda _: (Status.OK, Counter(False, True, 0, 0), b""))
        with pytest.raises(KeyError):
            client.incr("n")
