"""`tiercluster doctor`: what is wrong here and in the cluster, and what to do."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from tiercluster.cluster.errors import TierclusterError
from tiercluster.node.settings import NodeSettings

from . import findings
from .config import ConfigError, exposed, load
from .doors import ask_all, open_admin, up_members
from .exits import Code
from .findings import FAIL, OK, WARN, Finding
from .options import json_flag, reach_cluster
from .ports import port_problem
from .rendering import print_json, print_table
from .session import AdminDoor, Session, session_of
from .view import View


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), envvar="TIERCLUSTER_CONFIG",
              metavar="FILE", help="Of the node on this machine.")  # fmt: skip
@reach_cluster
@json_flag
@click.pass_context
def doctor(ctx: click.Context, file: Path | None, as_json: bool) -> None:
    """Diagnose this machine and the cluster; each line is ok, warn or fail, with what to do.

    Exit 1 if anything fails.

    \b
    Example:
      tiercluster doctor
      tiercluster doctor --config node.toml --cluster 10.0.0.1:7701
    """
    found = list(_all(session_of(ctx), file))
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        rows = [(one.level, one.check, one.text, one.advice) for one in found]
        print_table(("result", "check", "found", "what to do"), rows)
    ctx.exit(Code.FAILED if any(one.level == FAIL for one in found) else Code.DONE)


def _all(session: Session, file: Path | None) -> Iterator[Finding]:
    try:
        settings = load(file, os.environ).settings
    except ConfigError as error:
        yield from (Finding(FAIL, "configuration", p, "correct it") for p in error.problems)
        settings = None
    else:
        yield Finding(OK, "configuration", str(file) if file else "defaults and environment")
    yield findings.file_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    with open_admin(session) as admin:
        if settings is not None:
            yield from machine(settings, admin)
        yield from _cluster(session, admin)


def machine(settings: NodeSettings, admin: AdminDoor) -> Iterator[Finding]:
    """What a node with these settings would find on this machine."""
    for where in exposed(settings):
        advice = "`tiercluster keygen --out DIR`, then --keys DIR"
        yield Finding(FAIL, "keys", f"{where} is open to the network and has no keys", advice)
    yield _data(settings.data)
    running = _node_at(admin, settings.listen)
    wanted = (("listen", settings.listen), ("raft", settings.raft), ("http", settings.http))
    for name, where in wanted:
        if where:
            yield _port(name, where, running)


def _data(directory: Path) -> Finding:
    existing = directory
    try:
        existing = next(p for p in (directory, *directory.absolute().parents) if p.exists())
        if not existing.is_dir():
            return Finding(FAIL, "data", f"{existing} is no directory", "give --data DIR")
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        text = f"cannot write to {existing}: {error.strerror}"
        return Finding(FAIL, "data", text, "give the node's user the right to, or another --data")
    word = "can be written" if existing == directory else "can be made"
    return Finding(OK, "data", f"{directory} {word}")


def _node_at(admin: AdminDoor, where: str) -> str:
    """The id of the node that answers there; empty if none does."""
    try:
        said = admin.status_of(where)
    except TierclusterError:
        return ""
    return str(said.get("id", "")) if said else ""


def _port(name: str, where: str, running: str) -> Finding:
    problem = port_problem(where)
    if not problem:
        return Finding(OK, f"port {name}", f"{where} is free")
    if running:
        return Finding(OK, f"port {name}", f"{where} is in use; node {running} runs here")
    advice = "stop what uses it, or choose another one"
    return Finding(FAIL, f"port {name}", f"{where}: {problem.partition(';')[0]}", advice)


def _cluster(session: Session, admin: AdminDoor) -> Iterator[Finding]:
    try:
        tier_map = admin.hello()
        view = View(tier_map, ask_all(admin, up_members(tier_map)))
        events = admin.events(0)
    except TierclusterError as error:
        advice = "start a node, or name a member with --cluster HOST:PORT"
        yield Finding(FAIL, "cluster", str(error), advice)
        return
    for where in session.addresses:
        if not _node_at(admin, where):
            advice = "remove it from --cluster, or look at that machine"
            yield Finding(WARN, "cluster", f"no answer from {where}", advice)
    yield Finding(OK, "cluster", f"{tier_map.cluster}, {len(tier_map.members)} members")
    yield from findings.cluster(view, events, time.time())
