"""What every command is given: where the cluster is, whose key to show, and how it is reached.

The last of these is what tests replace: a session may carry its own ways to open an admin or a
client connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from .address import DEFAULT_CLUSTER, split_list

if TYPE_CHECKING:
    from tiercluster.cluster.wire import Decided
    from tiercluster.tiermap import Command, Event, TierMap


class AdminDoor(Protocol):
    """What the commands need of `tiercluster.cluster.admin.Admin`; every call blocks."""

    def hello(self) -> TierMap: ...

    def propose(self, command: Command) -> Decided: ...

    def status_of(self, address: str) -> dict[str, Any] | None: ...

    def events(self, since: int) -> list[Event]: ...

    def fault(
        self, node: str, tier: str, kind: str, ms: float, rate: float, for_ms: float = 0.0
    ) -> None: ...

    def node_fault(
        self, node: str, kind: str, for_ms: float = 0.0, peers: Iterable[str] = ()
    ) -> None: ...

    def probe(self, node: str, tier: str) -> dict[str, Any]: ...

    def watch(self, version: int, timeout: float) -> TierMap: ...

    def close(self) -> None: ...


class ItemDoor(Protocol):
    """A value with what is known about it."""

    @property
    def value(self) -> Any: ...

    @property
    def version(self) -> int: ...

    @property
    def ttl(self) -> float | None: ...

    @property
    def tier(self) -> str: ...

    @property
    def node(self) -> str: ...

    @property
    def degraded(self) -> bool: ...


class ClientDoor(Protocol):
    """What the commands need of `tiercluster.Client`."""

    def get(self, key: str, default: Any = None) -> Any: ...

    def gets(self, key: str) -> ItemDoor | None: ...

    def get_many(self, keys: list[str]) -> dict[str, Any]: ...

    def set(self, key: str, value: Any, ttl: float | None = None) -> bool: ...

    def set_many(self, mapping: dict[str, Any], ttl: float | None = None) -> list[str]: ...

    def delete(self, key: str) -> bool: ...

    def clear(self) -> int: ...

    def explain(self, key: str) -> Any: ...

    def stats(self) -> Any: ...

    def close(self) -> None: ...


CLUSTER_META, KEYS_META = "tiercluster.cluster", "tiercluster.keys"  # set by the flags

AdminMaker = Callable[["Session"], AbstractContextManager[AdminDoor]]
ClientMaker = Callable[["Session", str, float], AbstractContextManager[ClientDoor]]


@dataclass(frozen=True, slots=True)
class Session:
    """``make_admin`` and ``make_client`` are None except in tests."""

    cluster: str = DEFAULT_CLUSTER
    keys: Path | None = None
    make_admin: AdminMaker | None = None
    make_client: ClientMaker | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """The members to try; a usage error if they are no addresses."""
        try:
            return split_list(self.cluster)
        except ValueError as error:
            raise click.UsageError(f"--cluster: {error}") from error

    def at(self, cluster: str | None, keys: Path | None) -> Session:
        """This session with what a command's own flags say."""
        return replace(self, cluster=cluster or self.cluster, keys=keys or self.keys)


def session_of(ctx: click.Context) -> Session:
    """The session as the root command and this command's flags made it, its addresses checked."""
    session = ctx.find_object(Session) or Session()
    found = session.at(ctx.meta.get(CLUSTER_META), ctx.meta.get(KEYS_META))
    _ = found.addresses
    return found
