"""Who is hung up on, and who is not."""

from __future__ import annotations

import pytest

from tiercluster.tiermap.raft.floods import GROWTH_BYTES, Floods, Limits

MIB = 2**20
LIMITS = Limits(connections=3, watch_bytes=4 * MIB, message_bytes=72 * MIB)


@pytest.fixture
def floods() -> Floods:
    floods = Floods(LIMITS)
    assert floods.accepted(7)
    return floods


def test_a_message_above_every_limit_ends_its_connection(floods: Floods) -> None:
    assert floods.look({7: 5 * MIB}, 0) == ()
    assert floods.watched() == {7}
    assert floods.look({7: 72 * MIB}, 0) == ()
    assert floods.look({7: 73 * MIB}, 0) == ()
    floods.checked()
    assert floods.look({7: 73 * MIB}, 0) == (7,)


def test_whole_messages_that_wait_to_be_read_are_no_flood(floods: Floods) -> None:
    floods.look({7: 5 * MIB}, 0)
    floods.checked()
    for received in range(10, 400, 50):
        assert floods.look({7: received * MIB}, 0) == ()
    floods.heard(7)
    floods.checked()
    assert floods.look({7: 400 * MIB}, 0) == ()


def test_any_number_of_whole_messages_is_no_flood(floods: Floods) -> None:
    for received in range(MIB, 1000 * MIB, 50 * MIB):
        assert floods.look({7: received}, 0) == ()
        floods.heard(7)
        assert floods.watched() == frozenset()


def test_little_that_takes_much_memory_ends_its_connection(floods: Floods) -> None:
    floods.look({7: 5 * MIB}, 100 * MIB)
    floods.checked()
    assert floods.look({7: 8 * MIB}, 100 * MIB + GROWTH_BYTES) == ()
    assert floods.look({7: 8 * MIB}, 101 * MIB + GROWTH_BYTES) == (7,)


def test_memory_that_others_have_filled_is_not_laid_to_its_charge(floods: Floods) -> None:
    floods.accepted(8)
    floods.look({7: 5 * MIB, 8: 0}, 0)
    floods.look({7: 6 * MIB, 8: 90 * MIB}, 0)
    floods.heard(8)
    floods.gone(8)
    assert floods.look({7: 6 * MIB}, 300 * MIB) == ()


def test_connections_have_a_number(floods: Floods) -> None:
    assert floods.accepted(8)
    assert floods.accepted(9)
    assert not floods.accepted(10)
    assert floods.accepted(9)  # the same descriptor, a newer connection
    floods.gone(8)
    assert floods.accepted(10)
    assert set(floods.descriptors()) == {7, 9, 10}


def test_what_is_told_of_strangers_changes_nothing(floods: Floods) -> None:
    floods.heard(99)
    floods.gone(99)
    assert floods.look({99: 10**12}, 0) == ()
    assert floods.descriptors() == (7,)
