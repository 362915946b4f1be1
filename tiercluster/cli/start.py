"""`tiercluster start`: one node in the foreground."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import click

from tiercluster.node.run import StartError, run_node
from tiercluster.node.settings import NodeSettings

from . import address
from .config import exposed
from .configuration import load_or_stop
from .exits import Code, Stop, drop_output
from .ports import port_problem
from .session import session_of

ON_QUORUM_LOSS = ("serve", "read_only", "fence")
# Names of parameters that differ from the setting they give.
_SETTING_OF = {"hot": "hot.size", "warm": "warm.size", "cold": "cold.size"}


def _flags(params: dict[str, Any]) -> dict[str, Any]:
    """What was given on the command line, by the names of the settings."""
    given = {_SETTING_OF.get(name, name): value for name, value in params.items()}
    return {name: value for name, value in given.items() if value not in (None, ())}


@click.command()
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    envvar="TIERCLUSTER_CONFIG",
    metavar="FILE",
    help="Settings in TOML. [env: TIERCLUSTER_CONFIG]",
)
@click.option("--id", "id", metavar="ID", help="The node's name. [default: n1]")
@click.option(
    "--listen",
    metavar="HOST:PORT",
    help="Where clients and members connect to. [default: 127.0.0.1:7701]",
)
@click.option("--raft", metavar="HOST:PORT", help="Consensus. [default: the --listen port + 100]")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="ID=HOST:RAFTPORT",
    help="Every other voter; once for each.",
)
@click.option("--join", metavar="HOST:PORT", help="Follow a running cluster; any member will do.")
@click.option("--data", metavar="DIR", help="All files. [default: tiercluster-data]")
@click.option("--hot", metavar="SIZE", help="Memory of the hot tier. [default: 64MiB]")
@click.option("--warm", metavar="SIZE", help="Memory of the warm tier. [default: 64MiB]")
@click.option("--cold", metavar="SIZE", help="Disk of the cold tier. [default: 256MiB]")
@click.option("--http", metavar="HOST:PORT", help="/metrics, /healthz, /readyz. [default: off]")
@click.option("--weight", metavar="W", help="Share of the keys, against other nodes. [default: 1]")
@click.option("--replicas", metavar="N", help="Nodes that hold each entry, 1 to 3. [default: 2]")
@click.option("--cluster-name", metavar="NAME", help="Other clusters' nodes are refused.")
@click.option(
    "--on-quorum-loss",
    type=click.Choice(ON_QUORUM_LOSS),
    help="What to do without a majority. [default: serve]",
)
@click.option("--keys", metavar="DIR", help="Directory of keys made by keygen.")
@click.option("--insecure", is_flag=True, default=None, help="Off loopback without keys.")
@click.option(
    "--allow-faults", is_flag=True, default=None, help="Allow `fault inject` and `gameday`."
)
@click.option("--until-eof", is_flag=True, help="Stop when standard input ends.")
@click.pass_context
def start(ctx: click.Context, /, file: Path | None, until_eof: bool, **params: Any) -> None:
    """Run one node in the foreground; SIGTERM or ctrl-c stops it cleanly.

    With neither --peer nor --join it is a cluster of one. Settings come from --config, then
    TIERCLUSTER_* variables, then flags; later wins (docs/configuration.md). Once it serves it
    prints one line: ready, with its id and addresses.

    \b
    Example:
      tiercluster start
      tiercluster start --id n1 --listen 10.0.0.1:7701 --keys keys \\
          --peer n2=10.0.0.2:7801 --peer n3=10.0.0.3:7801
      tiercluster start --id n9 --listen 10.0.0.9:7701 --keys keys --join 10.0.0.1:7701
    """
    params["keys"] = params["keys"] or session_of(ctx).keys
    settings = load_or_stop(file, _flags(params)).settings
    _refuse_exposed(settings)
    _warn_wildcard(settings)
    _check_ports(settings)
    if until_eof:
        threading.Thread(target=_stop_at_eof, name="stdin", daemon=True).start()
    try:
        code = run_node(settings, lambda _: _say_ready(settings))
    except StartError as error:
        raise Stop(Code.FAILED, str(error)) from error
    ctx.exit(code)


def _say_ready(settings: NodeSettings) -> None:
    try:
        click.echo(ready_line(settings))
        sys.stdout.flush()
    except OSError:  # that nobody reads it is no reason not to serve
        drop_output()


def ready_line(settings: NodeSettings) -> str:
    """What `start` prints once it serves; `-` for what it does not have."""
    raft = "-" if settings.join else settings.raft
    return (
        f"ready id={settings.id} listen={settings.listen} raft={raft} http={settings.http or '-'}"
    )


def _refuse_exposed(settings: NodeSettings) -> None:
    open_to_all = exposed(settings)
    if open_to_all:
        raise Stop(
            Code.REFUSED,
            f"{' and '.join(open_to_all)} can be reached from other machines and there are no "
            "keys: make them with `tiercluster keygen --out DIR` and add `--keys DIR` (or "
            "--insecure, where the network itself is closed)",
        )


def _warn_wildcard(settings: NodeSettings) -> None:
    host, _ = address.split(settings.listen)
    if address.is_wildcard(host):
        click.echo(
            f"warning: others are told to connect to {settings.listen}, which leads them to "
            "themselves: --listen should be this machine's own address",
            err=True,
        )


def _check_ports(settings: NodeSettings) -> None:
    wanted = {"--listen": settings.listen, "--http": settings.http}
    if not settings.join:
        wanted["--raft"] = settings.raft
    for flag, where in wanted.items():
        problem = port_problem(where) if where else ""
        if problem:
            raise Stop(Code.FAILED, f"{flag} {where}: {problem}")


def _stop_at_eof() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
