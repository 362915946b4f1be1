"""The near cache against nodes that do not play along: old, forgetful or silent ones."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.harness.cluster import wait_until
from tiercluster import Client
from tiercluster.cluster.nearfeed import RENEW_S
from tiercluster.cluster.wire import (
    Kind,
    NearGrant,
    Refusal,
    Request,
    Status,
    Values,
    Watched,
    WatchGet,
)
from tiercluster.node.announcer import NEAR_LEASE_S

from .fake_cluster import Answer, FakeCluster

LEASE_MS = int(NEAR_LEASE_S * 1000)


class Coherent:
    """A fake node that grants leases, watches all it is asked for, and can lose its news."""

    def __init__(self, cluster: FakeCluster, node: str = "n1") -> None:
        self.node = cluster[node]
        self.stint, self.seq, self.is_silent = 1, 0, False
        self.node.script(Kind.NEAR_LEASE, self._grant)
        self.node.script(Kind.WATCH_GET, self._read)

    def _grant(self, request: Request) -> Answer | None:
        if self.is_silent:
            return None
        return Status.OK, NearGrant(self.stint, self.seq, LEASE_MS), b""

    def _read(self, request: Request) -> Answer:
        asked = request.fields
        assert isinstance(asked, WatchGet)
        status, values, body = self.node._get(_AsGet(asked.keys), b"")
        assert isinstance(values, Values)
        watched = Watched(values.sizes, values.flags, values.versions, values.ttls,
                          self.stint, self.seq)  # fmt: skip
        return status, watched, body


class _AsGet:
    meta = True

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        self.keys = keys


@pytest.fixture
def near(single: FakeCluster) -> Iterator[Client]:
    with Client(single.address, near_cache=10) as client:
        yield client


def is_near(client: Client) -> bool:
    before = client.stats().near_hits
    client.get("k")
    return client.stats().near_hits > before


def test_nodes_that_know_no_near_caches_are_read_as_ever(single: FakeCluster, near: Client) -> None:
    refusal = Status.BAD_REQUEST, Refusal("no request of kind 28"), b""
    single["n1"].script(Kind.NEAR_LEASE, lambda request: refusal)
    near.set("k", 1)
    for _ in range(20):
        assert near.get("k") == 1
    wait_until(lambda: single["n1"].asked(Kind.NEAR_LEASE) != [], 5, "it was asked")
    assert near.get("k") == 1
    stats = near.stats()
    assert (stats.near_hits, stats.bad_answers) == (0, 0)
    assert single["n1"].asked(Kind.WATCH_GET) == []


def test_of_nodes_that_partly_know_near_caches_none_is_asked_to_watch(fake: FakeCluster) -> None:
    """A GET may go to any of them by the time it is sent, and one of kind WATCH_GET is an error to
    an old node."""
    refusal = Status.BAD_REQUEST, Refusal("no request of kind 28"), b""
    fake["n1"].script(Kind.NEAR_LEASE, lambda request: refusal)
    for node in ("n2", "n3"):
        Coherent(fake, node)
    with Client(fake.address, near_cache=10) as near:
        near.set("k", 1)
        near.get("k")
        wait_until(lambda: all(fake[n].asked(Kind.NEAR_LEASE) for n in fake.nodes), 5, "all asked")
        for _ in range(20):
            assert near.get("k") == 1
        assert near.stats().near_hits == 0


def test_news_that_were_lost_show_in_the_lease(single: FakeCluster, near: Client) -> None:
    node = Coherent(single)
    near.set("k", 1)
    wait_until(lambda: is_near(near), 5, "it is kept")
    node.node.do(lambda: node.node.entries.clear())
    assert is_near(near)
    node.node.do(lambda: setattr(node, "seq", 1))
    wait_until(lambda: near.get("k") is None, 2, "the copy is gone")
    assert near.stats().near_resets == 1


def test_a_node_that_began_anew_ends_the_copies(single: FakeCluster, near: Client) -> None:
    node = Coherent(single)
    near.set("k", 1)
    wait_until(lambda: is_near(near), 5, "it is kept")
    node.node.do(lambda: (node.node.entries.clear(), setattr(node, "stint", 2))[0])
    wait_until(lambda: near.get("k") is None, 2, "the copy is gone")


def test_a_node_that_says_no_more_ends_the_copies(single: FakeCluster, near: Client) -> None:
    node = Coherent(single)
    near.set("k", 1)
    wait_until(lambda: is_near(near), 5, "it is kept")
    node.node.do(lambda: (node.node.entries.clear(), setattr(node, "is_silent", True))[0])
    took = wait_until(lambda: near.get("k") is None, 2, "the copy is gone")
    assert took < NEAR_LEASE_S + 0.6


def test_a_lost_connection_ends_the_copies(single: FakeCluster, near: Client) -> None:
    Coherent(single)
    near.set("k", 1)
    wait_until(lambda: is_near(near), 5, "it is kept")
    single["n1"].stop()
    wait_until(lambda: near.stats().near_resets > 0, 2, "the copies are dropped")


def test_a_client_that_does_not_read_asks_for_no_lease(
    single: FakeCluster, near: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiercluster.cluster.nearfeed.IDLE_S", 0.3)
    Coherent(single)
    near.set("k", 1)
    wait_until(lambda: is_near(near), 5, "it is kept")
    asked = single["n1"].asked

    def is_quiet() -> bool:
        before = len(asked(Kind.NEAR_LEASE))
        time.sleep(4 * RENEW_S)
        return len(asked(Kind.NEAR_LEASE)) == before

    wait_until(is_quiet, 5, "it asks no more")
    wait_until(lambda: is_near(near), 5, "it is kept again")


def test_a_copy_that_outlived_a_write_is_found_out(single: FakeCluster, near: Client) -> None:
    """The node tells of no change, which is a bug; the near cache looks whether there is one."""
    Coherent(single)
    near.set("k", 1)
    wait_until(lambda: is_near(near), 5, "it is kept")
    wait_until(lambda: is_near(near) and near.stats().near_audited > 0, 10, "it was looked at")
    assert near.stats().near_stale == 0
    with Client(single.address) as other:
        other.set("k", 2)

    def is_found() -> bool:
        near.get("k")
        return near.stats().near_stale > 0

    wait_until(is_found, 10, "it is found")
