"""What a shard did about a tier is one line of the log, and counted."""

from __future__ import annotations

import pytest

from tiercluster.node.actions import Log
from tiercluster.node.coordinator import Coordinator
from tiercluster.node.messages import TierRemedied
from tiercluster.node.settings import NodeSettings
from tiercluster.tiermap import Tier


@pytest.mark.parametrize(("ok", "level"), [(True, "info"), (False, "error")])
def test_a_strategy_that_ended_is_logged_and_counted(ok: bool, level: str) -> None:
    coordinator = Coordinator(NodeSettings(), "t", lambda: "id", lambda: 0.5, 0.0)
    report = TierRemedied(Tier.COLD, "degrade", "read_only", ok, (("note", "a read succeeded"),))
    logs = [a for a in coordinator.handle(report, 0.1, 0.1) if isinstance(a, Log)]
    (line,) = [log for log in logs if log.event == "recovery_attempted"]
    facts = dict(line.facts)
    assert (line.level, facts["strategy"], facts["ok"]) == (level, "degrade", ok)
    assert facts["evidence"] == {"note": "a read succeeded"}
    assert coordinator.counters["degrade_done" if ok else "degrade_not_done"] == 1
