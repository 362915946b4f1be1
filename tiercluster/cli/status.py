"""`tiercluster status`: the cluster at a glance."""

from __future__ import annotations

import click

from tiercluster.cluster.ring import SLOTS
from tiercluster.tiermap import LEVEL, Member

from .doors import look
from .options import json_flag, reach_cluster
from .rendering import print_json, print_table
from .session import session_of
from .units import short_size, short_time
from .view import Said, View, cluster_document, hit_ratio


@click.command()
@reach_cluster
@json_flag
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Nodes, tiers, states, sizes, hit ratios, leader, map version and quorum.

    The map comes from any member that answers, the numbers from each node that is UP. Nodes that
    do not answer show zeros; they are never an error.

    \b
    Example:
      tiercluster status
      tiercluster status --json | jq -r '.nodes[].tiers[] | select(.state != "UP") | .ref'
    """
    view = look(session_of(ctx))
    if as_json:
        print_json(cluster_document(view))
        return
    click.echo(headline(view))
    for note in notes(view):
        click.echo(note)
    click.echo()
    print_table(TIER_COLUMNS, tier_rows(view))


WITHOUT_QUORUM = {
    "serve": "; it answers all the same, and what it reads may be old (on_quorum_loss is serve)",
    "read_only": "; it reads all the same, which may be old, and refuses writes (read_only)",
    "fence": "; it answers nothing without (fence)",
}
TIER_COLUMNS = (
    "ref", "state", "#gen", "#entries", "#size", "#of", "#hits", "#misses", "#hit ratio",
)  # fmt: skip


def headline(view: View) -> str:
    """The first line of the view."""
    document = cluster_document(view)
    nodes = document["nodes"]
    up = sum(node["state"] == "UP" for node in nodes)
    present = sum(node["state"] != "LEFT" for node in nodes)
    return (
        f"cluster {document['cluster']}   map version {document['version']}   "
        f"leader {document['leader'] or 'none'}   quorum {'yes' if document['quorum'] else 'NO'}   "
        f"nodes {up}/{present} UP"
    )


def notes(view: View) -> list[str]:
    """A line for each thing that the table does not show and somebody should know."""
    found: list[str] = []
    for member in view.map.members:
        said = view.said.get(member.id)
        if member.state != "UP":
            found.append(f"{member.id} is {member.state}" + _because(member.reason))
        elif said is None:
            found.append(f"{member.id} is UP in the map and does not answer at {member.address}")
        elif not said.get("serving", True):
            found.append(f"{member.id} does not serve" + _because(said.get("serving_reason", "")))
        found += copy_notes(member, said or {})
        if said and said.get("note"):
            found.append(f"{member.id}: {said['note']}")
        if said and said.get("digest_mismatches"):
            times = said["digest_mismatches"]
            found.append(f"{member.id} has found {times} times that another member's state differs")
        if said and not said.get("quorum", True):
            age = short_time(float(said.get("map_age_s", 0)))
            meaning = WITHOUT_QUORUM.get(str(said.get("on_quorum_loss")), "")
            found.append(f"{member.id} sees no quorum; its map is {age} old{meaning}")
    return [*found, *_write_ack_note(view), *_level_note(view)]


def _write_ack_note(view: View) -> list[str]:
    """Who answers before its copies have it: there the promise is a weaker one."""
    weak = [m.id for m in view.map.members if view.said.get(m.id, {}).get("write_ack") == "owner"]
    if not weak or view.map.copies == 1:
        return []
    return [f"write_ack is owner at {', '.join(weak)}: what was just written may be lost, and "
            "older values read, when another node takes over"]  # fmt: skip


def _level_note(view: View) -> list[str]:
    """Who keeps the cluster at an older level than this command knows of."""
    level = view.map.level
    members = (m.id for m in view.map.members if m.state != "LEFT")
    older = [node for node in members if int(view.said.get(node, {}).get("speaks", 1)) <= level]
    if level >= LEVEL or not older:
        return []
    return [f"the cluster runs at level {level} until these run newer software: {', '.join(older)}"]


def copy_notes(member: Member, said: Said) -> list[str]:
    """What a node tells of the copies that it keeps."""
    counters = said.get("counters", {})
    found = []
    if to_come := counters.get("slots_to_fill", 0):
        what = "what it will own" if member.filling else "copies"
        found.append(f"{member.id} is taking {what}: {to_come} of {SLOTS} slots are to come")
    if member.apart:
        named = ", ".join(member.apart)
        found.append(f"{member.id} keeps no copies for {named}: their writes do not reach it")
    if stale := counters.get("copies_stale", 0):
        found.append(f"{member.id} has found {stale} copies older than what their owners have; "
                     "this is a bug")  # fmt: skip
    return found


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def tier_rows(view: View) -> list[tuple[object, ...]]:
    """The rows of TIER_COLUMNS; numbers that nobody told are dashes."""
    rows: list[tuple[object, ...]] = []
    for node in cluster_document(view)["nodes"]:
        if node["state"] == "LEFT":
            continue
        for tier in node["tiers"]:
            numbers: tuple[object, ...] = ("-",) * 6
            if node["id"] in view.said:
                numbers = (
                    tier["entries"],
                    short_size(tier["bytes"]),
                    short_size(tier["capacity_bytes"]),
                    tier["hits"],
                    tier["misses"],
                    hit_ratio(tier["hits"], tier["misses"]),
                )
            rows.append((tier["ref"], tier["state"], tier["generation"], *numbers))
    return rows
