"""What a client was told, checked when made: from arguments, a URL or the environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .keys import encode_namespace
from .nearcache import MAX_ENTRIES
from .values import TTL, Serializer, Values, seconds

DEFAULT_NODES = "127.0.0.1:7701"
DEFAULT_PORT = 7701
MAX_SEEDS = 64
MAX_TIMEOUT_S = 3600.0
SCHEME = "tier"
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?")
_ENVIRONMENT = {
    "TIERCLUSTER_CLUSTER": "nodes",
    "TIERCLUSTER_NAMESPACE": "namespace",
    "TIERCLUSTER_DEFAULT_TTL": "default_ttl",
    "TIERCLUSTER_SERIALIZER": "serializer",
    "TIERCLUSTER_TIMEOUT": "timeout",
    "TIERCLUSTER_ON_ERROR": "on_error",
    "TIERCLUSTER_NEAR_CACHE": "near_cache",
    "TIERCLUSTER_KEYS": "keys",
}


@dataclass(frozen=True, slots=True)
class Options:
    """Checked arguments of a client; times in seconds."""

    seeds: tuple[str, ...]
    namespace: bytes
    default_ttl: float | None
    values: Values
    timeout: float
    swallows: bool  # on_error="miss"
    near_cache: int = 0  # entries


def make_options(
    nodes: str | Iterable[str],
    namespace: str,
    default_ttl: TTL,
    serializer: str | Serializer,
    timeout: float,
    on_error: str,
    near_cache: int,
) -> Options:
    """ValueError or TypeError says which argument is wrong, and how."""
    if on_error not in ("raise", "miss"):
        raise ValueError(f"on_error is 'raise' or 'miss', not {on_error!r}")
    return Options(
        seeds=parse_nodes(nodes),
        namespace=encode_namespace(namespace),
        default_ttl=seconds(default_ttl),
        values=Values(serializer),
        timeout=check_timeout(timeout),
        swallows=on_error == "miss",
        near_cache=_check_entries(near_cache),
    )


def _check_entries(near_cache: int) -> int:
    if not isinstance(near_cache, int) or isinstance(near_cache, bool):
        raise TypeError(f"near_cache is a number of entries, not {near_cache!r}")
    if not 0 <= near_cache <= MAX_ENTRIES:
        raise ValueError(f"near_cache is 0 to {MAX_ENTRIES} entries, not {near_cache}")
    return near_cache


def check_timeout(timeout: float) -> float:
    """Above 0 and at most an hour."""
    if not isinstance(timeout, int | float) or not 0 < timeout <= MAX_TIMEOUT_S:
        raise ValueError(f"timeout is above 0 and at most {MAX_TIMEOUT_S:g} s, not {timeout!r}")
    return float(timeout)


def parse_nodes(nodes: str | Iterable[str]) -> tuple[str, ...]:
    """``h:p,h:p`` or an iterable of ``h:p`` to addresses; the port may be left out."""
    texts = nodes.split(",") if isinstance(nodes, str) else list(nodes)
    found = tuple(dict.fromkeys(_address(text) for text in texts))
    if not 0 < len(found) <= MAX_SEEDS:
        raise ValueError(f"name 1 to {MAX_SEEDS} nodes, as HOST:PORT[,HOST:PORT...]")
    return found


def _address(text: str) -> str:
    match = _ADDRESS.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or not 0 < int(match["port"] or DEFAULT_PORT) < 65536:
        what = repr(text) if "@" not in str(text) else "what holds a user or password"
        raise ValueError(f"{what} is no node address: write HOST:PORT")
    return f"{match['host']}:{int(match['port'] or DEFAULT_PORT)}"


_PARSERS: dict[str, Callable[[str], Any]] = {
    "default_ttl": lambda text: None if text.lower() in ("", "none") else float(text),
    "serializer": str,
    "timeout": float,
    "on_error": str,
    "near_cache": int,
    "keys": str,
}


def _parsed(name: str, text: str) -> Any:
    try:
        return _PARSERS.get(name, str)(text)
    except ValueError:
        raise ValueError(f"{name} cannot be {text!r}") from None


def arguments_of_url(url: str) -> dict[str, Any]:
    """``tier://h:p,h:p/namespace?timeout=0.2&on_error=miss`` as arguments of a client."""
    parts = urlsplit(url)
    if parts.scheme != SCHEME:
        # Not quoted: another service's URL may hold a password.
        raise ValueError(f"no cluster URL: write {SCHEME}://HOST:PORT/NAMESPACE")
    arguments: dict[str, Any] = {"nodes": parts.netloc or DEFAULT_NODES}
    arguments["namespace"] = unquote(parts.path.removeprefix("/"))
    for name, text in parse_qsl(parts.query, keep_blank_values=True, strict_parsing=False):
        if name not in _PARSERS:
            raise ValueError(f"unknown option {name!r} in a URL: {', '.join(sorted(_PARSERS))}")
        arguments[name] = _parsed(name, text)
    return arguments


def arguments_of_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """The ``TIERCLUSTER_*`` variables that concern a client, as its arguments."""
    return {
        name: _parsed(name, environment[variable])
        for variable, name in _ENVIRONMENT.items()
        if environment.get(variable)
    }
