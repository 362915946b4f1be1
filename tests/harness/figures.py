"""What a scenario measured: printed, and appended as a JSON line to the file that the environment
variable TIERCLUSTER_FIGURES names, from where docs/reliability.md quotes it."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path

Value = float | int | str | bool | None


def report(scenario: str, **figures: Value | list[float] | Mapping[str, int]) -> None:
    line = json.dumps({"scenario": scenario} | {k: _short(v) for k, v in figures.items()})
    print(f"\nFIGURES {line}")
    path = os.environ.get("TIERCLUSTER_FIGURES")
    if path:
        with Path(path).open("a", encoding="utf-8") as f:
            f.write(line + "\n")


def _short(value: object) -> object:
    if isinstance(value, float):
        return round(value, 4)
    return [_short(v) for v in value] if isinstance(value, list) else value


def percentile(values: Iterable[float], share: float) -> float:
    """Nearest rank; 0.0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def median(values: Iterable[float]) -> float:
    ordered = list(values)
    return statistics.median(ordered) if ordered else 0.0
