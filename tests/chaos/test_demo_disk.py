"""The demo's disks break for real: the cold store reports failures on them, and heals with them.

Each runs in a process of its own, because it moves into a mount namespace of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.process import environment

SCRIPT = """
import sys
from pathlib import Path
from tiercluster.cli import demo_disk
from tiercluster.node.failures import Failure
from tiercluster.node.tiers.cold import ColdStore

where, make = Path(sys.argv[1]), sys.argv[2]
(where / "cold").mkdir()
disk = getattr(demo_disk, make)(where / "cold", where)
store = ColdStore(where / "cold")
assert not isinstance(store.open(wipe=False), Failure)
assert store.put(b"key", 1, 1, 0, None, b"v" * 100_000) is None and store.commit() is None
disk.break_()
failures = [store.check(), store.put(b"key", 2, 1, 0, None, b"v" * 100_000) or store.commit()]
print("failures", [str(f.kind) for f in failures if f], "probe", bool(store.probe()))
disk.heal()
store.close()
print("healed", store.probe())
"""


def run(where: Path, make: str) -> str:
    command = [sys.executable, "-c", SCRIPT, str(where), make]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.root
@pytest.mark.parametrize("make", ["_as_root", "_as_anybody"])
def test_a_broken_disk_fails_every_probe_and_a_new_one_heals(tmp_path: Path, make: str) -> None:
    said = run(tmp_path, make)
    assert "probe True" in said, said
    assert "healed None" in said, said
    assert "failures []" not in said, said
