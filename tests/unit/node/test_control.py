"""The control worker's shell: messages in, calls out, one thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.harness.cluster import wait_until
from tiercluster.node.consensus import Consensus
from tiercluster.node.control import STALLED_S, ControlWorker
from tiercluster.node.messages import (
    ColdReady,
    CutOff,
    ServingChanged,
    ShardOrder,
    ShardStopped,
    StandingKnown,
    StopServing,
    UseMap,
)
from tiercluster.node.settings import NodeSettings
from tiercluster.tiermap import MapState, NodeState, apply, decode_command
from tiercluster.tiermap.raft import Applied, BarrierDone, Cut, Standing


class _AtOnce:
    """A replica that commits at once, as long as it comes round."""

    stalled_s = 0.0

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def start(self) -> None:
        pass

    def propose(self, frame: bytes) -> bool:
        return self._bench._propose(frame)

    def barrier(self, token: str) -> None:
        self._bench._tell(BarrierDone(token, True))

    def cut_off(self, cut: Cut) -> None:
        self._bench.cuts.append(cut)

    def stop(self, timeout_s: float = 2.0) -> None:
        pass

    def use_keys(self, keys: object) -> None:
        pass


class Bench:
    """A control worker whose consensus commits at once and whose shard obeys."""

    def __init__(self) -> None:
        self.state = MapState()
        self.orders: list[ShardOrder] = []
        self.cuts: list[Cut] = []
        self.ready, self.ended = threading.Event(), threading.Event()
        self.is_full = False
        self.replica = _AtOnce(self)
        self.worker = ControlWorker(
            NodeSettings(),
            "t",
            tell_shard=self._order,
            make_consensus=lambda tell: Consensus(self.replica, lambda state, first: _AtOnce(self)),
            on_ready=self.ready.set,
            on_end=self.ended.set,
        )

    def _tell(self, event: object) -> None:
        assert self.worker.inbox.tell(event)  # type: ignore[arg-type]

    def _order(self, order: ShardOrder) -> bool:
        if self.is_full:
            self.is_full = False
            return False
        self.orders.append(order)
        if isinstance(order, StopServing):
            self._tell(ShardStopped("stopped"))
        return True

    def _propose(self, frame: bytes) -> bool:
        self.state = apply(self.state, decode_command(frame))
        self._tell(Applied(self.state))
        return True

    def start(self) -> None:
        self.worker.start()
        self._tell(Standing("n1", True, True, 1))
        self._tell(ColdReady(False, "", 0, None))
        self._tell(ServingChanged(True, "lease held", 1))


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.worker.stop()
    bench.worker.join(5)


def test_a_node_joins_says_that_it_is_ready_and_stops_cleanly(bench: Bench) -> None:
    bench.start()
    assert bench.ready.wait(5)
    assert any(isinstance(o, UseMap) for o in bench.orders)
    assert not bench.worker.is_stopping
    bench.worker.stop()
    assert bench.worker.is_stopping
    assert bench.ended.wait(5)
    assert bench.worker.ended_well
    assert bench.state.map.members[0].state is NodeState.DOWN
    assert not bench.worker.inbox.tell(ShardStopped("late")), "a dead worker took a message"


def test_a_partition_reaches_the_consensus_and_not_the_decisions(bench: Bench) -> None:
    cut = Cut(frozenset({"n2"}), 5.0)
    bench.worker.inbox.tell(CutOff(cut))
    bench.start()
    assert bench.ready.wait(5)
    assert bench.cuts == [cut]


def test_an_order_that_did_not_fit_is_told_again(bench: Bench) -> None:
    bench.is_full = True
    bench.start()
    assert bench.ready.wait(5)
    assert sum(isinstance(o, UseMap) for o in bench.orders) >= 1


def test_a_bug_in_the_control_worker_ends_the_node_and_not_well(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.worker._coordinator, "tick", lambda *_: 1 / 0)
    bench.worker.start()
    assert bench.ended.wait(5)
    assert not bench.worker.ended_well


def test_a_replica_that_hangs_has_no_quorum_until_it_comes_round(bench: Bench) -> None:
    bench.start()
    assert bench.ready.wait(5)

    def says_quorum(quorum: bool) -> bool:
        known = [o for o in bench.orders if isinstance(o, StandingKnown)]
        return bool(known) and known[-1].quorum is quorum

    wait_until(lambda: says_quorum(True), 5, "it has a quorum")
    bench.replica.stalled_s = STALLED_S + 0.1
    wait_until(lambda: says_quorum(False), 5, "what it said last counts no more")
    bench.replica.stalled_s = 0.0
    wait_until(lambda: says_quorum(True), 5, "it counts again")
