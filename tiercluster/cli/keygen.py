"""`tiercluster keygen`: the keys of a cluster, its nodes, clients and operators."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import click
import zmq

from tiercluster.cluster.keyfiles import ADMINS, CLIENTS, CLUSTER, NODES, PUBLIC, SECRET

from .exits import Code, Stop
from .options import json_flag
from .rendering import print_json


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("tiercluster-keys"),
    show_default=True,
    metavar="DIR",
    help="Where to write them.",
)
@click.option("--node", "nodes", multiple=True, metavar="ID", help="[default: n1 n2 n3]")
@click.option("--client", "clients", multiple=True, metavar="NAME", help="[default: client]")
@click.option("--admin", "admins", multiple=True, metavar="NAME", help="[default: admin]")
@json_flag
def keygen(
    out: Path,
    nodes: tuple[str, ...],
    clients: tuple[str, ...],
    admins: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make CURVE keys for nodes, clients and operators.

    A key that is there already is kept, so more can be added to the same directory. Give nodes
    the directory without the other nodes' secrets; give a client cluster.pub and its own pair.
    Only keys in admins/ may drain, restore, remove and inject faults.

    \b
    Example:
      tiercluster keygen --out keys --node n1 --node n2 --node n3
      tiercluster start --id n1 --listen 10.0.0.1:7701 --keys keys
      tiercluster status --cluster 10.0.0.1:7701 --keys keys
    """
    if not zmq.has("curve"):
        raise Stop(Code.FAILED, "this libzmq was built without CURVE; install pyzmq's own wheel")
    asked = any((nodes, clients, admins))
    wanted = [CLUSTER] + [
        f"{folder}/{_name(name)}"
        for folder, names, default in (
            (NODES, nodes, ("n1", "n2", "n3")),
            (CLIENTS, clients, ("client",)),
            (ADMINS, admins, ("admin",)),
        )
        for name in names or (() if asked and out.exists() else default)
    ]
    made = [stem for stem in wanted if _make(out / stem)]
    if as_json:
        print_json({"directory": str(out), "made": made, "kept": _without(wanted, made)})
        return
    for stem in made:
        click.echo(f"made {out / stem}{PUBLIC} and {SECRET}")
    for stem in _without(wanted, made):
        click.echo(f"kept {out / stem}{PUBLIC}")


def _without(names: Iterable[str], gone: list[str]) -> list[str]:
    return [name for name in names if name not in gone]


def _name(name: str) -> str:
    if not name or name.startswith(".") or not all(c.isalnum() or c in "-_." for c in name):
        raise click.UsageError(f"{name!r} is no name: letters, digits, '-', '_' or '.'")
    return name


def _make(stem: Path) -> bool:
    """Whether a pair was made; one that is there is never replaced."""
    public, secret = (stem.with_name(stem.name + end) for end in (PUBLIC, SECRET))
    if public.exists():
        return False
    stem.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    public_key, secret_key = zmq.curve_keypair()
    # The secret first: a public key alone would look like a pair that is complete.
    _write(secret, secret_key, 0o600)
    _write(public, public_key, 0o644)
    return True


def _write(file: Path, key: bytes, mode: int) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(key + b"\n")
