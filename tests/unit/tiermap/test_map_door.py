"""The door of the tier map is light enough for a client."""

from __future__ import annotations

import subprocess
import sys

import tiercluster.tiermap


def test_the_door_loads_no_consensus() -> None:
    program = (
        "import sys, tiercluster.tiermap, tiercluster.cluster.routing\n"
        "heavy = ('pysyncobj', 'tiercluster.tiermap.raft', 'click', 'rich', 'structlog')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_everything_the_door_names_is_there() -> None:
    names = tiercluster.tiermap.__all__
    assert names == sorted(set(names), key=lambda n: (not n.isupper(), n[0].islower(), n))
    assert all(hasattr(tiercluster.tiermap, name) for name in names)
