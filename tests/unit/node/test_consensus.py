"""A voter follows another member while its replica is out, and only then."""

from __future__ import annotations

from tiercluster.node.consensus import Consensus
from tiercluster.tiermap import MapState, Member, TierMap
from tiercluster.tiermap.raft import NO_CUT, Cut

STATE = MapState(TierMap("c", 7, 3, (Member("n1", "a:1"), Member("n2", "a:2"))))
ALONE = MapState(TierMap("c", 7, 3, (Member("n1", "a:1"),)))


class Source:
    stalled_s = 3.0

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def start(self) -> None:
        self.log.append(f"{self.name} starts")

    def propose(self, frame: bytes) -> bool:
        self.log.append(f"{self.name} proposes {frame.decode()}")
        return True

    def barrier(self, token: str) -> None:
        self.log.append(f"{self.name} barrier {token}")

    def cut_off(self, cut: Cut) -> None:
        if cut != NO_CUT:
            self.log.append(f"{self.name} is cut off from {', '.join(cut.peers)}")

    def stop(self, timeout_s: float = 2.0) -> None:
        self.log.append(f"{self.name} stops")

    def use_keys(self, keys: object) -> None:
        self.log.append(f"{self.name} uses {keys}")


class World:
    def __init__(self, votes: bool = True) -> None:
        self.log: list[str] = []
        self.states: list[MapState] = []
        replica = Source("replica", self.log) if votes else None
        self.consensus = Consensus(replica, self._feed)
        self.consensus.start()

    def _feed(self, state: MapState, first: str) -> Source:
        self.states.append(state)
        return Source("feed", self.log)


def test_a_voter_proposes_through_its_replica() -> None:
    world = World()
    assert world.consensus.propose(b"x")
    world.consensus.barrier("t")
    world.consensus.stop()
    assert world.log == ["replica starts", "replica proposes x", "replica barrier t",
                         "replica stops"]  # fmt: skip


def test_while_its_replica_is_out_a_voter_follows_from_the_state_it_has() -> None:
    world = World()
    world.consensus.follow_feed(STATE)
    world.consensus.follow_feed(STATE)  # told twice
    assert world.consensus.propose(b"x")
    world.consensus.follow_replica()
    world.consensus.follow_replica()
    assert world.consensus.propose(b"y")
    assert world.states == [STATE]
    assert world.log == ["replica starts", "feed starts", "feed proposes x", "feed stops",
                         "replica proposes y"]  # fmt: skip


def test_before_a_map_names_others_there_is_nobody_to_follow() -> None:
    world = World()
    for state in (MapState(), ALONE):
        world.consensus.follow_feed(state)
    assert world.log == ["replica starts"]


def test_a_follower_has_no_replica_to_return_to() -> None:
    world = World(votes=False)
    world.consensus.follow_replica()
    world.consensus.follow_feed(STATE)
    assert world.consensus.propose(b"x")
    world.consensus.stop()
    assert world.log == ["feed starts", "feed proposes x", "feed stops"]


def test_a_partition_holds_for_the_replica_and_for_a_feed_that_comes_later() -> None:
    world = World()
    world.consensus.cut_off(Cut(frozenset({"n2"}), 5.0))
    world.consensus.follow_feed(STATE)
    assert "replica is cut off from n2" in world.log
    assert "feed is cut off from n2" in world.log


def test_only_a_voter_has_a_replica_that_can_hang() -> None:
    assert World().consensus.stalled_s == 3.0
    assert World(votes=False).consensus.stalled_s == 0.0
