"""A reader that leaves early is no failure."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import click
from tiercluster.cli.main import cli

@cli.command("talk")
def talk():
    for i in range(200_000):
        click.echo(f"line {i}")

cli.get_command = lambda ctx, name: talk
cli(["talk"], prog_name="tiercluster")
"""


def test_a_reader_that_leaves_early_gets_no_complaint() -> None:
    talker = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert talker.stdout is not None
    assert talker.stderr is not None
    with talker.stdout, talker.stderr:
        assert talker.stdout.readline() == "line 0\n"
        talker.stdout.close()
        assert talker.stderr.read() == ""
        assert talker.wait(20) == 0
