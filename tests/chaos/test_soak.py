"""Half an hour of load near capacity with a fault each minute: nothing old is read, nothing grows.

TIERCLUSTER_SOAK_MINUTES is how long (30 by default), TIERCLUSTER_SOAK_SEED which faults.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness.figures import report
from tests.harness.growth import grown
from tests.harness.lab.sandbox import missing, run_inside
from tests.harness.lab.soak import OUTCOME

MINUTES = float(os.environ.get("TIERCLUSTER_SOAK_MINUTES", "30"))
SEED = os.environ.get("TIERCLUSTER_SOAK_SEED", "1")
JUDGING_S = 600.0  # beside the minutes: start, the last look, the judgement of all calls
FILES = 8  # more than in the second quarter: connections come and go


@pytest.mark.slow
@pytest.mark.root
def test_a_long_run_with_a_fault_each_minute_is_flat_and_serves_nothing_old(tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    command = [sys.executable, "-m", "tests.harness.lab.soak", str(MINUTES), SEED, str(tmp_path)]
    code = run_inside(command, tmp_path / "soak", MINUTES * 60 + JUDGING_S)
    assert code == 0, (tmp_path / "soak.err").read_text()[-4000:]
    outcome: dict[str, Any] = json.loads((tmp_path / OUTCOME).read_text())
    verdict = outcome["verdict"]
    memory_mib = {n: [b / 2**20 for b in quarters] for n, quarters in outcome["memory"].items()}
    report(
        "soak", minutes=MINUTES, seed=SEED, ops=verdict["ops"], errors=verdict["errors"],
        faults=len(outcome["faults"]), longest_s=verdict["longest_s"],
        violations=verdict["stale"] + verdict["invented"] + bool(verdict["clash"]),
        **{f"{node}_mib_2nd_and_last_quarter": mib for node, mib in memory_mib.items()},
        **{f"{node}_files_2nd_and_last_quarter": n for node, n in outcome["files"].items()},
    )  # fmt: skip
    assert verdict["stale"] + verdict["invented"] == 0, verdict["examples"]
    assert verdict["clash"] == ""
    assert outcome["broken"] == []
    before, after = ({n: quarters[i] for n, quarters in outcome["memory"].items()} for i in (0, 1))
    assert grown(before, after) == []
    for node, (then, now) in outcome["files"].items():
        assert now <= then + FILES, f"{node} keeps files open: {then} to {now}"
