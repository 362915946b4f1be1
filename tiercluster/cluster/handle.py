"""What both clients are made of: checked options, a namespace, and a shared connection."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Generic, Self, TypeVar

from .api import Api
from .keys import Space, encode_namespace
from .keys_files import load_client_keys
from .link import CurveKeys
from .near import Near
from .options import (
    DEFAULT_NODES,
    Options,
    arguments_of_environment,
    arguments_of_url,
    make_options,
)
from .swallow import Swallowed
from .values import TTL, Serializer

C = TypeVar("C")


class Handle(Generic[C]):
    """A cluster cache. Connects at the first call and re-routes by itself.

    ``nodes``: ``"h:p,h:p"`` or an iterable, any one member is enough. ``timeout``: seconds for one
    call, all retries included. ``on_error="miss"``: reads return the default, writes False, when
    the cluster fails them. ``near_cache``: how many values to keep here, dropped when a node tells
    that they have changed. ``keys``: a directory made by ``tiercluster keygen``. ValueError or
    TypeError for wrong arguments; calls raise `TierclusterError` (and ``incr`` KeyError)."""

    _connection: C

    def __init__(
        self,
        nodes: str | Iterable[str] = DEFAULT_NODES,
        *,
        namespace: str = "",
        default_ttl: TTL = None,
        serializer: str | Serializer = "cbor",
        timeout: float = 1.0,
        on_error: str = "raise",
        near_cache: int = 0,
        keys: str | os.PathLike[str] | None = None,
    ) -> None:
        path = None if keys is None else os.fspath(keys)
        options = make_options(
            nodes, namespace, default_ttl, serializer, timeout, on_error, near_cache
        )
        curve = load_client_keys(path) if path is not None else None
        near = (
            Near(options.near_cache, options.seeds, curve, options.values) if near_cache else None
        )
        self._setup(options, Swallowed(), options.namespace, near)
        self._connection = self._connect(options, curve)
        self._owns_connection = True

    def _connect(self, options: Options, curve: CurveKeys | None) -> C:
        raise NotImplementedError

    def _setup(
        self, options: Options, swallowed: Swallowed, name: bytes, near: Near | None
    ) -> None:
        self._options = options
        self._swallowed = swallowed
        self._near = near
        self._api = Api(options, Space(name), swallowed, near)
        self._owns_connection = False

    @classmethod
    def from_url(cls, url: str) -> Self:
        """``tier://h:p,h:p/namespace?timeout=0.2&on_error=miss``; ValueError says what is wrong."""
        return cls(**arguments_of_url(url))

    @classmethod
    def from_env(cls) -> Self:
        """From ``TIERCLUSTER_CLUSTER``, ``_NAMESPACE``, ``_TIMEOUT``, ``_ON_ERROR``,
        ``_DEFAULT_TTL``, ``_SERIALIZER``, ``_NEAR_CACHE`` and ``_KEYS``, each optional."""
        return cls(**arguments_of_environment(os.environ))

    def __repr__(self) -> str:
        nodes = ",".join(self._options.seeds)
        return f"{type(self).__name__}({nodes!r}, namespace={self.namespace!r})"

    @property
    def namespace(self) -> str:
        return self._api.space.name.decode()

    def namespaced(self, name: str) -> Self:
        """The same connections, another namespace. Closing it leaves them to this client."""
        other = object.__new__(type(self))
        other._setup(self._options, self._swallowed, encode_namespace(name), self._near)
        other._connection = self._connection
        return other
