"""The shard worker's shell on real sockets: what a peer says that makes no sense."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable

import zmq

from tests.unit.node.shard_world import settings
from tiercluster.node.messages import ShardReport, ShardStats, StopServing, UseMap
from tiercluster.node.server import ShardWorker
from tiercluster.tiermap import MapState, Member, TierMap

PATIENCE_S = 10.0


def until(reports: queue.SimpleQueue[ShardReport], wanted: Callable[[ShardReport], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not wanted(reports.get(timeout=end - time.monotonic())):
        pass


def bad_replies(report: ShardReport) -> int | None:
    return dict(report.counters).get("bad_replies") if isinstance(report, ShardStats) else None


def test_answers_of_a_peer_that_are_none_are_counted_and_told() -> None:
    reports: queue.SimpleQueue[ShardReport] = queue.SimpleQueue()
    worker = ShardWorker(settings(), "t", reports.put, lambda command: True)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as peer:
        peer.linger = 0
        peer.rcvtimeo = round(PATIENCE_S * 1000)
        address = f"127.0.0.1:{peer.bind_to_random_port('tcp://127.0.0.1')}"
        members = (Member("n1", "127.0.0.1:1", incarnation="t#1"), Member("n2", address))
        worker.start()
        worker.orders.tell(UseMap(MapState(TierMap("c", 1, 1, members))))
        identity, *_ = peer.recv_multipart()
        for _ in range(3):
            peer.send_multipart([identity, b"nonsense"])
        until(reports, lambda report: bad_replies(report) == 3)
        worker.orders.tell(StopServing(0.0))
        worker.join(PATIENCE_S)
