"""Writes docs/cli.md from the commands' own help: `python -m tiercluster.cli.reference`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from .main import PLACES, cli

WIDTH = 100

_HEAD = """# The command line

Made from the commands' own `--help` by `python -m tiercluster.cli.reference > docs/cli.md`; a test
holds the two together.

Data goes to stdout, words to stderr. `--json` prints one JSON document, streams print one object a
line. An error is one line on stderr.

| exit code | meaning |
| --- | --- |
| 0 | done, or found; draining what is drained is done |
| 1 | failed, or `get` found nothing |
| 2 | wrong usage, or settings that cannot be used |
| 3 | no member reachable, or no quorum |
| 4 | key, node or tier not found |
| 5 | `--wait` timed out; the state is said |
| 6 | refused for safety |

Any one reachable member is enough: `--cluster HOST:PORT[,HOST:PORT...]` or `TIERCLUSTER_CLUSTER`,
before or after the command's name; default `127.0.0.1:7701`. A tier is written `NODE/TIER`, such as
`n2/cold`, and `NODE/*` means all tiers of a node.

Values given to `set` are stored as text, whatever they look like; `-` reads the value from stdin,
where text is stored as text and anything else as bytes. `get KEY` ends the value with a line end,
`get KEY -` writes its bytes exactly.
"""


def commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command with its whole name, groups before what they hold."""
    root = click.Context(cli, info_name="tiercluster", **cli.context_settings)
    for name in PLACES:
        command = cli.get_command(root, name)
        if command is not None:
            yield from _with_inner(name, command, root)


def _with_inner(
    name: str, command: click.Command, parent: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    context = click.Context(
        command,
        info_name=command.name,
        parent=parent,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
    )
    yield name, command, context
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None:
                yield from _with_inner(f"{name} {inner}", found, context)


def markdown() -> str:
    """The whole page."""
    parts = [_HEAD, "## Commands\n"]
    parts += [f"- `tiercluster {name}`: {place.short_help}" for name, place in PLACES.items()]
    for name, command, context in commands():
        level = "##" if " " not in name else "###"
        help_text = command.get_help(context)
        parts.append(f"\n{level} tiercluster {name}\n\n```text\n{help_text}\n```")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    click.echo(markdown(), nl=False)
