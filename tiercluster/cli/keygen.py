"""`tiercluster keygen`: the keys of a cluster, its nodes, its operator and its clients."""

from __future__ import annotations

import shutil
from pathlib import Path

import click
import zmq

from tiercluster.cluster.keys_files import CLIENT, SERVER, make_keys
from tiercluster.node.keyring import CLIENTS, NODES, PUBLIC

from . import rotation
from .exits import Code, Stop
from .options import json_flag
from .rendering import print_json

DEFAULT_NODES = ("n1", "n2", "n3")
_DONE = {
    rotation.START: "made the next",
    rotation.SWITCH: "switched",
    rotation.FINISH: "removed the old",
}


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("tiercluster-keys"),
    show_default=True,
    metavar="DIR",
    help="Where to write them.",
)
@click.option("--node", "nodes", multiple=True, metavar="ID", help="[default: n1, n2 and n3]")
@click.option("--client", "clients", multiple=True, metavar="NAME", help="An application.")
@click.option(
    "--rotate", "step", type=click.Choice(rotation.STEPS), help="Replace keys while all goes on."
)
@json_flag
def keygen(
    out: Path, nodes: tuple[str, ...], clients: tuple[str, ...], step: str | None, as_json: bool
) -> None:
    """Make CURVE keys for nodes, the operator and clients.

    A key that is there already is kept, so more can be added to the same directory. DIR itself is
    for nodes and the operator: who has it may do everything. DIR/clients/NAME is complete in
    itself and for one application: it may read and write.

    Keys are replaced in three steps, after each of which DIR is brought to where it is used and
    every node is sent SIGHUP: --rotate start makes the next ones, of everybody or of those named;
    --rotate switch puts them in place; --rotate finish takes the old ones away
    (docs/security.md).

    \b
    Example:
      tiercluster keygen --out keys --node n1 --node n2 --node n3 --client web
      tiercluster start --id n1 --listen 10.0.0.1:7701 --keys keys
      tiercluster status --cluster 10.0.0.1:7701 --keys keys
      tiercluster keygen --out keys --rotate start
    """
    if not zmq.has("curve"):
        raise Stop(Code.FAILED, "this libzmq was built without CURVE; install pyzmq's own wheel")
    for name in (*nodes, *clients):
        _check(name)
    if step is not None:
        _rotate(out, nodes, clients, step, as_json)
        return
    is_new = not out.exists()
    ids = nodes or (DEFAULT_NODES if is_new else ())
    wanted = [
        SERVER,
        CLIENT,
        *(f"{NODES}/{node}" for node in ids),
        *(f"{CLIENTS}/{name}/{CLIENT}" for name in clients),
    ]
    made = [stem for stem in wanted if _make(out / stem)]
    for name in clients:
        shutil.copyfile(out / f"{SERVER}{PUBLIC}", out / CLIENTS / name / f"{SERVER}{PUBLIC}")
    kept = [stem for stem in wanted if stem not in made]
    if as_json:
        print_json({"directory": str(out), "made": made, "kept": kept})
        return
    for word, stems in (("made", made), ("kept", kept)):
        for stem in stems:
            click.echo(f"{word} {out / stem}{PUBLIC}")


def _rotate(
    out: Path, nodes: tuple[str, ...], clients: tuple[str, ...], step: str, as_json: bool
) -> None:
    try:
        match step:
            case rotation.START:
                stems = rotation.start(out, rotation.stems(out, nodes, clients))
            case rotation.SWITCH:
                stems = rotation.switch(out)
            case _:
                stems = rotation.finish(out)
    except rotation.NotNow as error:
        raise Stop(Code.REFUSED, str(error)) from error
    names = [str(stem.relative_to(out)) for stem in stems]
    if as_json:
        print_json({"directory": str(out), "step": step, "keys": names})
        return
    for name in names:
        click.echo(f"{_DONE[step]} {out / name}{PUBLIC}")
    click.echo(f"now bring {out} to where it is used and send SIGHUP to every node", err=True)


def _check(name: str) -> None:
    if not name or name.startswith(".") or not all(c.isalnum() or c in "-_." for c in name):
        raise click.UsageError(f"{name!r} is no name: letters, digits, '-', '_' or '.'")


def _make(stem: Path) -> bool:
    """Whether a pair was made; one that is there is never replaced."""
    stem.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        make_keys(stem.parent, stem.name)
    except FileExistsError:
        return False
    return True
