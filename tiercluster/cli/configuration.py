"""`tiercluster config`: what a configuration file means, before a node is started with it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from .config import ConfigError, Effective, exposed, load
from .exits import Code, Stop
from .options import json_flag
from .rendering import print_json, print_table


@click.group()
def config() -> None:
    """Check a configuration file.

    \b
    Example:
      tiercluster config check /etc/tiercluster.toml
    """


@config.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_flag
def check(file: Path, as_json: bool) -> None:
    """Print the effective settings of FILE and the environment, with the origin of each.

    Exit 2 if a name is not known or a value cannot be used.

    \b
    Example:
      tiercluster config check node.toml
      TIERCLUSTER_HOT_SIZE=1GiB tiercluster config check node.toml --json
    """
    effective = load_or_stop(file, {})
    if as_json:
        rows = effective.rows()
        print_json({name: {"value": value, "origin": origin} for name, value, origin in rows})
    else:
        rows = effective.rows()
        print_table(("setting", "value", "origin"), [(n, _shown(v), o) for n, v, o in rows])
    for where in exposed(effective.settings):
        click.echo(f"note: {where} is open to the network: start will want keys", err=True)


def load_or_stop(file: Path | None, flags: dict[str, object]) -> Effective:
    """The effective settings; wrong ones end the command with exit 2."""
    try:
        return load(file, os.environ, flags)
    except ConfigError as error:
        raise Stop(Code.USAGE, str(error)) from error


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return "-" if value in ("", None) else str(value)
