"""The `tiercluster` command: its list of commands, and the guard that turns errors into exit codes.

Nothing else is imported here, so that `tiercluster --help` is immediate.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Never

import click

from tiercluster import __version__

from .exits import INTERRUPTED, Code, Stop, advice_on, code_of, drop_output, one_line
from .lazy import LazyGroup, Place
from .session import Session

_HERE = "tiercluster.cli."

PLACES: dict[str, Place] = {
    name: Place(_HERE + path, short_help)
    for name, path, short_help in (
        ("start", "start:start", "Run one node in the foreground."),
        ("dev", "dev:dev", "Run a whole local cluster in one command."),
        ("demo", "demo:demo", "Watch a tier fail over and recover on a real cluster."),
        ("status", "status:status", "Nodes, tiers, states, sizes, hit ratios, leader, quorum."),
        ("top", "top:top", "The same, live."),
        ("tier", "tier:tier", "List, drain, restore, probe and explain tiers."),
        ("node", "node:node", "List, drain, restore and remove nodes."),
        ("events", "events:events", "Committed changes of the tier map, oldest first."),
        ("get", "data:get", "Print the value of a key."),
        ("set", "data:set_", "Store a value."),
        ("delete", "data:delete", "Delete a key."),
        ("locate", "locate:locate", "Where a key lives now, and why."),
        ("bench", "bench:bench", "Generate load; measure throughput, latency and hit ratio."),
        ("fault", "fault:fault", "Inject faults into a tier's own I/O, for game days."),
        ("gameday", "gameday:gameday", "Break something on purpose; check every promise."),
        ("config", "configuration:config", "Check a configuration file."),
        ("doctor", "doctor:doctor", "Diagnose this machine and the cluster."),
        ("keygen", "keygen:keygen", "Make keys for nodes, clients and operators."),
    )
}


class _ReaderLeft(Exception):
    """Whoever read our output wants no more of it."""


class Guarded(LazyGroup):
    """Ends every command with one of `exits.Code` and never shows a traceback."""

    def main(  # type: ignore[override]  # click types it with overloads
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Never:
        extra["standalone_mode"] = False
        sys.exit(self._run(args, prog_name or "tiercluster", extra))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click would make a failure of it
            raise _ReaderLeft from error

    def _run(self, args: Sequence[str] | None, prog_name: str, extra: dict[str, Any]) -> int:
        try:
            result = super().main(args, prog_name, **extra)
            sys.stdout.flush()
        except click.Abort:
            return INTERRUPTED
        except (_ReaderLeft, BrokenPipeError):
            return Code.DONE  # `tiercluster events | head` is no failure
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            return Code.USAGE
        except click.ClickException as error:
            return _say(_click_text(error), _click_code(error))
        except Exception as error:  # noqa: BLE001 - the last line before the user
            return _failed(error)
        finally:
            _forget_output()
        return result if isinstance(result, int) else 0


def _click_code(error: click.ClickException) -> int:
    return error.code if isinstance(error, Stop) else Code.USAGE


def _click_text(error: click.ClickException) -> str:
    text = one_line(error.format_message())
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return text
    end = "" if text.endswith("?") else "."
    return f"{text.rstrip('.')}{end} See `{error.ctx.command_path} --help`"


def _failed(error: Exception) -> int:
    if os.environ.get("TIERCLUSTER_DEBUG") == "1":
        traceback.print_exc()
    code = code_of(error)
    if code is not None:
        return _say(one_line(str(error) + advice_on(error)) or type(error).__name__, code)
    what = one_line(f"{type(error).__name__}: {error}")
    return _say(f"unexpected {what}; please report it (TIERCLUSTER_DEBUG=1 shows more)", 1)


def _say(text: str, code: int) -> int:
    click.echo(f"error: {text}", err=True)
    return code


def _open_standard_streams() -> None:
    """What we were started without (`>&-`, some supervisors) leads nowhere: else the next file or
    socket that is opened would be taken for it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


def _forget_output() -> None:
    """What could not be written (a full disk, a reader that left) is dealt with; Python would try
    once more at its exit, complain in its own words, and end with a code of its own."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        drop_output()


@click.group(
    cls=Guarded,
    places=PLACES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="tiercluster")
@click.option(
    "--cluster",
    envvar="TIERCLUSTER_CLUSTER",
    metavar="HOST:PORT[,HOST:PORT...]",
    help="Any reachable members. [env: TIERCLUSTER_CLUSTER; default: 127.0.0.1:7701]",
)
@click.option(
    "--keys",
    type=click.Path(path_type=Path),
    envvar="TIERCLUSTER_KEYS",
    metavar="DIR",
    help="Directory of keys made by keygen. [env: TIERCLUSTER_KEYS]",
)
@click.pass_context
def cli(ctx: click.Context, cluster: str | None, keys: Path | None) -> None:
    """A distributed cluster cache with replicated tier failover.

    Exit codes: 0 done or found, 1 failed or a miss, 2 wrong usage, 3 no member reachable or no
    quorum, 4 not found, 5 --wait timed out, 6 refused for safety.

    \b
    Example:
      tiercluster dev                  # a local cluster of three nodes
      tiercluster status               # in another terminal
      tiercluster tier drain n2/cold --wait
    """
    session = ctx.obj if isinstance(ctx.obj, Session) else Session()
    ctx.obj = replace(session, cluster=cluster or session.cluster, keys=keys or session.keys)


def main() -> None:
    """The entry point."""
    _open_standard_streams()
    cli(prog_name="tiercluster")
