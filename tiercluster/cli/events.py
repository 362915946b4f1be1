"""`tiercluster events`: what the cluster decided, and what it decides as it happens."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import datetime

import click

from tiercluster.cluster.errors import DeadlineExceeded, Unavailable
from tiercluster.tiermap import Event, event_to_json

from .doors import open_admin
from .options import json_flag, reach_cluster
from .rendering import print_json, print_table
from .session import AdminDoor, session_of

FOLLOW_S = 5.0  # how long one question for news may take
RETRY_S = 0.5  # before the cluster is asked again when nobody answered

EVENT_COLUMNS = ("#version", "time", "ref", "from", "to", "by", "reason", "evidence")


def event_row(event: Event) -> tuple[object, ...]:
    """One row of EVENT_COLUMNS, in local time."""
    evidence = " ".join(f"{name}={value}" for name, value in event.evidence)
    named = (event.version, _clock_time(event.time), event.ref, event.from_state or "-")
    return (*named, event.to_state, event.by, event.reason, evidence)


def _clock_time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds).isoformat(" ", "milliseconds")
    except (ValueError, OverflowError, OSError):  # another machine's clock can say anything
        return "?"


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens; ctrl-c ends it.")
@click.option(
    "--since",
    type=click.IntRange(min=0),
    default=0,
    metavar="VERSION",
    help="Only what came after this map version.",
)
@reach_cluster
@json_flag
@click.pass_context
def events(ctx: click.Context, follow: bool, since: int, as_json: bool) -> None:
    """Committed changes of the tier map, oldest first; with --json one object a line.

    The cluster remembers the last 1000. To go on where a script stopped, give --since the last
    version it saw.

    \b
    Example:
      tiercluster events --since 40
      tiercluster events --follow --json | jq -c '[.ref, .from, .to, .reason]'
    """
    session = session_of(ctx)
    with open_admin(session) as admin:
        found = admin.events(since)
        if not follow:
            _print_all(found, as_json)
            return
        try:
            for event in following(admin, found, since):
                _print_one(event, as_json)
        except KeyboardInterrupt:
            return


def following(admin: AdminDoor, found: list[Event], since: int) -> Iterator[Event]:
    """These events and then each new one, without end; says on stderr when nobody answers."""
    seen = watched = since
    while True:
        for event in found:
            seen = max(seen, event.version)
            yield event
        watched = max(seen, _wait_for_news(admin, watched))
        found = _asked(admin, seen)


def _wait_for_news(admin: AdminDoor, version: int) -> int:
    """The version of the newest map; some have no event, so it is not that of the last event."""
    try:
        return admin.watch(version, FOLLOW_S).version
    except (Unavailable, DeadlineExceeded) as error:
        click.echo(f"waiting for the cluster: {error}", err=True)
        time.sleep(RETRY_S)
        return version


def _asked(admin: AdminDoor, seen: int) -> list[Event]:
    try:
        return admin.events(seen)
    except (Unavailable, DeadlineExceeded):  # the next wait says so
        return []


def _print_all(found: list[Event], as_json: bool) -> None:
    if as_json:
        for event in found:
            print_json(event_to_json(event), one_line=True)
    else:
        print_table(EVENT_COLUMNS, [event_row(event) for event in found])


def _print_one(event: Event, as_json: bool) -> None:
    if as_json:
        print_json(event_to_json(event), one_line=True)
    else:
        click.echo("  ".join(str(cell) for cell in event_row(event)))
    sys.stdout.flush()
