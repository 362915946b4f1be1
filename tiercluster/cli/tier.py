"""`tiercluster tier`: single tiers, out of service and back, and why they are what they are."""

from __future__ import annotations

from typing import Any

import click

from tiercluster.tiermap import Event, Member, TierMap, TierRef, event_to_json

from . import change
from .change import Target, parse_target
from .doors import look, open_admin
from .events import EVENT_COLUMNS, event_row
from .exits import Code
from .options import json_flag, reach_cluster, wait_flags
from .rendering import print_json, print_table
from .session import session_of
from .units import short_size
from .view import hit_ratio, reason_of, state_of, tier_list_document


@click.group()
def tier() -> None:
    """Single tiers: out of service and back, and why they are what they are.

    REF is NODE/TIER, such as n2/cold, or NODE/* for all tiers of a node (quote the star).

    \b
    Example:
      tiercluster tier list
      tiercluster tier drain n2/cold --wait
    """


@tier.command("list")
@reach_cluster
@json_flag
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """All tiers with state, reason and the map version that made them so.

    \b
    Example:
      tiercluster tier list
      tiercluster tier list --json | jq -r '.[] | [.ref, .state] | @tsv'
    """
    document = tier_list_document(look(session_of(ctx)))
    if as_json:
        print_json(document)
        return
    columns = ("ref", "state", "#gen", "#since", "#entries", "#size", "#hit ratio", "reason")
    print_table(columns, [_row(tier) for tier in document])


def _row(tier: dict[str, Any]) -> tuple[object, ...]:
    return (
        tier["ref"],
        tier["state"],
        tier["generation"],
        tier["since_version"],
        tier["entries"],
        short_size(tier["bytes"]),
        hit_ratio(tier["hits"], tier["misses"]),
        tier["reason"],
    )


@tier.command()
@click.argument("ref")
@click.option("--force", is_flag=True, help="Even if the guard finds it unsafe.")
@wait_flags
@reach_cluster
@json_flag
@click.pass_context
def drain(
    ctx: click.Context, ref: str, force: bool, wait: bool, timeout: float, as_json: bool
) -> None:
    """Take tiers out of service by hand: DRAINING, then DRAINED.

    Nothing new is placed there, what it holds is moved while it can still be read. The cluster
    refuses (exit 6) if too little would be left; --force overrules that. What is drained already
    stays so (exit 0). With --wait it returns once DRAINED; a disk may then be pulled.

    \b
    Example:
      tiercluster tier drain n2/cold --wait --timeout 120
    """
    wait_s = timeout if wait else None
    target = parse_target(ref)
    change.drain(session_of(ctx), target, force=force, wait_s=wait_s, as_json=as_json)


@tier.command()
@click.argument("ref")
@wait_flags
@reach_cluster
@json_flag
@click.pass_context
def restore(ctx: click.Context, ref: str, wait: bool, timeout: float, as_json: bool) -> None:
    """Put tiers back: RECOVERING, and UP once probes through the real path succeeded.

    Ends a drain, and has a tier that is DOWN, or latched after too many relapses, probed anew.

    \b
    Example:
      tiercluster tier restore n2/cold --wait
    """
    wait_s = timeout if wait else None
    change.restore(session_of(ctx), parse_target(ref), wait_s=wait_s, as_json=as_json)


@tier.command()
@click.argument("ref")
@reach_cluster
@json_flag
@click.pass_context
def probe(ctx: click.Context, ref: str, as_json: bool) -> None:
    """Write, read back, verify and delete a probe entry now, on the owning node.

    Exit 1 if a probe failed. The tier's state does not change by it. A tier whose breaker has just
    opened is probed as soon as that is half-open; if that takes too long, the failure is not_now.

    \b
    Example:
      tiercluster tier probe n2/cold
    """
    target = parse_target(ref)
    with open_admin(session_of(ctx)) as admin:
        change.find_target(admin.hello(), target)
        found = [_probed(admin.probe(r.node, str(r.tier)), r) for r in target.refs]
    if as_json:
        print_json(found if len(found) > 1 else found[0])
    else:
        print_table(("ref", "result", "#took ms", "failure"), [_probe_row(p) for p in found])
    ctx.exit(Code.DONE if all(p["ok"] for p in found) else Code.FAILED)


def _probed(said: dict[str, Any], ref: TierRef) -> dict[str, Any]:
    return {"ref": str(ref), "ok": bool(said.get("ok")), **said}


def _probe_row(probed: dict[str, Any]) -> tuple[object, ...]:
    took_ms = probed.get("took_ms")
    failure = ": ".join(str(probed[key]) for key in ("failure", "detail") if probed.get(key))
    took = f"{took_ms:.2f}" if isinstance(took_ms, int | float) else "-"
    return probed["ref"], "ok" if probed["ok"] else "fail", took, failure


@tier.command()
@click.argument("ref")
@reach_cluster
@json_flag
@click.pass_context
def why(ctx: click.Context, ref: str, as_json: bool) -> None:
    """The committed decisions about a tier, with their evidence, newest last.

    Decisions about its whole node are among them, for they decide about the tier too.

    \b
    Example:
      tiercluster tier why n2/cold
    """
    target = parse_target(ref)
    with open_admin(session_of(ctx)) as admin:
        tier_map = admin.hello()
        change.find_target(tier_map, target)
        history = admin.events(0)
    found = [explained(tier_map, one, history) for one in target.refs]
    if as_json:
        documents = [_why_document(one) for one in found]
        print_json(documents if len(documents) > 1 else documents[0])
        return
    for one in found:
        _print_why(one)


def explained(tier_map: TierMap, ref: TierRef, history: list[Event]) -> dict[str, Any]:
    """The present state of a tier and the events that led to it."""
    member: Member = change.find_target(tier_map, Target(ref.node, (ref.tier,)))
    record = member.tier(ref.tier)
    return {
        "ref": str(ref),
        "state": str(state_of(member, record)),
        "generation": record.generation,
        "suspect": record.suspect,
        "reason": reason_of(member, record),
        "by": record.by,
        "since_version": record.since_version,
        "evidence": dict(record.evidence),
        "history": [e for e in history if e.ref in (str(ref), ref.node)],
    }


def _why_document(found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "history": [event_to_json(event) for event in found["history"]]}


def _print_why(found: dict[str, Any]) -> None:
    suspect = "   SUSPECT: its failover was refused by the guard" if found["suspect"] else ""
    click.echo(f"{found['ref']}   {found['state']}   generation {found['generation']}{suspect}")
    if found["reason"]:
        click.echo(f"since version {found['since_version']}: {found['reason']}")
    if not found["history"]:
        click.echo("no decision about it is remembered")
        return
    click.echo()
    print_table(EVENT_COLUMNS, [event_row(event) for event in found["history"]])
