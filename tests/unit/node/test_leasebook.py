"""Locks and leases when their owner changes: at most one holder, and for how long nobody."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from tests.unit.node.shard_world import World
from tiercluster.cluster.keys import Space
from tiercluster.cluster.ring import slot_of
from tiercluster.cluster.routing import Router
from tiercluster.cluster.wire import (
    CLEAR_EVER,
    Delete,
    Flags,
    Leases,
    Peek,
    Peeked,
    Status,
    Store,
)
from tiercluster.node import leasebook
from tiercluster.node.directory import VERSION_SHIFT
from tiercluster.node.leasebook import HELD, PATIENCE_S, LeaseBook, No, Told, is_lease
from tiercluster.node.ownership import Ownership
from tiercluster.node.verbs_lease import _told
from tiercluster.tiermap import Admin, Member, NodeState, TierMap

KEYS = [Space(b"").locks().prefix + b"l%d" % i for i in range(60)]
T = 30.0


class Node:
    """One process of one node: the book behind the true ownership."""

    def __init__(self, cluster: Cluster, name: str, token: str) -> None:
        self.cluster, self.name, self.token = cluster, name, token
        self.ownership = Ownership(name, token, 0.5)
        self.versions = 0
        self.book = LeaseBook(name, self._next, self._ask)
        self.is_cut = False  # its questions are not answered

    def _next(self) -> int:
        self.versions += 1
        return (self.ownership.ring_version << VERSION_SHIFT) + self.versions

    def _ask(self, node: str, slot: int, ring_version: int, now: float) -> None:
        other = self.cluster.nodes.get(node)
        if other is None or self.is_cut or other.is_cut:
            return
        self.book.told(slot, ring_version, other.book.answer(slot, ring_version, now), now)

    def use(self, tier_map: TierMap, now: float) -> None:
        if self.ownership.use_map(tier_map, now):
            self.book.use_map(tier_map, self.ownership.slots, self.ownership.gained)

    def add(self, key: bytes, ttl: float = T) -> int | No:
        return self.book.add(key, slot_of(key), ttl, self.cluster.now)


class Cluster:
    """A map that is applied by all members at once, and leases that are asked for at its owners."""

    def __init__(self, *names: str) -> None:
        self.now = 100.0
        self.nodes: dict[str, Node] = {}
        self.members: dict[str, Member] = {}
        self.version = 0
        self.founded = ""
        for name in names:
            self.join(name)

    def join(self, name: str, token: str = "") -> None:
        token = token or f"{name}-{self.version}"
        incarnation = f"{token}#1"
        self.founded = self.founded or incarnation
        self.members[name] = Member(name, f"{name}:1", incarnation=incarnation)
        self.nodes[name] = Node(self, name, token)
        self.commit()

    def crash(self, name: str) -> None:
        self.nodes.pop(name, None)
        self.members[name] = replace(self.members[name], state=NodeState.DOWN)
        self.commit()

    def stop(self, name: str) -> None:
        """Cleanly: it says farewell to all."""
        told = self.nodes[name].book.farewell(self.now)
        incarnation = self.members[name].incarnation
        for node in self.nodes.values():
            if told is not None:
                node.book.hear_farewell(name, incarnation, told, self.now)
        self.crash(name)

    def commit(self) -> None:
        self.version += 1
        members = tuple(replace(m, since_version=self.version) if m.since_version == 0 else m
                        for _, m in sorted(self.members.items()))  # fmt: skip
        self.members = {m.id: m for m in members}
        self.map = TierMap("c", self.version, self.version, members, "", founded=self.founded)
        for node in self.nodes.values():
            node.use(self.map, self.now)
        for node in self.nodes.values():
            for name, other in self.nodes.items():
                if other is not node:
                    incarnation = self.members[name].incarnation
                    node.ownership.confirm(name, incarnation, self.version, self.now)
        self.later(0.6)

    def later(self, seconds: float) -> None:
        self.now += seconds
        for node in self.nodes.values():
            node.ownership.tick(self.now)
            if node.ownership.is_settled:
                node.book.settled(self.now)
            node.book.tick(self.now)

    def owner(self, key: bytes) -> Node:
        return self.nodes[Router(self.map).owner_of(key) or ""]

    def add(self, key: bytes, ttl: float = T) -> int | No:
        """As a client does: again while the last owner is asked."""
        while (answer := self.owner(key).add(key, ttl)) is No.ASKING:
            self.later(0.02)
        return answer

    def granted(self, keys: list[bytes] = KEYS, ttl: float = T) -> set[bytes]:
        return {key for key in keys if self.add(key, ttl) not in (HELD, No.FULL)}


def owned(cluster: Cluster, name: str) -> list[bytes]:
    return [key for key in KEYS if cluster.owner(key).name == name]


def test_a_lease_is_held_by_one_and_ends_by_itself() -> None:
    cluster = Cluster("n1")
    version = cluster.add(KEYS[0])
    assert cluster.add(KEYS[0]) == HELD
    cluster.later(T)
    again = cluster.add(KEYS[0])
    assert isinstance(version, int)
    assert isinstance(again, int)
    assert again > version > 0


def test_only_its_holder_extends_and_releases_it() -> None:
    cluster = Cluster("n1")
    book, key = cluster.nodes["n1"].book, KEYS[0]
    version = cluster.add(key)
    assert isinstance(version, int)
    assert book.extend(key, slot_of(key), version + 1, T, cluster.now) == HELD
    newer = book.extend(key, slot_of(key), version, T, cluster.now)
    assert newer > version
    assert not book.release(key, version, cluster.now)
    assert book.release(key, newer, cluster.now)
    assert book.look(key, cluster.now) == (0, 0.0)
    assert book.extend(key, slot_of(key), newer, T, cluster.now) == HELD


def test_in_a_cluster_that_grows_nothing_is_waited_for_and_nothing_is_granted_twice() -> None:
    cluster = Cluster("n1")
    assert cluster.granted(KEYS[:30]) == set(KEYS[:30])
    cluster.join("n2")
    cluster.join("n3")
    assert len({cluster.owner(key).name for key in KEYS}) == 3
    assert cluster.granted() == set(KEYS[30:])


def test_after_a_crash_nobody_gets_a_lease_until_the_longest_of_before_has_ended() -> None:
    cluster = Cluster("n1", "n2", "n3")
    cluster.later(T)
    theirs = owned(cluster, "n2")
    others = [key for key in KEYS if key not in theirs]
    cluster.crash("n2")
    began = cluster.now - 0.6
    assert cluster.granted(others) == set(others)
    while cluster.now < began + T - 0.01:
        assert not cluster.granted(theirs)
        cluster.later(0.5)
    cluster.later(1.2)
    assert cluster.granted(theirs) == set(theirs)
    assert all(n.book.refused for n in cluster.nodes.values())


def test_whoever_asks_for_less_waits_for_less() -> None:
    cluster = Cluster("n1", "n2", "n3")
    cluster.later(T)
    theirs = owned(cluster, "n2")
    cluster.crash("n2")
    assert not cluster.granted(theirs, ttl=2.0)
    cluster.later(2.0)
    assert cluster.granted(theirs, ttl=2.0) == set(theirs)


def test_who_stops_cleanly_tells_what_it_granted_and_nobody_waits() -> None:
    cluster = Cluster("n1", "n2", "n3")
    cluster.later(T)
    theirs = owned(cluster, "n2")
    held = set(theirs[::2])
    assert cluster.granted(theirs[::2]) == held
    cluster.stop("n2")
    assert cluster.granted(theirs) == set(theirs) - held
    cluster.later(T)
    assert cluster.granted(sorted(held)) == held


def test_a_drain_hands_over_what_was_granted_and_the_way_back_too() -> None:
    cluster = Cluster("n1", "n2", "n3")
    theirs = owned(cluster, "n2")
    assert cluster.granted(theirs[:3]) == set(theirs[:3])
    out = cluster.members["n2"]
    tiers = tuple(replace(t, generation=t.generation + 1) for t in out.tiers)
    cluster.members["n2"] = replace(out, tiers=tuple(replace(t, admin=Admin.OUT) for t in tiers))
    cluster.commit()
    assert cluster.granted(theirs[:5]) == set(theirs[3:5])
    cluster.members["n2"] = replace(out, tiers=tiers)
    cluster.commit()
    assert owned(cluster, "n2") == theirs
    assert not cluster.granted(theirs[:5])
    cluster.later(T)
    assert cluster.granted(theirs) == set(theirs)


def test_what_a_successor_does_not_know_its_own_successor_does_not_know_either() -> None:
    cluster = Cluster("n1", "n2", "n3")
    theirs = owned(cluster, "n2")
    cluster.crash("n2")
    cluster.later(10.0)
    cluster.join("n4")
    assert not cluster.granted(theirs)
    cluster.later(T - 11.0)
    assert not cluster.granted(theirs)
    cluster.later(1.6)
    assert cluster.granted(theirs) == set(theirs)


def test_a_last_owner_that_does_not_answer_is_asked_for_a_moment_and_then_waited_for() -> None:
    cluster = Cluster("n1")
    cluster.nodes["n1"].is_cut = True
    cluster.join("n2")
    key = owned(cluster, "n2")[0]
    node = cluster.owner(key)
    assert node.add(key) is No.ASKING
    cluster.later(PATIENCE_S + 0.1)
    assert node.add(key) == HELD
    cluster.nodes["n1"].is_cut = False
    cluster.later(PATIENCE_S + 0.1)
    assert node.add(key) == HELD  # asked again, and answered
    assert cluster.granted([key]) == {key}


def test_an_owner_that_has_not_lost_the_slot_yet_says_nothing() -> None:
    cluster = Cluster("n1", "n2")
    key = owned(cluster, "n1")[0]
    book = cluster.nodes["n1"].book
    assert book.answer(slot_of(key), cluster.version, cluster.now) is None
    lost = owned(cluster, "n2")[0]
    assert book.answer(slot_of(lost), cluster.version, cluster.now) is not None
    assert book.answer(slot_of(lost), cluster.version - 1, cluster.now) is None
    assert book.answer(1 << 40, cluster.version, cluster.now) is None


def test_a_farewell_of_another_process_says_nothing() -> None:
    cluster = Cluster("n1", "n2", "n3")
    theirs = owned(cluster, "n2")
    for node in cluster.nodes.values():
        node.book.hear_farewell("n2", "another#1", Told(float("inf"), ()), cluster.now)
    cluster.crash("n2")
    assert not cluster.granted(theirs)


def test_farewells_are_kept_of_processes_that_the_map_knows_only() -> None:
    cluster = Cluster("n1", "n2", "n3")
    book = cluster.nodes["n1"].book
    for number in range(100):
        book.hear_farewell("n2", f"another#{number}", Told(float("inf"), ()), cluster.now)
    assert len(book._farewells) == 0
    for number in range(5):
        cluster.stop("n2")
        cluster.join("n2", f"n2-again-{number}")
    assert len(book._farewells) <= 2


def test_a_whole_cluster_that_crashed_waits_too() -> None:
    cluster = Cluster("n1")
    cluster.nodes.clear()
    cluster.join("n1", "again")
    assert not cluster.granted()
    cluster.later(T)
    assert cluster.granted() == set(KEYS)


def test_more_leases_than_there_is_room_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leasebook, "MAX_LEASES", 2)
    cluster = Cluster("n1")
    assert [cluster.add(key) is No.FULL for key in KEYS[:3]] == [False, False, True]
    cluster.later(T + leasebook.SWEEP_S)
    assert cluster.add(KEYS[2]) is not No.FULL


def test_who_holds_more_than_fits_a_message_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster("n1", "n2")
    theirs = owned(cluster, "n2")
    cluster.granted(theirs)
    monkeypatch.setattr(leasebook, "MAX_TOLD", len(theirs) - 1)
    assert cluster.nodes["n2"].book.farewell(cluster.now) is None


@pytest.mark.parametrize("seed", range(60))
def test_at_most_one_holder_whatever_members_do(seed: int) -> None:
    """Holders as they see it: from before they ask until their time is over, or they let go."""
    random = Random(seed)
    names = ["n1", "n2", "n3", "n4"]
    cluster = Cluster(*names[:3])
    held: dict[bytes, tuple[float, int]] = {}
    fences: dict[bytes, int] = {}
    for _ in range(120):
        step = random.choice(["ask"] * 8 + ["wait", "crash", "stop", "join", "release", "cut"])
        up = list(cluster.nodes)
        if step == "ask":
            key, began = random.choice(KEYS[:6]), cluster.now
            version = cluster.add(key, 5.0)
            if isinstance(version, int) and version != HELD:
                until = held.get(key, (0.0, 0))[0]
                assert began >= until, f"{key!r} is held until {until}, granted at {began}"
                assert version > fences.get(key, 0)
                held[key], fences[key] = (began + 5.0, version), version
        elif step == "wait":
            cluster.later(random.choice([0.1, 1.0, 4.0]))
        elif step == "release" and held:
            key = random.choice(sorted(held))
            if cluster.owner(key).book.release(key, held[key][1], cluster.now):
                del held[key]
        elif step == "cut":
            node = cluster.nodes[random.choice(up)]
            node.is_cut = not node.is_cut
        elif step in ("crash", "stop") and len(up) > 1:
            (cluster.crash if step == "crash" else cluster.stop)(random.choice(up))
        elif step == "join":
            cluster.join(random.choice(names), f"t{random.random()}")


# --- on the wire --------------------------------------------------------------------------------


def test_names_of_leases_are_told_from_keys() -> None:
    assert all(map(is_lease, KEYS))
    assert is_lease(Space(b"users").locks().prefix + b"m123")
    assert is_lease(Space(b"").wire("\0lock:"))  # of no namespace, see below
    assert not is_lease(Space(b"users").wire("x"))


def test_what_is_said_of_leases_is_checked() -> None:
    good = Leases("n", "i", True, CLEAR_EVER, (KEYS[0], b"\0data"), (7, 8), (1000, 1000))
    assert _told(good) == Told(float("inf"), ((KEYS[0], 7, 1.0),))
    assert _told(replace(good, versions=(7,))) is None
    assert _told(replace(good, known=False)) is None


def test_one_lease_a_request_with_a_time_to_live() -> None:
    world = World()
    bad = (
        Store(1, tuple(KEYS[:2]), (0, 0), b"\0\0", (1.0,)),
        Store(1, (KEYS[0],), (0,), b"\0", (None,)),
        Store(0, (KEYS[0],), (0,), b"\0", (1.0,)),
    )
    for asked in bad:
        assert world.answers[world.send(asked)][0] is Status.BAD_REQUEST
    assert world.ask(Delete((KEYS[0],), 5)) == Flags((False,))
    assert world.ask(Peek((KEYS[0],))) == Peeked((0,), (0.0,))
