"""The comparison with the peers runs, whichever of them are installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.harness.process import environment

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers.py"


def test_one_command_measures_us_and_the_peers_that_are_here() -> None:
    command = [sys.executable, str(PEERS), "--rounds", "1", "--seconds", "0.05", "--json"]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    ours = [f for f in document["figures"] if f["client"] == "tiercluster"]
    assert [f["verb"] for f in ours] == ["get", "set", "get 100", "set 100"]
    assert all(0 < f["p50_us"] <= f["p99_us"] for f in ours)
