"""`tiercluster node`: whole nodes."""

from __future__ import annotations

import click

from tiercluster.tiermap import RemoveNode

from . import change
from .doors import look, open_admin
from .options import json_flag, reach_cluster, wait_flags
from .rendering import print_json, print_table
from .session import session_of
from .view import node_list_document


@click.group()
def node() -> None:
    """Whole nodes: list them, take them out of service, put them back, remove them.

    \b
    Example:
      tiercluster node drain n2 --wait     # before maintenance
      tiercluster node restore n2 --wait   # after it
    """


@node.command("list")
@reach_cluster
@json_flag
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """All nodes with state, address and the states of their tiers.

    \b
    Example:
      tiercluster node list
    """
    document = node_list_document(look(session_of(ctx)))
    if as_json:
        print_json(document)
        return
    columns = ("id", "state", "address", "raft", "#weight", "hot", "warm", "cold", "reason")
    print_table(columns, [_row(one) for one in document])


def _row(node: dict[str, object]) -> tuple[object, ...]:
    tiers = node["tiers"]
    assert isinstance(tiers, dict)
    named = (node["id"], node["state"], node["address"], node["raft"] or "follower")
    return (*named, f"{node['weight']:g}", *tiers.values(), node["reason"])


@node.command()
@click.argument("id_", metavar="ID")
@click.option("--force", is_flag=True, help="Even if the guard finds it unsafe.")
@wait_flags
@reach_cluster
@json_flag
@click.pass_context
def drain(
    ctx: click.Context, id_: str, force: bool, wait: bool, timeout: float, as_json: bool
) -> None:
    """Take all tiers of a node out of service; its keys move to the other nodes.

    \b
    Example:
      tiercluster node drain n2 --wait
    """
    wait_s = timeout if wait else None
    target = change.whole_node(id_)
    change.drain(session_of(ctx), target, force=force, wait_s=wait_s, as_json=as_json)


@node.command()
@click.argument("id_", metavar="ID")
@wait_flags
@reach_cluster
@json_flag
@click.pass_context
def restore(ctx: click.Context, id_: str, wait: bool, timeout: float, as_json: bool) -> None:
    """Put all tiers of a node back, through probes.

    \b
    Example:
      tiercluster node restore n2 --wait --timeout 30
    """
    wait_s = timeout if wait else None
    change.restore(session_of(ctx), change.whole_node(id_), wait_s=wait_s, as_json=as_json)


@node.command()
@click.argument("id_", metavar="ID")
@click.option("--force", is_flag=True, help="Even while it is UP.")
@reach_cluster
@json_flag
@click.pass_context
def remove(ctx: click.Context, id_: str, force: bool, as_json: bool) -> None:
    """Take a node out of the cluster for good (LEFT); refused while it is UP.

    \b
    Example:
      tiercluster node remove n3
    """
    with open_admin(session_of(ctx)) as admin:
        change.find_member(admin.hello(), id_)
        command = RemoveNode(node=id_, force=force, **change.envelope())  # type: ignore[arg-type]
        decided = change.propose(admin, command, id_)
        member = change.find_member(change.map_at(admin, decided.version), id_)
    already = decided.code == "noop"
    if as_json:
        version = {"version": decided.version, "already": already}
        print_json({**version, "id": member.id, "state": str(member.state)})
        return
    word = "already " if already else ""
    click.echo(f"{member.id} is {word}{member.state} (map version {decided.version})")
