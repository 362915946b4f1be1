"""The table of docs/reliability.md, from the figures that the scenarios reported.

python -m tests.harness.lab.table FIGURES
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PREFIX = "lab/"
HEAD = (
    "scenario", "runs", "operations", "errors seen by clients", "longest window", "all back after",
    "violations",
)  # fmt: skip
Figures = Mapping[str, Any]


def table(lines: Iterable[str]) -> str:
    """Markdown; one row for each scenario, in the order in which they were first reported, and one
    for all."""
    runs: dict[str, list[Figures]] = defaultdict(list)
    for line in lines:
        figures = json.loads(line)
        if figures["scenario"].startswith(PREFIX):
            runs[figures["scenario"].removeprefix(PREFIX)].append(figures)
    rows = [_row(name.replace("_", " "), played) for name, played in runs.items()]
    rows.append(_row("all", [figures for played in runs.values() for figures in played]))
    return "\n".join(map(_line, [HEAD, ("---",) * len(HEAD), *rows]))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _row(name: str, runs: list[Figures]) -> tuple[str, ...]:
    errors = Counter[str]()
    for figures in runs:
        errors.update(figures["errors"])
    return (
        name,
        str(len(runs)),
        f"{sum(f['ops'] for f in runs):,}",
        ", ".join(f"{count:,} {error}" for error, count in errors.most_common()) or "none",
        f"{max((f['longest_s'] for f in runs), default=0):.2f} s",
        f"{max((f['back_s'] for f in runs), default=0):.2f} s",
        str(sum(f["violations"] for f in runs)),
    )


if __name__ == "__main__":
    print(table(Path(sys.argv[1]).read_text().splitlines()))
