"""The demo, as a newcomer runs it, and what it leaves behind: nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.harness.process import environment


def demo(tmp_path: Path, *flags: str) -> tuple[dict[str, object], float]:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tiercluster", "demo", "--json", *flags],
        env=environment(TMPDIR=str(tmp_path)),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--inject",)])
def test_a_tier_fails_over_and_comes_back_without_a_failed_or_stale_read(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    document, seconds = demo(tmp_path, *flags)
    assert document["ok"] is True
    assert document["failed_reads"] == document["stale_reads"] == 0
    assert isinstance(document["seconds"], dict)
    assert None not in document["seconds"].values()
    assert seconds < 60
    assert list(tmp_path.iterdir()) == []
