"""The settings of a node from a TOML file, the environment and flags; later wins.

The names follow from ``NodeSettings``: a nested field is a TOML table (``[hot] size``) and an
environment variable joined with underscores (``TIERCLUSTER_HOT_SIZE``). Nothing that is not a
setting is accepted anywhere, so a typing error cannot pass for a default.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

from tiercluster.node.settings import NodeSettings

from . import address
from .readers import (
    read_address,
    read_address_or_none,
    read_count,
    read_flag,
    read_keys,
    read_number,
    read_path,
    read_peers,
    read_size,
    read_text,
)
from .units import exact_size

ENV_PREFIX = "TIERCLUSTER_"
# Read by the client and by other commands, so no setting of a node.
OTHER_ENV = frozenset(
    ENV_PREFIX + name
    for name in (
        "CLUSTER", "CONFIG", "DEBUG", "DEFAULT_TTL", "NAMESPACE", "NEAR_CACHE", "ON_ERROR",
        "SERIALIZER", "TIMEOUT",
    )
)  # fmt: skip
# Kubernetes sets these in every pod beside a service called "tiercluster".
_FOREIGN_ENV = re.compile(ENV_PREFIX + r"(SERVICE_\w+|PORT(_\w+)?)")

# People's words for fields whose own name says something else to them.
_RENAMED = {"cluster": "cluster_name", "capacity_bytes": "size"}
_SIZES = ("hot", "warm", "cold")


class ConfigError(ValueError):
    """Settings that cannot be used; ``problems`` has a line for each reason."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its name (``hot.size``), where it stands in NodeSettings, how it is read."""

    name: str
    path: tuple[str, ...]
    read: Callable[[Any], Any]

    @property
    def env(self) -> str:
        return ENV_PREFIX + self.name.replace(".", "_").upper()


@dataclass(frozen=True, slots=True)
class Given:
    """A value as somebody gave it, and where: a file's name, a variable or a flag."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Effective:
    """The settings that hold, and the origin of each by its name."""

    settings: NodeSettings
    origins: Mapping[str, str]

    def rows(self) -> list[tuple[str, Any, str]]:
        """(name, value as it would be written, origin) of every setting."""
        return [
            (s.name, _written(s, _field(self.settings, s.path)), self.origins[s.name])
            for s in SETTINGS.values()
        ]


_READERS: dict[Any, Callable[[Any], Any]] = {
    str: read_text,
    int: read_count,
    float: read_number,
    bool: read_flag,
    Path: read_path,
    Path | None: read_path,
}
_READ_BY_NAME: dict[str, Callable[[Any], Any]] = {
    "listen": read_address,
    "raft": read_address_or_none,
    "http": read_address_or_none,
    "join": read_address_or_none,
    "peers": read_peers,
    "keys": read_keys,
}


def _settings_of(cls: Any, prefix: tuple[str, ...] = ()) -> Iterable[Setting]:
    hints = get_type_hints(cls)
    for field in fields(cls):
        path = (*prefix, field.name)
        if is_dataclass(hints[field.name]):
            yield from _settings_of(hints[field.name], path)
            continue
        name = ".".join((*prefix, _RENAMED.get(field.name, field.name)))
        read = read_size if field.name == "capacity_bytes" else _READ_BY_NAME.get(name)
        yield Setting(name, path, read or _READERS[hints[field.name]])


SETTINGS: dict[str, Setting] = {s.name: s for s in _settings_of(NodeSettings)}
_BY_ENV = {s.env: s for s in SETTINGS.values()} | {
    f"{ENV_PREFIX}{tier.upper()}": SETTINGS[f"{tier}.size"] for tier in _SIZES
}
_TABLES = {s.path[0] for s in SETTINGS.values() if len(s.path) > 1}


# --- the three sources --------------------------------------------------------------------------


def from_toml(text: str, origin: str) -> dict[str, Given]:
    """What a TOML file gives; ConfigError names what it cannot mean."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # numbers and depths that Python limits, too
        raise ConfigError([f"{origin} is no TOML: {error}"]) from error
    given: dict[str, Given] = {}
    problems: list[str] = []
    for name, value in _flat(document):
        if name in SETTINGS:
            given[name] = Given(value, origin)
        else:
            problems.append(f"{origin}: {_unknown('setting', name, SETTINGS)}")
    if problems:
        raise ConfigError(problems)
    return given


