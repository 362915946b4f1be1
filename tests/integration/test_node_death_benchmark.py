"""The benchmark of a node's death fails when it is told how much may be lost, and more is."""

from __future__ import annotations

import gzip
import importlib
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LOST_POINTS = 1.5


@pytest.fixture
def node_death(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two runs without nodes, one of which had fewer hits."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("node_death")

    def play(keys: list[str], replicas: int, size: str, kills: bool) -> tuple[float, int, int]:
        return 0.5 - kills * LOST_POINTS / 100, 10, 0

    monkeypatch.setattr(module, "play", play)
    return module


@pytest.mark.parametrize(("allowed", "fails"), [((), False), (("2",), False), (("1",), True)])
def test_more_points_lost_than_allowed_are_exit_code_1(
    node_death: Any, allowed: tuple[str, ...], fails: bool, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    trace = tmp_path / "trace.gz"
    trace.write_bytes(gzip.compress(b"a\nb\n"))
    flags = [flag for points in allowed for flag in ("--assert-points", points)]
    monkeypatch.setattr("sys.argv", ["node_death.py", str(trace), *flags])
    if fails:
        with pytest.raises(SystemExit) as ended:
            node_death.main()
        assert ended.value.code == 1
    else:
        node_death.main()
    assert f"points lost  {LOST_POINTS:9.2f}" in capsys.readouterr().out
