"""Runs one scenario inside the sandbox and writes its outcome beside its files.

python -m tests.harness.lab SCENARIO SEED DIRECTORY
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .play import play
from .sandbox import settle_in
from .scenarios import SCENARIOS

OUTCOME = "outcome.json"


def main(name: str, seed: str, directory: str) -> None:
    settle_in()
    outcome = play(SCENARIOS[name], int(seed), Path(directory))
    Path(directory, OUTCOME).write_text(json.dumps(outcome.as_json()))


if __name__ == "__main__":
    main(*sys.argv[1:])
