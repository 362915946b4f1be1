"""What a node tells of its settings where they decide what its answers are worth."""

from __future__ import annotations

from dataclasses import replace

import cbor2
import pytest

from tests.unit.node.shard_world import settings
from tiercluster.cli.status import WITHOUT_QUORUM
from tiercluster.cluster.wire import Report
from tiercluster.node.desk import Desk
from tiercluster.node.messages import ShardStats, TierStats

STATS = ShardStats((TierStats(0, 0, 0, 0, 0),) * 3, (), ("closed",) * 3)


@pytest.mark.parametrize("on_quorum_loss", ["serve", "read_only", "fence"])
@pytest.mark.parametrize("write_ack", ["all", "owner"])
def test_a_node_tells_what_it_does_without_a_quorum_and_when_it_answers_a_write(
    on_quorum_loss: str, write_ack: str
) -> None:
    config = replace(settings(), on_quorum_loss=on_quorum_loss, write_ack=write_ack)
    report = Desk(config, "t", 0.0).report(STATS, True, "", 1.0)
    assert isinstance(report, Report)
    said = cbor2.loads(report.data)
    assert (said["on_quorum_loss"], said["write_ack"]) == (on_quorum_loss, write_ack)
    assert on_quorum_loss in WITHOUT_QUORUM, "status can say what it means"
