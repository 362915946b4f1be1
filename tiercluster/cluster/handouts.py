"""What the blocking client hands out: locks, cached functions, a mapping."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar

from .api import Api, Script
from .caching import CachedCalls
from .keys import Key
from .leases import Lease
from .values import TTL, Default

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")


class Run(Protocol):
    """Carries out a script, blocking."""

    def __call__(self, script: Script[R], /) -> R: ...


class Lock:
    """A lease on a name, held by one client of the cluster at a time. Not for sharing between
    threads: each makes its own. It ends ``ttl`` seconds after it was acquired or extended, whether
    its holder knows or not; ``fence`` grows with each, for what the lock guards to check."""

    def __init__(self, run: Run, lease: Lease, name: Key, wait: float | None) -> None:
        self._run, self._lease, self._name, self._wait = run, lease, name, wait

    def __repr__(self) -> str:
        return f"Lock({self._name!r}, fence={self.fence})"

    @property
    def fence(self) -> int:
        """Of the last acquisition or extension; 0 if not held."""
        return self._lease.version

    def acquire(self, wait: float | None = None) -> bool:
        """Whether it is ours now. ``wait``: seconds to wait for it, 0: try once, None: as the lock
        was made (there None: as long as it takes)."""
        return self._run(self._lease.acquire(self._wait if wait is None else wait))

    def release(self) -> bool:
        """Give it back; False if it was not ours any more."""
        return self._run(self._lease.release())

    def extend(self, ttl: TTL = None) -> bool:
        """Hold it for ``ttl`` seconds from now (None: as at first); False: it was lost."""
        return self._run(self._lease.extend(ttl))

    def locked(self) -> bool:
        """Whether anybody holds it now."""
        return self._run(self._lease.locked())

    def __enter__(self) -> Self:
        self._run(self._lease.enter(self._wait, self._name))
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class CachedFunction(Generic[P, T]):
    """A function whose results are cached in the cluster."""

    def __init__(self, run: Run, calls: CachedCalls, function: Callable[P, T]) -> None:
        self._run, self._calls = run, calls
        self.__wrapped__ = function
        functools.update_wrapper(self, function)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = self._run(self._calls.call(args, kwargs))
        return result

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function now and cache its result."""
        result: T = self._run(self._calls.refresh(args, kwargs))
        return result

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result for these arguments; whether there was one."""
        return self._run(self._calls.invalidate(args, kwargs))

    def key_for(self, *args: P.args, **kwargs: P.kwargs) -> Key:
        """Where the result for these arguments is cached."""
        return self._calls.key_for(args, kwargs)


class CacheMapping(MutableMapping[str, Any]):
    """A namespace as a mapping; ``len`` and iteration go through all its keys."""

    def __init__(
        self, run: Run, api: Api, scan: Callable[[], Iterator[str]], ttl: TTL | Default
    ) -> None:
        self._run, self._api, self._scan, self._ttl = run, api, scan, ttl

    def __getitem__(self, key: Key) -> Any:
        found = self._run(self._api.soft(self._api.found(self._api.space.wire(key)), None))
        if found is None:
            raise KeyError(key)
        return found.value

    def __setitem__(self, key: Key, value: Any) -> None:
        self._run(self._api.soft(self._api.set(key, value, self._ttl), False))

    def __delitem__(self, key: Key) -> None:
        if not self._run(self._api.soft(self._api.delete(key, None), False)):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str | bytes):
            return False
        return self._run(self._api.soft(self._api.exists(key), False))

    def __iter__(self) -> Iterator[str]:
        return self._scan()

    def __len__(self) -> int:
        return sum(1 for _ in self._scan())

    def clear(self) -> None:
        self._run(self._api.soft(self._api.delete_prefix(""), 0))
