"""One world from the command line: ``python -m tests.simulation.run SEED [--trace]``."""

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
    arguments = parser.parse_args()
    world = World(arguments.seed, keeps_trace=arguments.trace)
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
        print(f"seed {arguments.seed}: {violation}")
        if not isinstance(violation, Violation):
            traceback.print_exception(violation)
    return violation is not None


if __name__ == "__main__":
    sys.exit(main())
