"""`tiercluster top`: the status, live."""

from __future__ import annotations

import sys
import time
from typing import Any

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from tiercluster.cluster.errors import DeadlineExceeded, Unavailable

from .doors import ask_all, open_admin, up_members
from .options import Number, json_flag, reach_cluster
from .rendering import console, print_json, table
from .session import AdminDoor, session_of
from .status import TIER_COLUMNS, headline, notes, tier_rows
from .view import View, cluster_document

MAX_INTERVAL_S = 86_400


@click.command()
@click.option("--interval", type=Number(0.1, MAX_INTERVAL_S), default=1.0, show_default=True,
              metavar="S", help="Seconds between two looks.")  # fmt: skip
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N looks.")
@reach_cluster
@json_flag
@click.pass_context
def top(ctx: click.Context, interval: float, count: int | None, as_json: bool) -> None:
    """The cluster's status, renewed every second; ctrl-c ends it.

    The lookups a second of each tier are measured between two looks. With --json it prints one
    status document a line.

    \b
    Example:
      tiercluster top
      tiercluster top --interval 5 --count 12 --json >> status.jsonl
    """
    with open_admin(session_of(ctx)) as admin:
        try:
            _stream(admin, interval, count) if as_json else _live(admin, interval, count)
        except KeyboardInterrupt:
            return


def _look(admin: AdminDoor) -> View:
    tier_map = admin.hello()
    return View(tier_map, ask_all(admin, up_members(tier_map)))


def _stream(admin: AdminDoor, interval: float, count: int | None) -> None:
    _print(_look(admin))  # nobody reachable is said at once
    looks = 1
    while looks != count:
        time.sleep(interval)
        looks += 1
        try:
            _print(_look(admin))
        except (Unavailable, DeadlineExceeded) as error:
            click.echo(f"no member answers: {error}", err=True)


def _print(view: View) -> None:
    print_json(cluster_document(view), one_line=True)
    sys.stdout.flush()


def _live(admin: AdminDoor, interval: float, count: int | None) -> None:
    before, before_at, looks = _look(admin), time.monotonic(), 1
    out = console()
    with Live(frame(before, {}), console=out, auto_refresh=False, screen=out.is_terminal) as live:
        while looks != count:
            time.sleep(interval)
            looks += 1
            try:
                view, now = _look(admin), time.monotonic()
            except (Unavailable, DeadlineExceeded) as error:
                live.update(frame(before, {}, f"no member answers: {error}"), refresh=True)
                continue
            live.update(frame(view, lookups_per_s(before, view, now - before_at)), refresh=True)
            before, before_at = view, now
    if not out.is_terminal:
        out.print()  # the last picture ends without a line end


def frame(view: View, rates: dict[str, float], trouble: str = "") -> Group:
    """One picture: headline, what should be known, the tiers."""
    rows = [(*row, _rate(rates.get(str(row[0])))) for row in tier_rows(view)]
    lines = [Text(headline(view), style="bold")]
    lines += [Text(note, style="yellow") for note in notes(view)]
    if trouble:
        lines.append(Text(trouble, style="bold red"))
    return Group(*lines, Text(""), table((*TIER_COLUMNS, "#lookups/s"), rows))


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.0f}"


def lookups_per_s(before: View, after: View, seconds: float) -> dict[str, float]:
    """By tier ref; a tier whose counters went back (a restart) or that was not asked has none."""
    old, new = _lookups(before), _lookups(after)
    return {
        ref: (count - old[ref]) / seconds
        for ref, count in new.items()
        if ref in old and count >= old[ref] and seconds > 0
    }


def _lookups(view: View) -> dict[str, int]:
    tiers: list[dict[str, Any]] = [
        tier
        for node in cluster_document(view)["nodes"]
        if node["id"] in view.said
        for tier in node["tiers"]
    ]
    return {tier["ref"]: tier["hits"] + tier["misses"] for tier in tiers}
