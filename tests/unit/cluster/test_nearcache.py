"""Near copies: what is kept, what is served, and what ends it."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest

from tiercluster.cluster import nearcache
from tiercluster.cluster.nearcache import (
    ABSENT,
    FOREVER,
    MAX_COPY_BYTES,
    MAX_DECODED_BYTES,
    NearCache,
    Read,
)
from tiercluster.cluster.values import INT, RAW, Encoding, Values

K, L = b"\0k", b"\0l"
CBOR = int(Encoding.CBOR)
NOW = 10.0
UNTIL = 10.4


def cache(limit: int = 10) -> NearCache:
    """With a lease of n1 under stint 7, after message 3."""
    made = NearCache(limit, Values("cbor"))
    assert made.granted("n1", 7, 3, UNTIL)
    return made


def read(key: bytes = K, data: bytes = b"1", flags: int = RAW, **more: Any) -> Read:
    fields = {"node": "n1", "stint": 7, "seq": 3, "version": 1, "expires": FOREVER, "ticket": 0}
    return Read(key=key, data=data, flags=flags, **{**fields, **more})


def test_a_copy_is_served_until_its_lease_ends() -> None:
    near = cache()
    assert near.keep(read())
    assert near.find(K, NOW) == b"1"
    assert near.find(K, UNTIL) is ABSENT
    assert near.granted("n1", 7, 3, UNTIL + 1)  # nothing was told meanwhile
    assert near.find(K, UNTIL) == b"1"
    assert near.hits == 2


def test_a_copy_is_served_until_the_entry_expires() -> None:
    near = cache()
    near.keep(read(expires=10.1))
    assert near.find(K, 10.09) == b"1"
    assert near.find(K, 10.1) is ABSENT


def test_an_earlier_grant_that_comes_later_shortens_nothing() -> None:
    near = cache()
    near.keep(read())
    near.granted("n1", 7, 3, 9.0)
    assert near.find(K, NOW) == b"1"


def test_what_the_node_tells_drops_the_copy() -> None:
    near = cache()
    near.keep(read())
    near.keep(read(L))
    assert near.invalidated("n1", 7, 4, [K], False)
    assert near.find(K, NOW) is ABSENT
    assert near.find(L, NOW) == b"1"
    assert near.told == 1


def test_an_answer_that_was_overtaken_by_the_news_is_not_kept() -> None:
    near = cache()
    near.invalidated("n1", 7, 4, [K], False)
    assert not near.keep(read(seq=3))
    assert near.keep(read(L, seq=3))  # which was not told of
    assert near.keep(read(seq=4))


def test_news_that_was_overtaken_by_a_newer_answer_leaves_it() -> None:
    near = cache()
    near.keep(read(seq=4, version=2))
    near.invalidated("n1", 7, 4, [K], False)
    assert near.find(K, NOW) == b"1"


def test_of_two_answers_the_newer_version_stays() -> None:
    near = cache()
    near.keep(read(data=b"new", version=2, seq=4))
    assert not near.keep(read(data=b"old", version=1, seq=3))
    assert near.find(K, NOW) == b"new"


def test_when_too_much_was_told_to_remember_old_answers_are_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nearcache, "RECENT_KEYS", 2)
    near = cache()
    for seq in range(4, 8):
        near.invalidated("n1", 7, seq, [b"\0other%d" % seq], False)
    assert not near.keep(read(seq=4))
    assert near.keep(read(seq=5))


@pytest.mark.parametrize("seq", [3, 5])
def test_a_gap_in_the_news_empties_the_node(seq: int) -> None:
    near = cache()
    near.keep(read())
    assert not near.invalidated("n1", 7, seq, [L], False)
    assert near.find(K, NOW) is ABSENT
    assert near.stint("n1") == 0
    assert near.resets == 1


def test_a_gap_that_shows_in_the_lease_empties_the_node() -> None:
    near = cache()
    near.keep(read())
    assert not near.granted("n1", 7, 4, UNTIL)
    assert near.find(K, NOW) is ABSENT


def test_another_stint_empties_the_node() -> None:
    near = cache()
    near.keep(read())
    assert near.granted("n1", 8, 0, UNTIL)
    assert near.find(K, NOW) is ABSENT
    assert not near.keep(read())  # an answer of before
    assert near.keep(read(stint=8, seq=0))
    assert near.invalidated("n1", 7, 4, [K], False)  # news of before
    assert near.find(K, NOW) == b"1"


def test_a_node_that_watches_nobody_more_ends_the_copies() -> None:
    near = cache()
    near.keep(read())
    assert near.granted("n1", 0, 0, NOW)
    assert near.find(K, NOW) is ABSENT
    assert not near.keep(read())


def test_everything_may_be_told_at_once() -> None:
    near = cache()
    near.keep(read())
    assert near.invalidated("n1", 7, 4, [], True)
    assert near.find(K, NOW) is ABSENT
    assert not near.keep(read(seq=3))
    assert near.keep(read(seq=4))
    assert near.find(K, NOW) == b"1"


def test_a_lost_connection_ends_the_copies_of_its_node_alone() -> None:
    near = cache()
    near.granted("n2", 1, 0, UNTIL)
    near.keep(read())
    near.keep(read(L, node="n2", stint=1, seq=0))
    near.lost("n1")
    assert near.find(K, NOW) is ABSENT
    assert near.find(L, NOW) == b"1"
    near.lost_all()
    assert near.find(L, NOW) is ABSENT


# --- our own writes -----------------------------------------------------------------------------


def test_a_write_of_ours_drops_the_copy_before_and_after() -> None:
    near = cache()
    near.keep(read())
    near.begin_write([K])
    assert near.find(K, NOW) is ABSENT
    near.keep(read())  # read by another thread while the write is on its way
    near.wrote([K])
    assert near.find(K, NOW) is ABSENT


def test_what_was_asked_before_our_write_ended_is_not_kept() -> None:
    near = cache()
    before = near.begin_read()
    near.begin_write([K])
    during = near.begin_read()
    near.wrote([K])
    assert not near.keep(read(ticket=before))
    assert not near.keep(read(ticket=during))
    assert near.keep(read(L, ticket=before))
    assert near.keep(read(ticket=near.begin_read()))


def test_when_too_much_was_written_to_remember_old_answers_are_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nearcache, "RECENT_KEYS", 2)
    near = cache()
    before = near.begin_read()
    near.wrote([b"\0a", b"\0b", b"\0c"])
    assert not near.keep(read(ticket=before))
    assert near.keep(read(ticket=near.begin_read()))


def test_a_write_of_unknown_keys_drops_all() -> None:
    near = cache()
    near.keep(read())
    before = near.begin_read()
    near.wrote_all()
    assert near.find(K, NOW) is ABSENT
    assert not near.keep(read(L, ticket=before))


def test_a_copy_of_another_version_than_a_node_has_answered_is_dropped() -> None:
    near = cache()
    near.keep(read(version=5))
    near.saw(K, 5)
    assert near.find(K, NOW) == b"1"
    near.saw(K, 6)
    assert near.find(K, NOW) is ABSENT


# --- values -------------------------------------------------------------------------------------


def test_two_callers_never_share_what_one_of_them_can_change() -> None:
    near = cache()
    near.keep(read(data=cbor2.dumps({"a": [1]}), flags=CBOR))
    first = near.find(K, NOW)
    first["a"].append(2)
    assert near.find(K, NOW) == {"a": [1]}


def test_what_cannot_be_changed_is_decoded_once() -> None:
    near = cache()
    near.keep(read(data=cbor2.dumps("text"), flags=CBOR))
    assert near.find(K, NOW) is near.find(K, NOW)
    near.keep(read(L, data=b"12", flags=INT))
    assert near.find(L, NOW) == 12


def test_none_is_a_value() -> None:
    near = cache()
    near.keep(read(data=cbor2.dumps(None), flags=CBOR))
    assert near.find(K, NOW) is None


@pytest.mark.parametrize("size", [10, MAX_DECODED_BYTES + 1])
def test_what_cannot_be_decoded_is_not_served(size: int) -> None:
    near = cache()
    near.keep(read(data=b"\xff" * size, flags=CBOR))
    assert near.find(K, NOW) is ABSENT
    assert near.hits == 0


def test_a_large_value_is_not_kept() -> None:
    near = cache()
    assert near.keep(read(data=bytes(MAX_COPY_BYTES)))
    assert not near.keep(read(data=bytes(MAX_COPY_BYTES + 1)))


# --- room ---------------------------------------------------------------------------------------


def test_the_oldest_copy_that_was_not_used_makes_room() -> None:
    near = cache(limit=2)
    near.keep(read(K))
    near.keep(read(L))
    near.find(K, NOW)
    near.keep(read(b"\0m"))
    assert len(near) == 2
    assert near.find(K, NOW) == b"1"
    assert near.find(L, NOW) is ABSENT


def test_room_is_made_in_bounded_time_when_all_were_used() -> None:
    near = cache(limit=50)
    keys = [b"\0%d" % i for i in range(50)]
    for key in keys:
        near.keep(read(key))
        near.find(key, NOW)
    near.keep(read(K))
    assert len(near) == 50
    assert near.find(K, NOW) == b"1"


def test_the_copies_that_may_be_served_are_shown_with_their_versions() -> None:
    near = cache()
    near.keep(read(version=5))
    near.keep(read(L, expires=NOW))
    assert list(near.copies(NOW)) == [(K, 5, "n1")]
    assert list(near.copies(UNTIL)) == []
