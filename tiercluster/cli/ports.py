"""Whether a port is free."""

from __future__ import annotations

import socket

from . import address


def port_problem(where: str) -> str:
    """Why this address cannot be listened on now; empty if it can."""
    host, port = address.split(where)
    try:
        family, kind, _, _, name = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(name)
    except OSError as error:
        return (error.strerror or str(error)).lower() + "; is another node running?"
    return ""
