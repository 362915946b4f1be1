"""`tiercluster gameday`: faults on a cluster of one's own, checked traffic, a verdict."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import click

from .demo_view import Teller
from .doors import look
from .exits import Code, Stop
from .gameday_plan import ALL, SCENARIOS, Plan, Spot, Wish, make_plan
from .gameday_report import COLUMNS, Report, Round
from .gameday_run import GameDay
from .options import Number, json_flag, reach_cluster
from .rendering import print_json, print_table
from .session import Session, session_of
from .units import read_size

SHORTEST_S, LONGEST_S = 1.0, 60.0  # of a fault: to be noticed, and what a node takes


@click.command()
@click.option(
    "--scenario",
    "scenarios",
    type=click.Choice((*SCENARIOS, ALL)),
    multiple=True,
    default=("eio",),
    show_default=True,
    help="What goes wrong; may be given several times.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="NODE or NODE/TIER",
    help="Where. [default: a node that allows faults, and its cold tier]",
)
@click.option(
    "--duration",
    type=Number(SHORTEST_S, LONGEST_S),
    default=5.0,
    show_default=True,
    metavar="S",
    help="How long each fault lasts, in seconds.",
)
@click.option(
    "--blast-radius",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="The most nodes that may be touched.",
)
@click.option(
    "--timeout",
    type=Number(min=0),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Seconds to wait for recovery after each fault.",
)
@click.option(
    "--fill",
    default="1GiB",
    show_default=True,
    callback=read_size,
    metavar="SIZE",
    help="The most that may be written for a lower tier to have work.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan, or why there is none; do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@reach_cluster
@json_flag
@click.pass_context
def gameday(
    ctx: click.Context,
    scenarios: tuple[str, ...],
    targets: tuple[str, ...],
    duration: float,
    blast_radius: int,
    timeout: float,
    fill: int,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Break something on purpose and check that the cluster keeps its promises.

    Prints what will be touched and for how long, plays traffic in a namespace of its own, injects
    the fault, watches failover and recovery, and judges what every read returned. Refused (exit 6)
    if a node was started without --allow-faults, if the cluster is not well, or if the guard would
    not allow the loss. Faults end by themselves; ctrl-c ends them at once. Exit 1 if a promise was
    not kept.

    \b
    Example:
      tiercluster gameday --dry-run
      tiercluster gameday --scenario eio --target n2/cold --yes
      tiercluster gameday --scenario all --target n2 --json --yes > report.json
    """
    session = session_of(ctx)
    wish = Wish(
        scenarios=scenarios,
        targets=tuple(map(Spot.parse, targets)),
        duration_s=duration,
        blast_radius=blast_radius,
        fill_limit=fill,
        namespace=f"gameday-{uuid.uuid4().hex[:8]}",
    )
    plan = make_plan(look(session), wish)
    if dry_run:
        _show_plan(plan, as_json)
        return
    for line in plan.lines():
        click.echo(line, err=as_json)
    _ask(yes)
    report = _play(session, plan, timeout, as_json)
    if as_json:
        print_json(report.document())
    else:
        _show(report)
    ctx.exit(Code.DONE if report.is_good else Code.FAILED)


def _show_plan(plan: Plan, as_json: bool) -> None:
    if as_json:
        print_json(plan.document())
        return
    for line in plan.lines():
        click.echo(line)


def _ask(is_sure: bool) -> None:
    if is_sure:
        return
    try:
        is_sure = click.confirm("Go?", err=True)
    except click.Abort:  # nobody is there to answer
        click.echo(err=True)
    if not is_sure:
        raise Stop(Code.REFUSED, "not confirmed, nothing was touched; --yes does not ask")


def _play(session: Session, plan: Plan, timeout_s: float, as_json: bool) -> Report:
    teller = Teller(to_stderr=as_json)
    with _interruptible():
        rounds: list[Round] = list(GameDay(session, plan, timeout_s, teller).play())
    return Report(plan, rounds)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and ctrl-c end the faults on their way out, also where a shell had us ignore them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(report: Report) -> None:
    click.echo()
    print_table(COLUMNS, report.rows())
    click.echo()
    for line in report.lines():
        click.echo(line)
