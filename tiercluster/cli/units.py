"""Sizes and durations as people write and read them."""

from __future__ import annotations

import re
from decimal import Decimal

import click

UNITS: dict[str, int] = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_BY_LOWER = {name.lower(): size for name, size in UNITS.items()}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", re.ASCII)


def parse_size(text: str) -> int:
    """``64MiB`` to bytes; a bare number is bytes; ValueError says what can be written."""
    match = _SIZE.fullmatch(text.strip())
    unit = _BY_LOWER.get((match[2] or "B").lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"{text!r} is no size: write a number and KB, MB, GB, KiB, MiB or GiB")
    return int(Decimal(match[1]) * unit)


def exact_size(size: int) -> str:
    """Bytes to text that ``parse_size`` reads back as the same number."""
    for name in ("GiB", "MiB", "KiB"):
        if size and size % UNITS[name] == 0:
            return f"{size // UNITS[name]}{name}"
    return f"{size}B"


def short_size(size: float) -> str:
    """Bytes for a table: three digits at most."""
    for name in ("B", "KiB", "MiB", "GiB"):
        if size < 1000:
            return f"{size:.0f} {name}" if name == "B" or size >= 100 else f"{size:.1f} {name}"
        size /= 1024
    return f"{size:.1f} TiB"


def short_time(seconds: float) -> str:
    """A duration for a table."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def read_size(_ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """An option's callback: the size in bytes, or a usage error."""
    try:
        return None if value is None else parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error), param=param) from error
