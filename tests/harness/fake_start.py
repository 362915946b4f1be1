"""Stands in for `tiercluster` where only the plumbing is under test: says ready, then idles."""

import signal
import sys

print("ready", *sys.argv[1:], flush=True)
if "--mute" not in sys.argv and sys.argv[1] == "start":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.pause()
