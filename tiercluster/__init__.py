"""A distributed cluster cache with replicated tier failover."""

from tiercluster import errors
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
