"""The newest tier map that a session knows, and what may replace it."""

from __future__ import annotations

from tiercluster.tiermap import TierMap, decode_delta, decode_map, patch

from .errors import ProtocolError
from .routing import Router
from .wire import MapUpdate


class Feed:
    """Holds a Router; takes snapshots and differences, only newer ones of the same cluster."""

    __slots__ = ("router",)

    def __init__(self, router: Router | None = None) -> None:
        self.router = router

    @property
    def version(self) -> int:
        return self.router.version if self.router else 0

    @property
    def cluster(self) -> tuple[str, str] | None:
        """Which one it is; None before a map is known."""
        return self.router.tier_map.identity if self.router else None

    def take(self, update: MapUpdate, version: int) -> bool:
        """Whether the map is now at ``version`` or newer; False asks for a snapshot. ProtocolError
        for bytes that are no map."""
        if self.router is not None and version <= self.router.version:
            return True
        try:
            if update.base == 0:
                return self.use(decode_map(update.data))
            delta = decode_delta(update.data)
            if self.router is None or (delta.cluster, delta.founded) != self.cluster:
                return False
            if delta.base_version != self.version:
                return False
            return self.use(patch(self.router.tier_map, delta))
        except ValueError as error:
            raise ProtocolError(f"a tier map that cannot be read: {error}") from None

    def use(self, tier_map: TierMap, *, another_cluster: bool = False) -> bool:
        """Replace the map if this one is newer and of the same cluster. A map without members says
        nothing: its node has not caught up."""
        if not tier_map.members:
            return False
        known = self.router
        if known is not None and not another_cluster:
            if tier_map.identity != known.tier_map.identity:
                return False
            if tier_map.version <= known.version:
                return True
        self.router = Router(tier_map, known)
        return True
