"""Which key may ask what of a node: every kind of request, by every role."""

from __future__ import annotations

import pytest

from tiercluster.cluster.wire import Kind
from tiercluster.node.access import Role, is_allowed

EVERYBODY = {
    Kind.GET, Kind.STORE, Kind.DELETE, Kind.INCR, Kind.TOUCH, Kind.PEEK, Kind.SCAN,
    Kind.DELETE_PREFIX, Kind.WATCH_GET, Kind.HELLO, Kind.SUBSCRIBE, Kind.STATUS, Kind.EVENTS,
    Kind.NEAR_LEASE,
    Kind.MAP_PUSH, Kind.INVALIDATE,  # replies: as requests they are refused by the decoder
}  # fmt: skip
ADMINS = {Kind.PROPOSE, Kind.PROBE, Kind.FAULT, Kind.NODE_FAULT}
NODES = {
    Kind.PEER_PING, Kind.PEER_PACE, Kind.COLD_PUT, Kind.COLD_GET, Kind.COLD_DROP, Kind.REPLICATE,
    Kind.FILL, Kind.LEASES_ASK, Kind.LEASES_TELL,
}  # fmt: skip


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_is_for_everybody_for_admins_or_for_nodes(kind: Kind) -> None:
    """A new kind must be put into one of the three."""
    assert [kind in kinds for kinds in (EVERYBODY, ADMINS, NODES)].count(True) == 1
    assert is_allowed(Role.NODE, kind)
    assert is_allowed(Role.ADMIN, kind) == (kind not in NODES)
    assert is_allowed(Role.CLIENT, kind) == (kind in EVERYBODY)
    assert not is_allowed(None, kind), "a key that nobody knows"
