"""Every planted bug is found, every invariant by a bug of its own, and the docs say so.

python -m tests.simulation.planting_table      how many worlds each takes from seed 0
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from .planted import BUGS, found_in
from .planting_table import invariant_cell

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "simulation.md"
MORE = 25  # worlds tried until a planted bug is found, from the one that found it first


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str) -> None:
    bug, others = BUGS[name], set()
    for seed in range(bug.seed, bug.seed + MORE):
        found = found_in(name, seed)
        assert found != "raises", f"{name}: a core raises in world {seed}"
        if found in bug.found:
            return
        others.add(found)
    pytest.fail(f"{name}: {sorted(bug.found)} not in worlds {bug.seed} to {seed}, but {others}")


def invariants() -> set[str]:
    """All that the code may raise a Violation of."""
    return {
        invariant
        for path in sorted(HERE.glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise)
        for invariant in _named_by(node.exc, path.stem)
    }


def _named_by(raised: ast.expr | None, module: str) -> list[str]:
    if not isinstance(raised, ast.Call) or getattr(raised.func, "id", "") != "Violation":
        return []
    invariant = raised.args[0]
    if isinstance(invariant, ast.Constant):
        return [str(invariant.value)]
    assert isinstance(invariant, ast.Name), "an invariant is a text, or has a name"
    return [getattr(importlib.import_module(f".{module}", __package__), invariant.id)]


def test_every_invariant_is_demanded_by_a_planted_bug() -> None:
    assert len(invariants()) >= 19
    assert invariants() == {
        what for bug in BUGS.values() if len(bug.found) == 1 for what in bug.found
    }


def test_the_docs_name_every_invariant_and_every_planted_bug() -> None:
    text = DOCS.read_text()
    checked = text.partition("## What is checked")[2].partition("\n## ")[0]
    assert [name for name in sorted(invariants()) if name not in checked] == []
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    found_by = {row[0]: row[1] for row in rows}
    assert {name: found_by.get(name) for name in BUGS} == {n: invariant_cell(n) for n in BUGS}
