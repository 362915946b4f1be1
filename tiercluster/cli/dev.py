"""`tiercluster dev`: a whole local cluster in one command, each node a process of its own."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click

from .exits import Code, Stop
from .ports import port_problem
from .processes import (
    Ended,
    NodePlan,
    Nodes,
    Ready,
    StopAsked,
    common,
    how_it_ended,
    last_line,
)

HOST = "127.0.0.1"
MAX_NODES = 100  # beyond it the client ports would run into the Raft ports
MAX_VOTERS = 5
READY_S = 60.0
RAFT_OFFSET, HTTP_OFFSET = 100, 200


def plans(nodes: int, port: int, data: Path, extra: Sequence[str] = ()) -> tuple[NodePlan, ...]:
    """The nodes of a local cluster. All vote, of more than MAX_VOTERS only that many; the rest
    follow."""
    voters = range(min(nodes, MAX_VOTERS))
    return tuple(_plan(i, i in voters, voters, port, data, extra) for i in range(nodes))


def _plan(
    i: int, votes: bool, voters: range, port: int, data: Path, extra: Sequence[str]
) -> NodePlan:
    node, listen, http = f"n{i + 1}", f"{HOST}:{port + i}", f"{HOST}:{port + HTTP_OFFSET + i}"
    arguments = ["--id", node, "--listen", listen, "--http", http, "--data", str(data / node)]
    if votes:
        arguments += ["--raft", f"{HOST}:{port + RAFT_OFFSET + i}"]
        for other in voters:
            if other != i:
                arguments += ["--peer", f"n{other + 1}={HOST}:{port + RAFT_OFFSET + other}"]
    else:
        arguments += ["--join", f"{HOST}:{port}"]
    return NodePlan(node, listen, http, data / node, (*arguments, "--until-eof", *extra))


@click.command()
@click.option(
    "--nodes", type=click.IntRange(1, MAX_NODES), default=3, show_default=True, help="How many."
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535 - HTTP_OFFSET - MAX_NODES),
    default=7701,
    show_default=True,
    help="Of the first node; Raft is at +100, HTTP at +200.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Kept at the end. [default: a temporary directory, removed]",
)
@click.option("--hot", metavar="SIZE", help="Memory of each hot tier.")
@click.option("--warm", metavar="SIZE", help="Memory of each warm tier.")
@click.option("--cold", metavar="SIZE", help="Disk of each cold tier.")
@click.option("--replicas", metavar="N", help="Nodes that hold each entry, 1 to 3.")
@click.option("--allow-faults", is_flag=True, help="Allow `fault inject` and `gameday`.")
@click.pass_context
def dev(
    ctx: click.Context,
    nodes: int,
    port: int,
    data: Path | None,
    hot: str | None,
    warm: str | None,
    cold: str | None,
    replicas: str | None,
    allow_faults: bool,
) -> None:
    """Run a whole local cluster, each node a process of its own; ctrl-c stops all.

    Node i is called ni and listens on PORT+i-1 (clients), PORT+99+i (Raft) and PORT+199+i (HTTP);
    its files and its log are in DIR/ni. Of more than five nodes, five vote and the rest follow. A
    node that dies is reported and the others go on, so that you can try it: kill -9 its process.

    \b
    Example:
      tiercluster dev
      tiercluster dev --nodes 5 --data ./cluster --cold 1GiB --allow-faults
    """
    extra = common((("--hot", hot), ("--warm", warm), ("--cold", cold), ("--replicas", replicas)))
    extra += ("--allow-faults",) if allow_faults else ()
    directory = data or Path(tempfile.mkdtemp(prefix="tiercluster-dev-"))
    try:
        ctx.exit(run(plans(nodes, port, directory.resolve(), extra), is_kept=data is not None))
    finally:
        if data is None:
            shutil.rmtree(directory, ignore_errors=True)


def run(cluster: Sequence[NodePlan], *, is_kept: bool) -> int:
    """Start the nodes, say when all serve, watch them until we are told to stop."""
    _check_ports(cluster)
    nodes = Nodes()
    previous = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}
    for number in previous:
        signal.signal(number, lambda *_: nodes.news.tell(StopAsked()))
    try:
        with nodes.news.woken_by_signals():
            _run_until_stopped(nodes, cluster, is_kept)
    finally:
        _words("stopping")
        for node in nodes.stop_all():
            _words(f"{node} did not stop in time and was killed")
        for number, handler in previous.items():
            signal.signal(number, handler)
    return Code.DONE


def _run_until_stopped(nodes: Nodes, cluster: Sequence[NodePlan], is_kept: bool) -> None:
    for plan in cluster:
        pid = nodes.start(plan)
        _words(f"{plan.id} pid={pid} listen={plan.listen} http={plan.http} log={plan.log}")
    if _until_ready(nodes, cluster):
        click.echo(_ready_line(cluster))
        sys.stdout.flush()
        _words("data is kept" if is_kept else "data is temporary and removed at the end")
        _words("ctrl-c stops all; try `tiercluster status` in another terminal")
        _watch(nodes, cluster)


def _words(text: str) -> None:
    click.echo(text, err=True)


def _ready_line(cluster: Sequence[NodePlan]) -> str:
    ids, addresses = ",".join(p.id for p in cluster), ",".join(p.listen for p in cluster)
    return f"ready nodes={ids} cluster={addresses} data={cluster[0].data.parent}"


def _check_ports(cluster: Sequence[NodePlan]) -> None:
    for plan in cluster:
        for where in (plan.listen, plan.http):
            problem = port_problem(where)
            if problem:
                raise Stop(Code.FAILED, f"{where}: {problem} Another --port may be free")


def _until_ready(nodes: Nodes, cluster: Sequence[NodePlan]) -> bool:
    """True once all serve, False if we are to stop; a node that ends first ends it all."""
    waiting = {plan.id: plan for plan in cluster}
    deadline = time.monotonic() + READY_S
    while waiting:
        match nodes.news.take(deadline - time.monotonic()):
            case Ready(node):
                waiting.pop(node, None)
            case Ended(node, code):
                log = next(p.log for p in cluster if p.id == node)
                raise Stop(Code.FAILED, f"{node} {how_it_ended(code)}: {last_line(log)}")
            case StopAsked():
                return False
            case None:
                late = ", ".join(f"{plan.id} (see {plan.log})" for plan in waiting.values())
                raise Stop(Code.FAILED, f"not ready after {READY_S:g} s: {late}")
    return True


def _watch(nodes: Nodes, cluster: Sequence[NodePlan]) -> None:
    alive = {plan.id: plan for plan in cluster}
    while alive:
        match nodes.news.take():
            case Ended(node, code):
                plan = alive.pop(node)
                _words(f"{node} {how_it_ended(code)}; the others go on. Its log: {plan.log}")
            case StopAsked():
                return
    raise Stop(Code.FAILED, "no node is left")
