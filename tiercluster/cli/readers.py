"""One value of a setting, read from TOML, a variable or a flag: the value, or ValueError."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tiercluster.cluster.keys_files import check_directory

from . import address
from .units import parse_size


def read_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a text is needed, not {value!r}")
    return value


def read_number(value: Any) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise ValueError(f"{value!r} is no number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"a number is needed, not {value!r}")
    if not 0 <= value <= sys.float_info.max:  # some whole numbers are no float's
        raise ValueError(f"{value} is out of range: a number from 0 is needed")
    return float(value)


def read_count(value: Any) -> int:
    number = read_number(value)
    if not number.is_integer():
        raise ValueError(f"{value} is no whole number")
    return int(number)


def read_flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "1": True, "yes": True, "on": True}
    words |= {"false": False, "0": False, "no": False, "off": False}
    if not isinstance(value, str) or value.lower() not in words:
        raise ValueError(f"true or false is needed, not {value!r}")
    return words[value.lower()]


def read_size(value: Any) -> int:
    return parse_size(str(value)) if isinstance(value, str) else read_count(value)


def read_path(value: Any) -> Path:
    return Path(read_text(value)).expanduser() if not isinstance(value, Path) else value


def read_keys(value: Any) -> Path:
    """A directory of keys."""
    path = read_path(value)
    check_directory(path)
    return path


def read_address(value: Any) -> str:
    text = read_text(value)
    address.split(text)
    return text


def read_address_or_none(value: Any) -> str:
    """Empty for none."""
    return read_address(value) if value != "" else ""


def read_peers(value: Any) -> tuple[tuple[str, str], ...]:
    """``{n2 = "h:p"}``, ``["n2=h:p"]`` or ``n2=h:p,n3=h:p``."""
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if isinstance(value, dict):
        return tuple((node, read_address(where)) for node, where in value.items())
    if not isinstance(value, list | tuple):
        raise ValueError(f"peers are written ID=HOST:RAFTPORT, not {value!r}")
    return tuple(_peer(read_text(part).strip()) for part in value)


def _peer(text: str) -> tuple[str, str]:
    node, equals, where = text.partition("=")
    if not node or not equals or not where:
        raise ValueError(f"{text!r} is no peer: write ID=HOST:RAFTPORT")
    return node, read_address(where)
