"""Streams of writes, and what the map should say: who is silent, who has all, what waits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.node.kept import ALL, down, keeping, map_of, member
from tiercluster.cluster.ring import SLOTS
from tiercluster.cluster.wire import Confirmed, Kind
from tiercluster.node.copywatch import CopyWatch
from tiercluster.node.effects import Effects, Origin
from tiercluster.node.messages import ShardTurn
from tiercluster.node.streams import Streams
from tiercluster.tiermap import CopiesApart, NodeFilled, TierMap


@pytest.mark.parametrize("version", [5, 6])
def test_that_a_node_has_all_counts_only_by_the_map_in_which_it_fills(version: int) -> None:
    """Before, it misses nothing, for it keeps nothing."""
    watch = CopyWatch("n2")
    tier_map = map_of(6, ALL[0], replace(ALL[1], filling=True), ALL[2])
    watch.shard_turned(ShardTurn(1.0, frozenset(), version, whole=True))
    wanted = [desire.command for desire in watch.desires(tier_map, "n2#1", 1.0)]
    assert [type(command) for command in wanted] == [NodeFilled] * (version == 6)


def test_who_is_silent_counts_only_by_a_map_of_this_stint() -> None:
    watch = CopyWatch("n2")
    silent = frozenset({"n1"})
    watch.shard_turned(ShardTurn(1.0, frozenset(), 5, True, silent))
    assert not watch.desires(map_of(6, *ALL), "n2#1", 1.0)
    watch.shard_turned(ShardTurn(1.1, frozenset(), 6, True, silent))
    wanted = [desire.command for desire in watch.desires(map_of(6, *ALL), "n2#1", 1.1)]
    assert [type(command) for command in wanted] == [CopiesApart]


def streams_of(tier_map: TierMap) -> Streams:
    streams = Streams("n2", Effects())
    streams.use_map(tier_map, "n2#1", keeping("n2", tier_map).table, 1.0)
    return streams


def test_a_peer_is_silent_only_since_this_node_has_pinged_it() -> None:
    tier_map = map_of(5, *ALL)
    streams = Streams("n2", Effects())
    streams.use_map(tier_map, "", [()] * SLOTS, 1.0)
    streams.use_map(tier_map, "n2#1", keeping("n2", tier_map).table, 9.0)
    assert not streams.unreachable(9.1, 0.5)
    assert streams.unreachable(9.6, 0.5) == {"n1", "n3"}


def test_what_was_not_sent_yet_is_not_late() -> None:
    """Nothing was written for long; then a write of this very turn."""
    streams = streams_of(map_of(5, *ALL))
    slot = next(s for s, who in enumerate(keeping("n2", map_of(5, *ALL)).table) if who[0] == "n2")
    for node in ("n1", "n3"):
        streams.heard(node, 9.0)
    streams.put(slot, b"k", 1, 0, 99.0, b"v")
    assert not streams.unreachable(9.0, 0.5)
    streams.flush(9.0)
    assert not streams.unreachable(9.4, 0.5)
    assert streams.unreachable(9.51, 0.5) == {"n1", "n3"}


def test_a_new_stint_is_not_silent_because_the_one_before_it_was() -> None:
    streams = streams_of(map_of(5, *ALL))
    streams.heard("n1", 8.9)
    again = replace(member("n3", 2), since_version=6)
    tier_map = map_of(6, *ALL[:2], again)
    streams.use_map(tier_map, "n2#1", keeping("n2", tier_map).table, 9.0)
    assert not streams.unreachable(9.1, 0.5)
    watch = CopyWatch("n2")
    watch.desires(map_of(5, *ALL), "n2#1", 8.0)
    watch.shard_turned(ShardTurn(9.0, frozenset(), 5, True, frozenset({"n3"})))
    assert not watch.desires(tier_map, "n2#1", 9.0)


def test_who_is_apart_from_an_owner_that_serves_does_not_have_all() -> None:
    watch = CopyWatch("n2")
    filling = replace(ALL[1], filling=True, apart=("n1",))
    watch.shard_turned(ShardTurn(1.0, frozenset(), 6, True))
    assert not watch.desires(map_of(6, ALL[0], filling, ALL[2]), "n2#1", 1.0)
    assert watch.desires(map_of(6, down(ALL[0], 6), filling, ALL[2]), "n2#1", 1.0)
    together = replace(filling, apart=())
    assert not watch.desires(map_of(7, ALL[0], together, ALL[2]), "n2#1", 1.0)
    watch.shard_turned(ShardTurn(1.1, frozenset(), 7, True))
    assert watch.desires(map_of(7, ALL[0], together, ALL[2]), "n2#1", 1.1)


def confirm(streams: Streams, applied: int, now: float, why: str = "") -> None:
    for node in ("n1", "n3"):
        epoch = streams.epoch(node)
        streams.confirmed(node, Confirmed(f"{node}#1", epoch, applied, why), now)


def test_a_message_that_a_refusal_held_back_is_sent_without_a_write_after_it() -> None:
    streams = streams_of(map_of(5, *ALL))
    mine = next(s for s, who in enumerate(keeping("n2", map_of(5, *ALL)).table) if who[0] == "n2")
    streams.put(mine, b"k", 1, 0, 99.0, b"v")
    streams.flush(9.0)
    confirm(streams, 0, 9.001, "not yet")
    streams.put(mine, b"k", 2, 0, 99.0, b"v")
    streams.flush(9.002)
    confirm(streams, 1, 9.003)
    sent = streams.sent
    streams.tick(9.02)
    assert streams.sent == sent + 2  # to both of them


def test_all_answers_wait_until_those_that_were_let_go_have_been_told() -> None:
    """What they have may be older than what this node has told or done in its minority."""
    streams = streams_of(map_of(5, *ALL))
    asked = Origin(b"c", 1, Kind.GET, keys=(b"k",))
    streams.let_go()
    assert not streams.concerns(asked)
    streams.take_up(9.0)
    streams.flush(9.0)
    assert streams.concerns(asked)
    confirm(streams, 1, 9.1)
    assert not streams.concerns(asked)
