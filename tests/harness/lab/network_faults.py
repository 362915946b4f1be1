"""Faults of the network: splits of all shapes, links that flap, and links that are bad."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import permutations

from .emulator import Link
from .network import OPERATOR, BadLinks, Pairs, between, one_way
from .stage import Fault, Stage, client_of

FLAPS, UP_S, DOWN_S = 8, (0.1, 0.6), (0.1, 0.9)


def side_of(nodes: Iterable[str]) -> list[str]:
    """The nodes and the clients beside them."""
    return [host for node in nodes for host in (node, client_of(node))]


def rest_of(stage: Stage, side: Iterable[str]) -> list[str]:
    return [host for host in stage.network.hosts if host not in set(side)]


@contextmanager
def cut(stage: Stage, pairs: Pairs, away: Iterable[str] = ()) -> Iterator[frozenset[str]]:
    """``away``: the clients that are cut off with the smaller side."""
    stage.network.cut(pairs)
    try:
        yield frozenset(away)
    finally:
        stage.network.mend()


def split(stage: Stage, minority: list[str]) -> AbstractContextManager[frozenset[str]]:
    side = side_of(minority)
    return cut(stage, between(side, rest_of(stage, side)), map(client_of, minority))


def one_alone(stage: Stage) -> AbstractContextManager[frozenset[str]]:
    return split(stage, [stage.victim])


def two_of_five(stage: Stage) -> AbstractContextManager[frozenset[str]]:
    return split(stage, [stage.victim, stage.rng.choice(stage.others(stage.victim))])


def leader_alone(stage: Stage) -> AbstractContextManager[frozenset[str]]:
    return split(stage, [stage.cluster.leader()])


def leader_without_peers(stage: Stage) -> AbstractContextManager[frozenset[str]]:
    """The clients still reach it."""
    leader = stage.cluster.leader()
    return cut(stage, between([leader], stage.others(leader)))


def unheard(stage: Stage) -> AbstractContextManager[frozenset[str]]:
    """What the victim's side sends does not arrive; it hears all."""
    side = side_of([stage.victim])
    return cut(stage, one_way(side, rest_of(stage, side)), [client_of(stage.victim)])


def deaf(stage: Stage) -> AbstractContextManager[frozenset[str]]:
    """What is sent to the victim's side does not arrive; it is heard by all."""
    side = side_of([stage.victim])
    return cut(stage, one_way(rest_of(stage, side), side), [client_of(stage.victim)])


def one_pair(stage: Stage) -> AbstractContextManager[frozenset[str]]:
    """Two nodes do not reach each other; everybody else reaches both."""
    return cut(stage, between([stage.victim], [stage.rng.choice(stage.others(stage.victim))]))


@contextmanager
def flapping(stage: Stage) -> Iterator[frozenset[str]]:
    """The victim's side is cut off and joined again, at random moments about the length of a lease
    and of the detector's patience."""
    side = side_of([stage.victim])
    pairs = between(side, rest_of(stage, side))
    try:
        for _ in range(FLAPS):
            stage.network.cut(pairs)
            time.sleep(stage.rng.uniform(*DOWN_S))
            stage.network.mend()
            time.sleep(stage.rng.uniform(*UP_S))
        yield frozenset({client_of(stage.victim)})
    finally:
        stage.network.mend()


def bad_links(link: Link) -> Fault:
    """All links between all hosts, in both directions."""

    @contextmanager
    def fault(stage: Stage) -> Iterator[frozenset[str]]:
        network = stage.network
        assert isinstance(network, BadLinks)
        network.link(link, permutations([*network.hosts, OPERATOR], 2))
        yield frozenset()
        network.mend()

    return fault
