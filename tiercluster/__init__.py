"""A distributed cluster cache with replicated tier failover."""

from tiercluster import errors
from tiercluster.cluster.client import Client
from tiercluster.cluster.views import Item, Placement, Stats, TierStatus

__version__ = "0.1.0"
__all__ = [
    "Client",
    "Item",
    "Placement",
    "Stats",
    "TierStatus",
    "__version__",
    "errors",
]
