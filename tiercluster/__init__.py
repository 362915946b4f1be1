"""A distributed cluster cache with replicated tier failover."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tiercluster import errors

if TYPE_CHECKING:
    from tiercluster.cluster.aio import AsyncClient
    from tiercluster.cluster.client import Client
    from tiercluster.cluster.values import DEFAULT
    from tiercluster.cluster.views import Item, Placement, Stats, TierStatus

__version__ = "0.1.0"
__all__ = [
    "DEFAULT",
    "AsyncClient",
    "Client",
    "Item",
    "Placement",
    "Stats",
    "TierStatus",
    "__version__",
    "errors",
]

# Loaded when first asked for: sockets and asyncio are no part of `tiercluster --help`, nor asyncio
# of a program that never uses AsyncClient.
_HOMES = {
    "AsyncClient": "aio",
    "Client": "client",
    "DEFAULT": "values",
    "Item": "views",
    "Placement": "views",
    "Stats": "views",
    "TierStatus": "views",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"tiercluster.cluster.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
