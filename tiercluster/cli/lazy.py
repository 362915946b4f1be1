"""A command group whose commands are imported when they are run, and not before."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click


class Place(NamedTuple):
    """Where a command is, as ``module:attribute``, and its line in the group's help, which is kept
    here so that ``--help`` imports none of them."""

    path: str
    short_help: str


class LazyGroup(click.Group):
    """``places`` by command name, in the order of the help."""

    def __init__(self, *args: Any, places: Mapping[str, Place], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self.places.get(cmd_name)
        return load(place) if place else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.short_help) for name, place in self.places.items()])


def load(place: Place) -> click.Command:
    """Import the command; TypeError if the path leads to something else."""
    module, _, attribute = place.path.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    if not isinstance(command, click.Command):
        raise TypeError(f"{place.path} is no command")
    return command