def _flat(document: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for key, value in document.items():
        if key in _TABLES and isinstance(value, dict):
            yield from ((f"{key}.{inner}", v) for inner, v in value.items())
        else:
            yield (f"{key}.size" if key in _SIZES else key), value


def from_env(environ: Mapping[str, str]) -> dict[str, Given]:
    """What the environment gives; every TIERCLUSTER_ name must mean something."""
    given: dict[str, Given] = {}
    problems: list[str] = []
    for name, value in sorted(environ.items()):
        if not name.startswith(ENV_PREFIX) or name in OTHER_ENV or _FOREIGN_ENV.fullmatch(name):
            continue
        if name in _BY_ENV:
            given[_BY_ENV[name].name] = Given(value, name)
        else:
            problems.append(_unknown("environment variable", name, (*_BY_ENV, *OTHER_ENV)))
    if problems:
        raise ConfigError(problems)
    return given


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    # `trip_failure` in the wrong table, or in none, is a near miss too.
    close = close or [n for n in names if n.rpartition(".")[2] == name.rpartition(".")[2]]
    hint = f"did you mean {close[0]}?" if close else "`tiercluster config check` lists them"
    return f"unknown {what} {name}: {hint}"


# --- all together -------------------------------------------------------------------------------


def load(
    file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any] | None = None
) -> Effective:
    """The effective settings. ``flags`` has only what was given, by the names of the settings.
    ConfigError carries every problem found."""
    given: dict[str, Given] = {}
    if file is not None:
        given |= from_toml(_contents(file), str(file))
    given |= from_env(environ)
    given |= {name: Given(v, _flag_name(name)) for name, v in (flags or {}).items()}
    return combine(given)


def _contents(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"cannot read {file}: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{file} is no UTF-8 text"]) from error


def _flag_name(name: str) -> str:
    """``hot.size`` is the flag --hot, ``peers`` is --peer."""
    if name == "peers":
        return "--peer"
    return "--" + name.removesuffix(".size").replace("_", "-")


def combine(given: Mapping[str, Given]) -> Effective:
    """Read every value and check them together."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, item in given.items():
        try:
            values[name] = SETTINGS[name].read(item.value)
        except ValueError as error:
            problems.append(f"{name} ({item.origin}): {error}")
    if problems:
        raise ConfigError(problems)
    origins = {name: given[name].origin if name in given else "default" for name in SETTINGS}
    if "listen" in values and "raft" not in values:
        values["raft"] = _raft_beside(values["listen"])
        origins["raft"] = "listen + 100"
    settings = _made(values)
    problems = list(_conflicts(settings))
    if problems:
        raise ConfigError(problems)
    return Effective(settings, origins)


def _raft_beside(listen: str) -> str:
    host, port = address.split(listen)
    return address.join(host, port + 100 if port + 100 < 65536 else port - 100)


def _made(values: Mapping[str, Any]) -> NodeSettings:
    settings = NodeSettings()
    flat = {SETTINGS[n].path[0]: v for n, v in values.items() if len(SETTINGS[n].path) == 1}
    problems: list[str] = []
    for table in sorted(_TABLES):
        inner = {SETTINGS[n].path[1]: v for n, v in values.items() if n.startswith(f"{table}.")}
        try:
            flat[table] = replace(getattr(settings, table), **inner)
        except ValueError as error:
            problems.append(f"{table}: {error}")
    try:
        settings = replace(settings, **flat)
    except ValueError as error:
        problems.append(str(error))
    if problems:
        raise ConfigError(problems)
    return settings


def _conflicts(settings: NodeSettings) -> Iterable[str]:
    ports = {"listen": settings.listen, "raft": settings.raft, "http": settings.http}
    used: dict[str, str] = {}
    for name, where in ports.items():
        if where and where in used:
            yield f"{name} and {used[where]} are both {where}"
        used[where] = name
    if not settings.raft and not settings.join:
        yield "raft: an address is needed: HOST:PORT"
    ids = [node for node, _ in settings.peers]
    if settings.id in ids:
        yield f"peers name every other voter, and {settings.id} is this node itself"
    if len(set(ids)) < len(ids):
        yield "peers name a node twice"


def exposed(settings: NodeSettings) -> list[str]:
    """The addresses that other machines can reach while nothing checks who connects."""
    if settings.insecure or settings.keys is not None:
        return []
    return [
        f"{name} {where}"
        for name, where in (("listen", settings.listen), ("raft", settings.raft))
        if where and not address.is_loopback(address.split(where)[0])
    ]


def _field(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = getattr(value, name)
    return value


def _written(setting: Setting, value: Any) -> Any:
    if setting.read is read_size:
        return exact_size(value)
    if setting.read is read_peers:
        return [f"{node}={where}" for node, where in value]
    return str(value) if isinstance(value, Path) else value
