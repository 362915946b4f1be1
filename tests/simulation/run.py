"""Worlds from the command line: ``python -m tests.simulation.run SEED [--trace] [--count N]``."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from .promises import Violation
from .world import World


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--trace", action="store_true", help="print everything that happened")
    parser.add_argument("--count", type=int, default=1, help="run so many seeds, from SEED on")
    arguments = parser.parse_args()
    if arguments.count > 1:
        return _run_many(arguments.seed, arguments.count)
    return _run_one(arguments.seed, arguments.trace)


def _run_one(seed: int, trace: bool) -> int:
    world = World(seed, keeps_trace=trace)
    started = time.perf_counter()
    violation: Exception | None = None
    try:
        world.run()
    except Exception as found:  # noqa: BLE001 - a core that raises is a finding, too
        violation = found
    for line in world.loop.trace.lines:
        print(line)
    took_s = time.perf_counter() - started
    print(
        f"{world.plan}\ndigest {world.loop.trace.digest:08x}, {world.checkers.steps} steps, "
        f"{world.loop.now:.1f} s in {took_s:.2f} s, judged {world.checkers.promises.judged}"
    )
    if violation is not None:
        print(f"seed {seed}: {violation}")
        if not isinstance(violation, Violation):
            traceback.print_exception(violation)
    return violation is not None


def _run_many(first: int, count: int) -> int:
    """A line for each world that is not well, and one at the end."""
    alarms, started = 0, time.process_time()
    for seed in range(first, first + count):
        try:
            World(seed).run()
        except Exception as found:  # noqa: BLE001 - a core that raises is a finding, too
            alarms += 1
            print(f"seed {seed}: {type(found).__name__}: {found}", flush=True)
    took_s = time.process_time() - started
    print(f"seeds {first} to {first + count - 1}: {alarms} alarms, {took_s:.0f} s of CPU")
    return alarms > 0


if __name__ == "__main__":
    sys.exit(main())
