"""The owner's side of replication: what is sent, again, and which answers wait for what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.node.shard_world import key
from tiercluster.cluster.holders import holders
from tiercluster.cluster.ring import SLOTS, ring_of, slot_of
from tiercluster.cluster.wire import Ack, Confirmed, Kind, Replicate, Status
from tiercluster.node.effects import Answered, Effects, Origin, ToPeer
from tiercluster.node.entry import NEVER
from tiercluster.node.stream import (
    MAX_BYTES,
    MESSAGE_OPS,
    NO_CURSOR,
    REFUSED_PAUSE_S,
    RESEND_MESSAGES,
    RESEND_S,
)
from tiercluster.node.streams import Streams
from tiercluster.tiermap import Member, NodeState, TierMap

N1, N2, N3 = (Member(f"n{i}", "a:1", incarnation=f"i{i}") for i in (1, 2, 3))
DONE: Answered = (Status.OK, Ack(), b"")


def map_of(version: int, *members: Member, replicas: int = 2) -> TierMap:
    return TierMap("c", version, version, members, replicas=replicas)


ALL = map_of(1, N1, N2, N3)


class World:
    """The streams of n1."""

    def __init__(self, tier_map: TierMap = ALL) -> None:
        self.now = 100.0
        self.effects = Effects()
        self.streams = Streams("n1", self.effects)
        self.use(tier_map)

    def use(self, tier_map: TierMap) -> None:
        self.map = tier_map
        me = tier_map.member("n1")
        assert me is not None
        table = holders(ring_of(tier_map), tier_map) if me.serves else [()] * SLOTS
        self.table = table
        self.streams.use_map(tier_map, me.incarnation, table, self.now)

    def key_to(self, *kept_by: str, number: int = 0) -> bytes:
        """A key that n1 owns and these keep."""
        names = (key(f"k{i}") for i in range(100_000))
        found = [k for k in (next(names) for _ in range(2000))
                 if self.table[slot_of(k)] == ("n1", *kept_by)]  # fmt: skip
        return found[number]

    def put(self, name: bytes, value: bytes = b"v") -> None:
        self.streams.put(slot_of(name), name, 1, 0, NEVER, value)

    def sent(self) -> list[tuple[str, Replicate]]:
        effects, self.effects.waiting = self.effects.waiting, []
        found = []
        for effect in effects:
            assert isinstance(effect, ToPeer)
            assert effect.kind is Kind.REPLICATE
            assert isinstance(effect.fields, Replicate)
            found.append((effect.node, effect.fields))
        return found

    def flush(self) -> list[tuple[str, Replicate]]:
        self.streams.flush(self.now)
        return self.sent()

    def tick(self, seconds: float) -> list[tuple[str, Replicate]]:
        self.now += seconds
        self.streams.tick(self.now)
        return self.flush()

    def confirm(self, message: tuple[str, Replicate], applied: int | None = None,
                why: str = "") -> None:  # fmt: skip
        node, sent = message
        applied = sent.seq if applied is None else applied
        self.streams.confirmed(node, Confirmed(sent.to, sent.epoch, applied, why), self.now)

    def hold(self, *keys: bytes, rid: int = 1, client: bytes | None = b"client-1") -> None:
        self.streams.hold(Origin(b"me", rid, Kind.STORE, 0.0, client, keys), DONE)

    def concerns(self, *keys: bytes) -> bool:
        busy = self.streams.is_busy
        return busy and self.streams.concerns(Origin(b"me", 1, Kind.GET, 0.0, None, keys))

    def released(self) -> list[tuple[int, bool]]:
        return [(r.origin.rid, r.is_good) for r in self.streams.take_released()]


# --- what is sent ---------------------------------------------------------------------------------


def test_what_another_owns_by_now_is_not_filled() -> None:
    """The member that is filled first owns the slots; this one was filling a third. Its messages
    would be refused, and all behind them would wait."""
    fills = [replace(member, filling=True) for member in (N2, N3)]
    world = World(map_of(1, N1, *fills))
    table = holders(ring_of(map_of(2, N1, N2, fills[1])), map_of(2, N1, N2, fills[1]))
    slot = next(s for s in range(SLOTS) if table[s] == ("n2", "n1", "n3"))
    mine = next(s for s in range(SLOTS) if table[s] == ("n1", "n2", "n3"))
    world.use(map_of(2, N1, N2, fills[1]))
    world.streams.fill("n3", slot, b"theirs", 1, 0, NEVER, b"v")
    world.streams.fill("n3", mine, b"ours", 1, 0, NEVER, b"v")
    world.streams.filled("n3", (slot, mine))
    ((node, message),) = world.flush()
    assert (node, message.keys, message.filled) == ("n3", (b"ours",), (mine,))


def test_what_is_written_in_a_turn_goes_in_one_message_to_each_who_keeps_it() -> None:
    world = World()
    a, b, c = world.key_to("n2"), world.key_to("n2", number=1), world.key_to("n3")
    for name in (a, b, c):
        world.put(name)
    messages = dict(world.flush())
    assert messages["n2"].keys == (a, b)
    assert messages["n3"].keys == (c,)
    assert {m.seq for m in messages.values()} == {1}
    assert world.flush() == []


def test_a_message_is_closed_when_it_has_enough() -> None:
    world = World()
    name = world.key_to("n2")
    for _ in range(MESSAGE_OPS + 1):
        world.put(name)
    assert [len(m.keys) for _, m in world.flush()] == [MESSAGE_OPS, 1]


def test_a_clear_and_the_end_of_a_fill_are_the_last_of_their_messages() -> None:
    world = World()
    name = world.key_to("n2")
    world.put(name)
    world.streams.clear(b"\0k", 7)
    world.put(name)
    world.streams.filled("n2", (slot_of(name),))
    world.put(name)
    told = [(m.seq, len(m.keys), m.prefix, m.cursor, m.filled)
            for node, m in world.flush() if node == "n2"]  # fmt: skip
    assert told == [
        (1, 1, b"\0k", 7, ()),
        (2, 1, b"", NO_CURSOR, (slot_of(name),)),
        (3, 1, b"", NO_CURSOR, ()),
    ]


def test_what_nobody_confirms_is_sent_again_less_and_less_often() -> None:
    world = World()
    world.put(world.key_to("n2"))
    first = world.flush()
    assert world.tick(RESEND_S * 0.9) == []
    assert world.tick(RESEND_S * 0.2) == first
    assert world.tick(RESEND_S * 1.5) == []
    assert world.tick(RESEND_S * 0.6) == first
    world.confirm(first[0])
    assert world.tick(100.0) == []


def test_what_is_refused_is_sent_again_after_a_short_pause_together_with_what_came_after() -> None:
    world = World()
    name = world.key_to("n2")
    world.put(name)
    [first] = world.flush()
    world.confirm(first, 0, "not yet")
    world.put(name)
    assert world.flush() == []
    again = world.tick(REFUSED_PAUSE_S)
    assert [m.seq for _, m in again] == [1, 2]


def test_a_long_queue_that_was_refused_is_sent_to_its_end() -> None:
    """Nothing new is written meanwhile that would push the rest."""
    world = World()
    name = world.key_to("n2")
    count = 2 * RESEND_MESSAGES + 5
    for _ in range(count):
        world.put(name)
        first = world.flush()
    world.hold(name)
    world.confirm(first[0], 0, "not yet")
    applied = 0
    for _ in range(2 * count):
        for message in world.tick(0.02):
            if message[1].seq == applied + 1:
                applied += 1
                world.confirm(message)
        if applied == count:
            break
    assert applied == count
    assert world.now < 102.0
    assert world.released() == [(1, True)]


def test_the_time_that_is_left_is_told_when_it_is_sent() -> None:
    world = World()
    name = world.key_to("n2")
    world.streams.put(slot_of(name), name, 1, 0, world.now + 10.0, b"v")
    assert world.flush()[0][1].ttls == (10.0,)
    assert world.tick(4.0)[0][1].ttls == (6.0,)


def test_an_answer_of_another_stint_or_stream_confirms_nothing() -> None:
    world = World()
    world.put(world.key_to("n2"))
    [(node, sent)] = world.flush()
    for confirmed in (
        Confirmed("other", sent.epoch, 1, ""),
        Confirmed(sent.to, sent.epoch + 1, 1, ""),
    ):
        world.streams.confirmed(node, confirmed, world.now)
    world.streams.confirmed("n9", Confirmed(sent.to, sent.epoch, 1, ""), world.now)
    assert world.streams.is_busy


# --- answers --------------------------------------------------------------------------------------


def test_an_answer_waits_for_every_message_before_it_and_for_no_later_one() -> None:
    world = World(map_of(1, N1, N2, N3, replicas=3))
    name = world.key_to("n2", "n3")
    world.put(name)
    world.hold(name)
    first = world.flush()
    world.put(name)
    second = world.flush()
    assert {node for node, _ in first} == {"n2", "n3"}
    world.confirm(first[0])
    assert world.released() == []
    world.confirm(first[1])
    assert world.released() == [(1, True)]
    assert world.concerns(name)
    for message in second:
        world.confirm(message)
    assert not world.streams.is_busy


def test_a_read_of_what_is_on_its_way_waits_and_one_of_another_key_does_not() -> None:
    world = World()
    name, other = world.key_to("n2"), world.key_to("n2", number=1)
    world.put(name)
    assert world.concerns(name)
    assert world.concerns(other, name)
    assert not world.concerns(other)
    assert world.concerns()  # about all keys


def test_without_waiting_no_answer_is_concerned() -> None:
    effects = Effects()
    streams = Streams("n1", effects, waits=False)
    streams.use_map(ALL, "i1", holders(ring_of(ALL), ALL), 1.0)
    world = World()
    name = world.key_to("n2")
    streams.put(slot_of(name), name, 1, 0, NEVER, b"v")
    assert not streams.concerns(Origin(b"me", 1, Kind.GET, 0.0, None, (name,)))


def test_when_the_peer_is_down_its_answers_go_out() -> None:
    world = World()
    name = world.key_to("n2")
    world.put(name)
    world.flush()
    world.hold(name)
    world.use(map_of(2, N1, replace(N2, state=NodeState.DOWN), N3))
    assert world.released() == [(1, True)]
    assert not world.streams.is_busy


def test_when_the_key_has_gone_to_another_owner_nobody_knows() -> None:
    only_two = map_of(1, N1, N2, replace(N3, state=NodeState.DOWN))
    world = World(only_two)
    name = next(k for k in (key(f"k{i}") for i in range(1000))
                if world.table[slot_of(k)] == ("n1", "n2")
                and ring_of(ALL).preference(slot_of(k))[0] == "n3")  # fmt: skip
    stays = world.key_to("n2")
    world.put(name)
    world.hold(name)
    world.put(stays)
    world.hold(stays, rid=2)
    world.hold(rid=3)
    world.flush()
    world.use(map_of(2, N1, N2, replace(N3, incarnation="i3b")))
    assert world.released()[:2] == [(1, False), (3, False)]
    assert not world.concerns(name)
    again = dict(world.tick(RESEND_S * 1.1)).get("n2")
    assert again is None or name not in again.keys


def test_a_new_stint_knows_of_nothing_that_was_asked_before() -> None:
    world = World()
    name = world.key_to("n2")
    world.put(name)
    world.hold(name)
    world.use(map_of(2, replace(N1, incarnation="i1b"), N2, N3))
    assert world.released() == [(1, False)]
    assert not world.streams.is_busy
    assert world.tick(1.0) == []


def test_a_peer_that_lags_too_far_behind_takes_no_more() -> None:
    world = World()
    name, other = world.key_to("n2"), world.key_to("n3")
    value = bytes(2**20)
    for _ in range(MAX_BYTES // len(value) + 1):
        world.put(name, value)
    assert world.streams.is_full([slot_of(name)])
    assert not world.streams.is_full([slot_of(other)])
    messages = world.flush()
    world.confirm(messages[-1])
    assert not world.streams.is_full([slot_of(name)])
    assert world.streams.backlog("n2") == 0


# --- peers that do not answer ---------------------------------------------------------------------


def test_who_confirms_nothing_for_long_is_unreachable_until_it_does() -> None:
    world = World()
    for node in ("n2", "n3"):
        world.streams.heard(node, world.now)
    world.put(world.key_to("n2"))
    [message] = world.flush()
    world.tick(0.6)
    for node in ("n2", "n3"):
        world.streams.heard(node, world.now)
    assert world.streams.unreachable(world.now, 0.5) == {"n2"}
    world.confirm(message)
    assert world.streams.unreachable(world.now, 0.5) == set()


def test_a_write_after_a_quiet_time_makes_nobody_unreachable() -> None:
    """The write is queued and the heartbeat comes before it was sent."""
    world = World()
    world.put(world.key_to("n2"))
    world.confirm(world.flush()[0])
    world.tick(60.0)
    for node in ("n2", "n3"):
        world.streams.heard(node, world.now)
    world.put(world.key_to("n2"))
    assert world.streams.unreachable(world.now, 0.5) == set()


def test_who_answers_no_ping_is_unreachable_and_a_stall_of_our_own_proves_nothing() -> None:
    world = World()
    world.tick(0.6)
    assert world.streams.unreachable(world.now, 0.5) == {"n2", "n3"}
    world.streams.heard("n3", world.now)
    assert world.streams.unreachable(world.now, 0.5) == {"n2"}
    world.streams.stalled(world.now)
    assert world.streams.unreachable(world.now, 0.5) == set()


# --- in a minority --------------------------------------------------------------------------------


def test_let_go_answers_at_once_and_taken_up_again_the_peers_must_forget_first() -> None:
    world = World()
    name, other = world.key_to("n2"), world.key_to("n3")
    world.put(name)
    world.hold(name)
    world.streams.let_go()
    assert world.released() == [(1, True)]
    world.put(name)
    assert not world.concerns(name)
    assert world.tick(5.0) == []
    world.streams.take_up(world.now)
    messages = world.flush()
    assert {(node, m.anew, m.seq, m.keys) for node, m in messages} == {
        ("n2", True, 1, ()),
        ("n3", True, 1, ()),
    }
    # What it answered with meanwhile, the peers do not have: a read of it must not be lost, either.
    assert world.concerns(other)
    for message in messages:
        world.confirm(message)
    assert not world.concerns(other)
    world.put(name)
    assert [m.seq for _, m in world.flush()] == [2]


@pytest.mark.parametrize("is_gone_meanwhile", [True, False])
def test_a_peer_that_lacks_writes_is_told_even_if_nothing_is_written(
    is_gone_meanwhile: bool,
) -> None:
    world = World()
    world.streams.let_go()
    if is_gone_meanwhile:
        # n3 takes no part for a while; it is the same stint.
        world.use(map_of(2, N1, N2, replace(N3, apart=("n1",))))
        world.use(map_of(3, N1, N2, N3))
    world.streams.take_up(world.now)
    assert {node: m.anew for node, m in world.flush()} == {"n2": True, "n3": True}


def test_a_write_that_is_not_let_go_of_twice_is_lost_to_nobody() -> None:
    world = World()
    world.streams.take_up(world.now)
    assert world.flush() == []
    world.streams.let_go()
    world.streams.let_go()
    world.streams.take_up(world.now)
    world.streams.take_up(world.now)
    assert [m.seq for _, m in world.flush()] == [1, 1]
