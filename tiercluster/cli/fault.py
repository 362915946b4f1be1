"""`tiercluster fault`: game days. Faults inside a tier's own I/O path."""

from __future__ import annotations

import click

from . import change
from .change import Target, parse_target
from .doors import open_admin
from .options import Number, json_flag, reach_cluster
from .rendering import print_json
from .session import AdminDoor, session_of

KINDS = ("eio", "enospc", "slow", "corrupt", "hang")
DEFAULT_MS = 1000.0
MAX_FOR_S = 300.0  # what a node takes


@click.group()
def fault() -> None:
    """Faults inside a tier's own I/O path, for game days.

    Refused (exit 6) unless the node runs with --allow-faults. Not for production data.

    \b
    Example:
      tiercluster fault inject n2/cold --kind eio
      tiercluster fault clear n2/cold
    """


@fault.command()
@click.argument("ref")
@click.option("--kind", type=click.Choice(KINDS), required=True, help="What goes wrong.")
@click.option(
    "--ms",
    type=Number(min=0),
    default=DEFAULT_MS,
    show_default=True,
    metavar="N",
    help="For slow and hang: how long an operation takes.",
)
@click.option(
    "--rate",
    type=Number(min=0, max=1, min_open=True),
    default=1.0,
    show_default=True,
    metavar="P",
    help="The share of operations that it hits.",
)
@click.option(
    "--for",
    "for_s",
    type=Number(min=0, max=MAX_FOR_S),
    default=0.0,
    metavar="S",
    help=f"Over by itself after so many seconds, at most {MAX_FOR_S:g}. [default: when cleared]",
)
@reach_cluster
@json_flag
@click.pass_context
def inject(
    ctx: click.Context, ref: str, kind: str, ms: float, rate: float, for_s: float, as_json: bool
) -> None:
    """Have operations of a tier fail from now on, until it is cleared or the node restarts.

    \b
    Example:
      tiercluster fault inject n2/cold --kind eio
      tiercluster fault inject n1/cold --kind slow --ms 400 --rate 0.2 --for 30
    """
    target = parse_target(ref)
    with open_admin(session_of(ctx)) as admin:
        _set(admin, target, kind, ms, rate, for_s)
    if as_json:
        said = {"kind": kind, "ms": ms, "rate": rate, "for_s": for_s or None}
        print_json([{"ref": str(ref), **said} for ref in target.refs])
    else:
        until = f" for {for_s:g} s" if for_s else ""
        click.echo(f"{target}: {kind} in {rate:.0%} of its operations{until}")


@fault.command()
@click.argument("ref")
@reach_cluster
@json_flag
@click.pass_context
def clear(ctx: click.Context, ref: str, as_json: bool) -> None:
    """End the faults of a tier; probes then bring it back.

    \b
    Example:
      tiercluster fault clear n2/cold
    """
    target = parse_target(ref)
    with open_admin(session_of(ctx)) as admin:
        _set(admin, target, "", 0.0, 0.0, 0.0)
    if as_json:
        print_json([{"ref": str(r), "kind": None} for r in target.refs])
    else:
        click.echo(f"{target}: no faults")


def _set(admin: AdminDoor, target: Target, kind: str, ms: float, rate: float, for_s: float) -> None:
    change.find_target(admin.hello(), target)
    for ref in target.refs:
        admin.fault(ref.node, str(ref.tier), kind, ms, rate, for_s * 1000)
