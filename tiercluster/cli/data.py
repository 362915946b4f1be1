"""`tiercluster get`, `set`, `delete`: the data path by hand. Imports nothing that draws tables."""

from __future__ import annotations

import base64
import json
import math
import os
import sys
from typing import Any

import click

from tiercluster.cluster.wire import MAX_VALUE_BYTES

from .clients import open_client
from .exits import Code, Stop
from .options import deadline_flag, json_flag, namespace_flag, reach_cluster
from .session import ItemDoor, session_of


@click.command()
@click.argument("key")
@click.argument("to", required=False, metavar="[-]")
@namespace_flag
@deadline_flag
@reach_cluster
@json_flag
@click.pass_context
def get(
    ctx: click.Context, key: str, to: str | None, namespace: str, timeout: float, as_json: bool
) -> None:
    """Print the value of KEY; exit 1 if it is not there.

    Text and bytes are printed as they are, other values as JSON, each with a line end. With a
    final `-` the value's bytes are written exactly, with nothing added. --json tells the value
    with its version, the seconds it has left and where it was found; bytes that are no text come
    as {"base64": ...}.

    \b
    Example:
      tiercluster get greeting
      tiercluster get picture - > picture.png
    """
    if to not in (None, "-"):
        raise click.UsageError(f"after the key only - can stand, not {to!r}")
    with open_client(session_of(ctx), namespace, timeout) as client:
        item = client.gets(key)
    if item is None:
        raise Stop(Code.FAILED, f"{key} is not there")
    if as_json:
        click.echo(json.dumps(_document(key, item)))
        return
    click.echo(_bytes(item.value), nl=to is None)


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(_plain(value))).encode()


def _plain(value: Any) -> Any:
    """The value as JSON can say it: bytes as base64, what JSON does not have as text."""
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _document(key: str, item: ItemDoor) -> dict[str, Any]:
    ttl = item.ttl if item.ttl is not None and math.isfinite(item.ttl) else None
    return {
        "key": key,
        "value": _plain(item.value),
        "version": item.version,
        "ttl": ttl,
        "tier": str(item.tier),
        "node": item.node,
        "degraded": item.degraded,
    }


@click.command("set")
@click.argument("key")
@click.argument("value")
@click.option("--ttl", type=float, metavar="S", help="Seconds until it is gone. [default: never]")
@namespace_flag
@deadline_flag
@reach_cluster
@click.pass_context
def set_(
    ctx: click.Context, key: str, value: str, ttl: float | None, namespace: str, timeout: float
) -> None:
    """Store VALUE under KEY; `-` reads the value from stdin.

    A value is always stored as text, also one that looks like a number; what is no UTF-8 text is
    stored as bytes. From stdin every byte counts, a final line end too. Before a value that begins
    with `-` stands `--`.

    \b
    Example:
      tiercluster set greeting hello --ttl 60
      tiercluster set picture - < picture.png
      tiercluster set balance -- -5
    """
    if ttl is not None and math.isnan(ttl):
        raise click.BadParameter("it is no number of seconds.", param_hint="--ttl")
    stored = _from_stdin() if value == "-" else _text_or_bytes(os.fsencode(value))
    with open_client(session_of(ctx), namespace, timeout) as client:
        if not client.set(key, stored, ttl=ttl):
            raise Stop(Code.FAILED, f"{key} was not stored: no tier of its owner takes it now")


def _from_stdin() -> str | bytes:
    content: bytes = sys.stdin.buffer.read(MAX_VALUE_BYTES + 1)
    if len(content) > MAX_VALUE_BYTES:  # what follows is not waited for: it may have no end
        raise Stop(Code.USAGE, f"stdin has more than the {MAX_VALUE_BYTES} bytes of a value")
    return _text_or_bytes(content)


def _text_or_bytes(content: bytes) -> str | bytes:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


@click.command()
@click.argument("key")
@namespace_flag
@deadline_flag
@reach_cluster
@click.pass_context
def delete(ctx: click.Context, key: str, namespace: str, timeout: float) -> None:
    """Delete KEY; exit 4 if it was not there.

    \b
    Example:
      tiercluster delete greeting
    """
    with open_client(session_of(ctx), namespace, timeout) as client:
        if not client.delete(key):
            raise Stop(Code.NOT_FOUND, f"{key} was not there")
