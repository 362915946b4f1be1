"""Traffic of a client of version 1 until SIGTERM; `mixed.OldTraffic` runs it."""

from __future__ import annotations

import json
import signal
import sys
import threading

import tiercluster
from tests.harness.promise import Verdict
from tests.harness.traffic import Plan, Traffic
from tiercluster.cluster import wire


def main(addresses: str) -> None:
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    plan = Plan(threads=1, pause_s=0.01, client={"timeout": 3.0})
    keys = [f"old{i}" for i in range(100)]
    with Traffic(addresses, keys, plan) as traffic:
        print("ready", flush=True)
        stopped.wait()
    print(
        json.dumps(
            {
                "version": wire.VERSION,
                "package": tiercluster.__file__,
                "calls": len(traffic.samples),
                "stale": traffic.oracle.counts[Verdict.STALE],
                "invented": traffic.oracle.counts[Verdict.INVENTED],
                "fresh": traffic.oracle.counts[Verdict.FRESH],
                "errors": [repr(error) for error in traffic.errors],
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
