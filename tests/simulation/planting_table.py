"""The table of planted bugs, as docs/simulation.md has it: what finds each, and in how many worlds.

python -m tests.simulation.planting_table [NAME ...]      all bugs: some 6 minutes
"""

from __future__ import annotations

import sys

from .planted import BUGS, found_in
from .planting import COPIES

MOST = 200  # worlds, from seed 0


def invariant_cell(name: str) -> str:
    """The invariants that find the bug, and whose judges are mute."""
    bug = BUGS[name]
    mute = "all of copies" if bug.mute == COPIES else ", ".join(bug.mute)
    found = " or ".join(sorted(bug.found))
    return f"{found} (mute: {mute})" if mute else found


def worlds(name: str) -> str:
    """How many it takes, from seed 0, until the bug is found by what it must be found by."""
    seeds = (seed for seed in range(MOST) if found_in(name, seed) in BUGS[name].found)
    first = next(seeds, None)
    return f"more than {MOST}" if first is None else str(first + 1)


def main() -> None:
    print("| planted | found by | worlds |\n| --- | --- | --- |")
    for name in sys.argv[1:] or BUGS:
        print(f"| {name} | {invariant_cell(name)} | {worlds(name)} |", flush=True)


if __name__ == "__main__":
    main()
