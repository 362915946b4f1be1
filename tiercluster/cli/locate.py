"""`tiercluster locate`: where a key lives now, and why there."""

from __future__ import annotations

from typing import Any

import click

from tiercluster.tiermap import TIERS

from .clients import open_client
from .options import deadline_flag, json_flag, namespace_flag, reach_cluster
from .rendering import print_json, print_table
from .session import session_of


@click.command()
@click.argument("key")
@namespace_flag
@deadline_flag
@reach_cluster
@json_flag
@click.pass_context
def locate(ctx: click.Context, key: str, namespace: str, timeout: float, as_json: bool) -> None:
    """Where KEY lives now, and what was passed over on the way there.

    Computed from the ring and the tier map, so it answers for keys that do not exist too.

    \b
    Example:
      tiercluster locate user:42
      tiercluster locate user:42 --json | jq -r .owner
    """
    with open_client(session_of(ctx), namespace, timeout) as client:
        placement = client.explain(key)
    if as_json:
        print_json(_document(key, placement))
        return
    version = placement.version
    click.echo(f"{key} is owned by {placement.owner or 'nobody'} (map version {version})")
    click.echo(f"preference: {', '.join(placement.preference)}")
    click.echo()
    print_table(("tier", "its work goes to"), _rows(placement))
    if placement.skipped:
        click.echo()
        print_table(("passed over", "because"), sorted(placement.skipped.items()))


def _document(key: str, placement: Any) -> dict[str, Any]:
    return {
        "key": key,
        "owner": placement.owner or None,
        "preference": list(placement.preference),
        "tiers": {str(tier): placement.tiers.get(str(tier)) for tier in TIERS},
        "version": placement.version,
    }


def _rows(placement: Any) -> list[tuple[str, str]]:
    return [(str(tier), placement.tiers.get(str(tier)) or "nowhere") for tier in TIERS]
