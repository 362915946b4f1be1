"""Tables for people, JSON for scripts; data to stdout, words to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

_STYLES = {
    "UP": "green",
    "DOWN": "bold red",
    "LEFT": "dim",
    "DRAINING": "yellow",
    "DRAINED": "yellow",
    "RECOVERING": "cyan",
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
}
# Not a terminal: no line is ever cut or folded, so that grep and awk see whole rows.
_UNLIMITED = 10_000


def print_json(document: Any, *, one_line: bool = False) -> None:
    """One JSON document; ``one_line`` for streams."""
    click.echo(json.dumps(document, indent=None if one_line else 2, default=str))


def console() -> Console:
    """Writes to the stdout of this moment."""
    is_terminal = sys.stdout.isatty()
    return Console(
        file=sys.stdout,
        width=None if is_terminal else _UNLIMITED,
        highlight=False,
        markup=False,
        emoji=False,
    )


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Columns whose heading starts with ``#`` hold numbers and are set flush right."""
    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for heading in headings:
        right = heading.startswith("#")
        made.add_column(
            heading.removeprefix("#").upper(),
            justify="right" if right else "left",
            no_wrap=right or heading in ("ref", "id", "state"),
            overflow="fold",
        )
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    return made


def _cell(value: object) -> Text:
    text = str(value)
    return Text(text, style=_STYLES.get(text, ""))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout: fitted to a terminal, whole lines elsewhere."""
    out = console()
    if out.is_terminal:
        out.print(table(headings, rows))
        return
    with out.capture() as captured:
        out.print(table(headings, rows))
    for line in captured.get().splitlines():
        click.echo(line.rstrip())
