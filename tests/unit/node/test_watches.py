"""Watches: each change is told once, in numbered messages, and everything has a bound."""

from __future__ import annotations

import pytest

from tiercluster.cluster.ring import slot_of
from tiercluster.cluster.wire import Invalidated
from tiercluster.node import watches as module
from tiercluster.node.directory import BUCKET_SHIFT
from tiercluster.node.watches import NOT_WATCHING, WATCHER_S, Watches, Watching

K, L, M = b"\0k", b"\0l", b"\0m"


class Node:
    def __init__(self, *clients: bytes) -> None:
        self.watches = Watches(100)
        self.now = 10.0
        self.stints = {client: self.renew(client).stint for client in clients}

    def renew(self, client: bytes, stint: int = 0, identity: bytes = b"") -> Watching:
        return self.watches.renew(client, identity or client, stint, self.now)

    def watch(self, client: bytes, *keys: bytes) -> Watching:
        return self.watches.watch(client, keys, list(map(slot_of, keys)))

    def fire(self, *keys: bytes) -> None:
        for key in keys:
            self.watches.fire(key, slot_of(key))

    def told(self) -> list[tuple[bytes, int, tuple[bytes, ...] | str]]:
        """To whom, the number, what."""
        return [
            (identity, m.seq, "everything" if m.everything else m.keys)
            for identity, m in self.watches.take()
        ]


def test_a_change_is_told_to_whoever_watches_and_once() -> None:
    node = Node(b"a", b"b", b"c")
    node.watch(b"a", K, L)
    node.watch(b"b", K)
    node.watch(b"c", L)
    node.fire(K)
    assert node.watches.has_news
    assert sorted(node.told()) == [(b"a", 1, (K,)), (b"b", 1, (K,))]
    node.fire(K)
    assert not node.watches.has_news
    assert node.told() == []
    assert node.watches.count == 2


def test_what_changes_together_is_one_message() -> None:
    node = Node(b"a")
    node.watch(b"a", K, L, M)
    node.fire(K, L)
    assert node.told() == [(b"a", 1, (K, L))]
    node.fire(M)
    assert node.told() == [(b"a", 2, (M,))]


def test_a_read_is_registered_after_all_that_was_told_before() -> None:
    """Or the client would take news of before for news of its read, or miss what comes."""
    node = Node(b"a")
    node.watch(b"a", K)
    node.fire(K)
    watching = node.watch(b"a", K)
    assert watching.seq == 1
    node.fire(K)
    assert node.told() == [(b"a", 1, (K,)), (b"a", 2, (K,))]


def test_a_lease_counts_all_that_was_told() -> None:
    node = Node(b"a")
    node.watch(b"a", K)
    node.fire(K)
    assert node.renew(b"a", node.stints[b"a"]).seq == 1


def test_a_client_that_is_not_known_is_not_told() -> None:
    assert Node().watch(b"a", K) == NOT_WATCHING


@pytest.mark.parametrize(("stint", "identity"), [(0, b"a"), (99, b"a"), (None, b"another")])
def test_another_stint_or_connection_begins_with_nothing(
    stint: int | None, identity: bytes
) -> None:
    node = Node(b"a")
    node.watch(b"a", K)
    known = node.stints[b"a"]
    again = node.renew(b"a", known if stint is None else stint, identity)
    assert again.stint not in (0, known)
    assert again.seq == 0
    node.fire(K)
    assert node.told() == []
    assert node.watches.count == 0


def test_the_same_stint_goes_on() -> None:
    node = Node(b"a")
    node.watch(b"a", K)
    assert node.renew(b"a", node.stints[b"a"]).stint == node.stints[b"a"]
    node.fire(K)
    assert node.told() == [(b"a", 1, (K,))]


def test_a_client_that_is_silent_is_forgotten() -> None:
    node = Node(b"a", b"b")
    node.watch(b"a", K)
    node.watch(b"b", K)
    node.now += WATCHER_S
    node.renew(b"b", node.stints[b"b"])
    node.now += 0.1
    node.watches.expire(node.now)
    assert node.watch(b"a", K) == NOT_WATCHING
    node.fire(K)
    assert node.told() == [(b"b", 1, (K,))]


def test_what_was_not_found_is_not_watched() -> None:
    node = Node(b"a")
    assert node.watch(b"a", K, L).added == {K, L}
    assert node.watch(b"a", L, M).added == {M}
    node.watches.unwatch(b"a", [L, M])
    node.fire(K, L, M)
    assert node.told() == [(b"a", 1, (K,))]
    assert node.watches.count == 0


def test_a_prefix_fires_its_keys_whether_they_have_entries_or_not() -> None:
    node = Node(b"a")
    node.watch(b"a", b"\0x1", b"\0x2", b"\0y")
    for key in (b"\0x1", b"\0x2", b"\0y"):
        node.watches.fire_bucket(slot_of(key) >> BUCKET_SHIFT, b"\0x")
    (_, first, keys), *more = node.told()
    assert (first, set(keys), more) == (1, {b"\0x1", b"\0x2"}, [])
    assert node.watches.count == 1


def test_when_owners_change_all_drop_everything() -> None:
    node = Node(b"a", b"b")
    node.watch(b"a", K)
    node.fire(K)
    node.watches.drop_all()
    assert node.told() == [(b"a", 1, "everything"), (b"b", 1, "everything")]
    assert node.watches.count == 0
    assert node.watch(b"a", K).seq == 1


def test_a_client_that_watches_too_much_drops_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_A_WATCHER", 2)
    node = Node(b"a")
    node.watch(b"a", K, L)
    assert node.watch(b"a", M).seq == 1
    node.fire(K, M)
    assert node.told() == [(b"a", 1, "everything"), (b"a", 2, (M,))]
    assert node.watch(b"a", K, L, M) == NOT_WATCHING


def test_when_all_watch_too_much_the_one_with_the_most_drops_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_WATCHES", 3)
    node = Node(b"a", b"b")
    node.watch(b"a", K, L)
    node.watch(b"b", K)
    node.watch(b"b", L)
    assert node.told() == [(b"a", 1, "everything")]
    assert node.watches.count == 2


def test_there_are_only_so_many_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WATCHERS", 1)
    node = Node(b"a")
    assert node.renew(b"b") == NOT_WATCHING
    assert node.renew(b"a", node.stints[b"a"]).stint == node.stints[b"a"]


def test_a_message_holds_only_so_many_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOLD_KEYS", 2)
    node = Node(b"a")
    node.watch(b"a", K, L, M)
    node.fire(K, L, M)
    assert node.told() == [(b"a", 1, (K, L)), (b"a", 2, (M,))]
    assert node.watches.told == 3


def test_the_message_names_its_stint() -> None:
    node = Node(b"a")
    node.watch(b"a", K)
    node.fire(K)
    assert node.watches.take() == [(b"a", Invalidated(node.stints[b"a"], 1, (K,), False))]
