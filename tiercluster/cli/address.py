"""Network addresses as people write them: ``HOST:PORT``, ``[::1]:PORT``, and lists of them."""

from __future__ import annotations

import ipaddress

DEFAULT_PORT = 7701
DEFAULT_CLUSTER = f"127.0.0.1:{DEFAULT_PORT}"


def split(text: str) -> tuple[str, int]:
    """Host and port; ValueError says what is wrong."""
    if "@" in text:
        raise ValueError("an address holds no user or password: write HOST:PORT")
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit():
        raise ValueError(f"{text!r} is no address: write HOST:PORT")
    if not 0 < int(port) < 65536:
        raise ValueError(f"{text!r}: a port is 1 to 65535")
    return host, int(port)


def join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_list(text: str) -> tuple[str, ...]:
    """The addresses of a comma-separated list, each checked; a missing port is DEFAULT_PORT."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ValueError("an address is needed: HOST:PORT[,HOST:PORT...]")
    whole = tuple(part if ":" in part else f"{part}:{DEFAULT_PORT}" for part in parts)
    for part in whole:
        split(part)
    return whole


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it. A name other than localhost counts as reachable."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    """Whether it means all interfaces, so that nobody can connect to it by this name."""
    return host in ("0.0.0.0", "::", "*")
