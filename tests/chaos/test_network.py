"""Real nodes, each on a host of its own, and clients whose whole history is judged, while the
network is split, links are bad, processes die, disks and clocks are wrong.

TIERCLUSTER_RUNS=N plays each scenario with N seeds. `python -m tests.harness.lab.table FILE` makes
the table of docs/reliability.md from the figures.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness.figures import report
from tests.harness.lab.__main__ import OUTCOME
from tests.harness.lab.sandbox import missing, run_inside
from tests.harness.lab.scenarios import SCENARIOS

RUNS = int(os.environ.get("TIERCLUSTER_RUNS", "1"))
TIMEOUT_S = 180.0
SHORT = ("partition_fence", "disk_eio")  # in the default suite, where the machine allows them


def run(name: str, seed: int, directory: Path, kind: str) -> None:
    """``kind``: the first half of the name under which the figures are reported."""
    if reason := missing():
        pytest.skip(reason)
    command = [sys.executable, "-m", "tests.harness.lab", name, str(seed), str(directory)]
    log = directory / "lab"
    code = run_inside(command, log, TIMEOUT_S)
    assert code == 0, log.with_suffix(".err").read_text()[-4000:]
    outcome: dict[str, Any] = json.loads((directory / OUTCOME).read_text())
    verdict = outcome["verdict"]
    report(
        f"{kind}/{name}", seed=seed, ops=verdict["ops"], errors=verdict["errors"],
        longest_s=verdict["longest_s"], back_s=outcome["back_s"], excused=verdict["excused"],
        violations=outcome["violations"], seconds=outcome["seconds"],
    )  # fmt: skip
    assert outcome["violations"] == 0, (verdict["clash"], verdict["examples"])
    assert outcome["broken"] == []
    shutil.rmtree(directory / "data", ignore_errors=True)


@pytest.mark.parametrize("name", SHORT)
def test_a_fault_in_the_network_or_the_disk_makes_nothing_old_visible(
    name: str, tmp_path: Path
) -> None:
    run(name, 1, tmp_path, "lab_fast")


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.parametrize("seed", range(1, RUNS + 1))
@pytest.mark.parametrize("name", SCENARIOS)
def test_no_fault_makes_anything_old_visible(name: str, seed: int, tmp_path: Path) -> None:
    run(name, seed, tmp_path, "lab")
