"""A client process that reads keys over and over, to be frozen together with a node.

    python -m tests.harness.reader_process ADDRESSES KEY [KEY ...]

With TIERCLUSTER_NEAR_CACHE=ENTRIES in the environment it keeps what it reads.

Prints ``[started, key, number or null]`` for each read; started is the monotonic clock, which all
processes of a Linux machine share.
"""

from __future__ import annotations

import json
import os
import sys
import time

from tiercluster import Client

from .traffic import value_number

PAUSE_S = 0.001


def main(addresses: str, keys: list[str]) -> None:
    near_cache = int(os.environ.get("TIERCLUSTER_NEAR_CACHE", "0"))
    client = Client(addresses, on_error="miss", near_cache=near_cache)
    print("ready", flush=True)
    while True:
        for key in keys:
            started = time.monotonic()
            print(json.dumps([started, key, value_number(client.get(key))]), flush=True)
            time.sleep(PAUSE_S)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
