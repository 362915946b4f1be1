"""Links between nodes: all members speak the level of their map."""

from __future__ import annotations

import pytest
import zmq

from tiercluster.cluster.codec import decode_request
from tiercluster.cluster.wire import Kind, Ping
from tiercluster.node.peers import Peers
from tiercluster.tiermap import Member, TierMap


@pytest.mark.parametrize(("level", "protocol"), [(1, 1), (2, 2), (9, 2)])
def test_a_peer_is_asked_in_the_version_of_the_map_s_level(level: int, protocol: int) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    n2 = context.socket(zmq.ROUTER)
    n2.rcvtimeo = 5000
    port = n2.bind_to_random_port("tcp://127.0.0.1", 20000, 32000)
    peers = Peers(context, zmq.Poller(), "n1", None, on_bad_reply=lambda: None)
    try:
        members = (Member("n1", "a:1", level=level), Member("n2", f"127.0.0.1:{port}", level=level))
        peers.use_map(TierMap("c", 2, 2, members))
        ping = Ping("n1", "p#1", 1, 2, "d", False)
        (socket,) = peers._by_socket
        assert socket.poll(5000, zmq.POLLOUT), "no connection"
        assert peers.send("n2", Kind.PEER_PING, 0, 2, ping)
        assert decode_request(n2.recv_multipart()[1:]).protocol == protocol
    finally:
        peers.close()
        n2.close(0)
        context.term()
