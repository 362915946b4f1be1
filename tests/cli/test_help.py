"""Help, documentation and the list of commands agree; what a command does not need stays out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tiercluster.cli.lazy import load
from tiercluster.cli.main import PLACES
from tiercluster.cli.reference import commands, markdown

from .conftest import Run

ROOT = Path(__file__).parents[2]
ALL = list(commands())
# What the contract promises, whatever else there may be.
PROMISED = {
    "start", "dev", "demo", "status", "top", "tier list", "tier drain", "tier restore",
    "tier probe", "tier why", "node list", "node drain", "node restore", "node remove", "events",
    "get", "set", "delete", "locate", "bench", "fault inject", "fault clear", "keygen",
    "config check", "doctor",
}  # fmt: skip


def test_every_promised_command_is_there() -> None:
    assert {name for name, _, _ in ALL} >= PROMISED


@pytest.mark.parametrize(("name", "command", "context"), ALL, ids=[name for name, _, _ in ALL])
def test_every_help_has_an_example(name: str, command: object, context: object) -> None:
    text = command.get_help(context)  # type: ignore[attr-defined]
    assert re.search(rf"Example:\n +tiercluster {name.split()[0]}", text)


@pytest.mark.parametrize("name", PLACES)
def test_a_command_answers_to_the_name_under_which_it_is_listed(name: str) -> None:
    assert load(PLACES[name]).name == name


def test_help_lists_every_command_with_its_line(run: Run) -> None:
    out = run("--help").out
    for name, place in PLACES.items():
        assert re.search(rf"^  {name} +{re.escape(place.short_help)}$", out, re.MULTILINE)


def test_the_page_of_the_command_line_is_what_help_says() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert page == markdown(), "run: python -m tiercluster.cli.reference > docs/cli.md"


@pytest.mark.parametrize("file", ["README.md", "docs/configuration.md"])
def test_pages_name_no_command_that_does_not_exist(file: str) -> None:
    text = (ROOT / file).read_text()
    named = re.findall(r"(?:^|`|\$ )tiercluster ([a-z]+(?: [a-z]+)?)", text, re.MULTILINE)
    known = {name for name, _, _ in ALL}
    assert [n for n in named if n not in known and n.split()[0] not in PLACES] == []


def modules_after(statement: str) -> set[str]:
    """What a fresh interpreter has imported after this."""
    script = f"{statement}\nimport sys; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    return {name.partition(".")[0] for name in done.stdout.split()} | set(done.stdout.split())


def test_help_imports_neither_sockets_nor_tables() -> None:
    script = """
from tiercluster.cli.main import cli
try:
    cli(["--help"], prog_name="tiercluster")
except SystemExit:
    pass
"""
    imported = modules_after(script)
    assert not imported & {"rich", "pysyncobj", "prometheus_client", "structlog"}
    assert not {name for name in imported if name.startswith("tiercluster.cli.d")}


@pytest.mark.parametrize("name", ["get", "set", "delete"])
def test_the_data_path_imports_neither_consensus_nor_tables(name: str) -> None:
    script = f"""
from tiercluster.cli.lazy import load
from tiercluster.cli.main import PLACES
load(PLACES[{name!r}])
"""
    assert not modules_after(script) & {"rich", "pysyncobj", "prometheus_client", "structlog"}


def test_help_imports_no_client() -> None:
    imported = modules_after("import tiercluster.cli.main")
    assert not imported & {"zmq", "asyncio", "cbor2", "xxhash"}


def test_what_the_package_promises_is_there_when_asked_for() -> None:
    script = (
        "from tiercluster import *; import tiercluster; Client, AsyncClient, tiercluster.errors"
    )
    assert {"zmq", "cbor2"} <= modules_after(script)
