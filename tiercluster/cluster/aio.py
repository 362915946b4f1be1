"""The asyncio client: the same scripts as `client`, carried out in the running event loop."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import time
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar

from tiercluster.tiermap import Event

from .api import Make, Pause, Script
from .caching import CachedCalls, KeyMaker
from .client import make_stats
from .errors import TierclusterError, Unavailable
from .events import AGAIN_S, events_of
from .handle import Handle
from .keys import Key
from .leases import Lease
from .link import CurveKeys
from .loops import Loops
from .nearcache import ABSENT
from .options import Options
from .plan import LookOp, NodeOp, Operation
from .values import DEFAULT, TTL, Default
from .views import Item, Placement, Stats, TierStatus
from .wire import MAX_SCAN_PAGE, EventsQuery, Kind, Mode

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")

FOLLOW_S = 0.25  # between looks for new events

_log = logging.getLogger("tiercluster")


class AsyncRun(Protocol):
    """Carries out a script in the running loop."""

    def __call__(self, script: Script[R], /) -> Coroutine[Any, Any, R]: ...


class AsyncClient(Handle[Loops]):
    """The asyncio client. Safe to share between the tasks of a loop; calls made in one turn of the
    loop are sent together."""

    _followers: tuple[asyncio.Task[None], ...] = ()

    def _connect(self, options: Options, curve: CurveKeys | None) -> Loops:
        return Loops(options.seeds, curve)

    async def aclose(self) -> None:
        """Close all connections; calls that wait raise Unavailable."""
        followers, self._followers = self._followers, ()
        for task in followers:
            task.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
        if self._owns_connection:
            if self._near is not None:
                self._near.close()
            self._connection.close()

    async def close(self) -> None:
        """`aclose`."""
        await self.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # --- reads ----------------------------------------------------------------------------------

    async def get(self, key: Key, default: Any = None) -> Any:
        """The value, or ``default``. A stored None comes back as None."""
        if self._near is not None:
            value = self._near.find(self._api.space.prefix, key)
            if value is not ABSENT:
                return value
        return await self._read(self._api.get(key, default), default)

    async def gets(self, key: Key) -> Item[Any] | None:
        """The value with its version, remaining TTL and place, or None."""
        return await self._read(self._api.gets(key), None)

    async def get_many(self, keys: Iterable[Key]) -> dict[Any, Any]:
        """Those that exist, by the key as given; one message an owning node."""
        found: dict[Any, Any] = {}
        return await self._read(self._api.get_many(keys, found), found)

    async def exists(self, key: Key) -> bool:
        return await self._read(self._api.exists(key), False)

    async def ttl(self, key: Key) -> float | None:
        """Seconds left; inf: never expires; None: absent."""
        return await self._read(self._api.ttl(key), None)

    # --- writes ---------------------------------------------------------------------------------

    async def set(self, key: Key, value: Any, ttl: TTL | Default = DEFAULT) -> bool:
        """Whether it was stored."""
        return await self._read(self._api.set(key, value, ttl), False)

    async def set_many(self, mapping: Mapping[Any, Any], ttl: TTL | Default = DEFAULT) -> list[Any]:
        """The keys that were not stored; empty is good."""
        return await self._read(self._api.set_many(mapping, ttl), list(mapping))

    async def delete(self, key: Key, *, version: int | None = None) -> bool:
        """Whether it was there (and, if given, of this version)."""
        return await self._read(self._api.delete(key, version), False)

    async def delete_many(self, keys: Iterable[Key]) -> int:
        """How many were there."""
        return await self._read(self._api.delete_many(keys), 0)

    async def touch(self, key: Key, ttl: TTL | Default = DEFAULT) -> bool:
        """Set the time to live; whether the key was there."""
        return await self._read(self._api.touch(key, ttl), False)

    # --- atomic operations: they always raise ---------------------------------------------------

    async def add(self, key: Key, value: Any, ttl: TTL | Default = DEFAULT) -> bool:
        """Store only if absent; whether it was stored."""
        return await self._run(self._api.stored_once(Mode.ADD, key, value, ttl))

    async def replace(self, key: Key, value: Any, ttl: TTL | Default = DEFAULT) -> bool:
        """Store only if present; whether it was stored."""
        return await self._run(self._api.stored_once(Mode.REPLACE, key, value, ttl))

    async def cas(self, key: Key, value: Any, version: int, ttl: TTL | Default = DEFAULT) -> bool:
        """Store only if the version is still this one (of `gets`); whether it was stored."""
        return await self._run(self._api.stored_once(Mode.CAS, key, value, ttl, version))

    async def incr(
        self, key: Key, delta: int = 1, *, initial: int | None = None, ttl: TTL | Default = DEFAULT
    ) -> int:
        """The new value. Absent: KeyError, or ``initial`` is stored. Without ``ttl`` an existing
        counter keeps the time it has left. SerializationError if the value is no integer."""
        return await self._run(self._api.incr(key, delta, initial, ttl))

    async def decr(
        self, key: Key, delta: int = 1, *, initial: int | None = None, ttl: TTL | Default = DEFAULT
    ) -> int:
        """`incr` by ``-delta``."""
        return await self._run(self._api.incr(key, -delta, initial, ttl))

    async def get_or_set(
        self,
        key: Key,
        default: Any,
        ttl: TTL | Default = DEFAULT,
        *,
        lock: bool | float | None = None,
    ) -> Any:
        """The value; if there is none, ``default`` (or what it returns, awaited if need be) is
        stored and returned. ``lock``: only one client of the cluster makes it, the others wait for
        it; a number is how many seconds that one may take at most (True: 10). With
        ``on_error="miss"`` a client to which nobody answers within the deadline makes it without
        asking further."""
        return await self._run(self._api.get_or_set(key, default, ttl, lock))

    # --- the whole namespace --------------------------------------------------------------------

    async def scan(self, prefix: Key = "", *, limit: int | None = None) -> AsyncIterator[str]:
        """The keys with this prefix, in no order, fetched page by page. Keys written or moved
        meanwhile may be missing, or come twice."""
        left = float("inf") if limit is None else limit
        wire = self._api.space.starting_with(prefix)
        for node in (await self._run(self._api.serving())) if left > 0 else ():
            cursor = 0
            while cursor >= 0 and left > 0:
                size = int(min(left, MAX_SCAN_PAGE))
                try:
                    keys, cursor = await self._run(self._api.page(node, wire, cursor, size))
                except Unavailable as error:
                    await self._run(self._api.went_down(node, error))
                    break
                for key in keys if left == float("inf") else keys[: int(left)]:
                    left -= 1
                    yield key

    async def delete_prefix(self, prefix: Key) -> int:
        """Delete all keys with this prefix; how many there were."""
        return await self._read(self._api.delete_prefix(prefix), 0)

    async def clear(self) -> int:
        """Delete all keys of this namespace; how many there were."""
        return await self.delete_prefix("")

    # --- built from these -----------------------------------------------------------------------

    def lock(self, name: Key, ttl: TTL = 30, *, wait: float | None = None) -> AsyncLock:
        """A lease on this name for ``ttl`` seconds. ``wait``: how long to wait for it; None: as
        long as it takes, 0: try once. ``async with`` raises DeadlineExceeded when that was not
        enough."""
        return AsyncLock(self._run, Lease(self._api, name, ttl), name, wait)

    def cached(
        self,
        ttl: TTL | Default = DEFAULT,
        key: KeyMaker = None,
        *,
        cache_none: bool = True,
        unless: Callable[[Any], bool] | None = None,
    ) -> Callable[[Callable[P, Awaitable[T]]], AsyncCachedFunction[P, T]]:
        """Decorate a coroutine function so that its results are cached. ``key``: a function of the
        arguments or a text with their names in braces; None: the function's name and a hash of
        them. ``unless``: results that it is true for are not cached."""

        def decorate(function: Callable[P, Awaitable[T]]) -> AsyncCachedFunction[P, T]:
            calls = CachedCalls(self._api, function, ttl, key, cache_none, unless)
            return AsyncCachedFunction(self._run, calls, function)

        return decorate

    # --- the cluster ----------------------------------------------------------------------------

    async def ping(self) -> float:
        """Seconds to a member and back."""
        start = time.perf_counter()
        await self._run(self._api.look())
        return time.perf_counter() - start

    async def explain(self, key: Key) -> Placement:
        """Where the key lives now and why."""
        return await self._run(self._api.explain(key))

    async def tiers(self) -> list[TierStatus]:
        """All tiers of all members."""
        return await self._run(self._api.tiers())

    async def stats(self) -> Stats:
        """What this client (and those made by `namespaced`) has seen."""
        sessions = self._connection.sessions()
        counts = sum((s.counts for s in sessions), self._connection.retired)
        return make_stats(counts, self._swallowed.counts(), sessions, self._near)

    async def on_event(self, callback: Callable[[Event], object]) -> None:
        """Have each change of the tier map that is committed from now on told to ``callback`` (a
        function, or a coroutine function), in order, until this client is closed."""
        since = (await self._run(self._api.look())).version
        task = asyncio.create_task(self._follow(callback, since))
        self._followers = (*self._followers, task)

    async def _follow(self, callback: Callable[[Event], object], since: int) -> None:
        seen = -1
        while True:
            try:
                known = self._connection.current().known_version()
                if known != seen:
                    events = await self._events(since)
                    since = max([since, *(event.version for event in events)])
                    # Only what is known twice is done with: the member asked may be behind.
                    seen = known if not events else -1
                    for event in events:
                        await _told(callback, event)
                await asyncio.sleep(FOLLOW_S)
            except TierclusterError as error:
                _log.info("following events: %s: %s", type(error).__name__, error)
                await asyncio.sleep(AGAIN_S)

    async def _events(self, since: int) -> list[Event]:
        look, timeout = LookOp(), self._options.timeout
        await self._connection.current().call(look, timeout)
        ask = NodeOp(Kind.EVENTS, look.answered_by, EventsQuery(since))
        await self._connection.current().call(ask, timeout)
        return events_of(ask.result, since)

    # --- carrying out ---------------------------------------------------------------------------

    async def _read(self, script: Script[T], fallback: T) -> T:
        return await self._run(self._api.soft(script, fallback))

    async def _run(self, script: Script[T]) -> T:
        try:
            step = next(script)
            while True:
                try:
                    answer = await self._carry_out(step)
                except BaseException as error:  # noqa: BLE001 - scripts clean up, and pass it on
                    step = script.throw(error)
                else:
                    step = script.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _carry_out(self, step: Operation | Pause | Make) -> Any:
        match step:
            case Operation():
                connection = self._connection.current()
                if self._near is None:
                    await connection.call(step, self._options.timeout)
                else:
                    with self._near.around(step):
                        await connection.call(step, self._options.timeout)
                return None
            case Pause(seconds):
                await asyncio.sleep(seconds)
                return None
            case Make(function):
                return await _awaited(function())


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def _told(callback: Callable[[Event], object], event: Event) -> None:
    """What one event makes of the callback does not keep the next from it."""
    try:
        await _awaited(callback(event))
    except Exception:  # noqa: BLE001 - it is the user's, and reported
        _log.exception("a callback of on_event failed")


class AsyncLock:
    """A lease on a name, held by one client of the cluster at a time; see `Lock`."""

    def __init__(self, run: AsyncRun, lease: Lease, name: Key, wait: float | None) -> None:
        self._run, self._lease, self._name, self._wait = run, lease, name, wait

    def __repr__(self) -> str:
        return f"AsyncLock({self._name!r}, fence={self.fence})"

    @property
    def fence(self) -> int:
        """Of the last acquisition or extension; 0 if not held."""
        return self._lease.version

    async def acquire(self, wait: float | None = None) -> bool:
        """Whether it is ours now. ``wait``: seconds to wait for it, 0: try once, None: as the lock
        was made (there None: as long as it takes)."""
        return await self._run(self._lease.acquire(self._wait if wait is None else wait))

    async def release(self) -> bool:
        """Give it back; False if it was not ours any more."""
        return await self._run(self._lease.release())

    async def extend(self, ttl: TTL = None) -> bool:
        """Hold it for ``ttl`` seconds from now (None: as at first); False: it was lost."""
        return await self._run(self._lease.extend(ttl))

    async def locked(self) -> bool:
        """Whether anybody holds it now."""
        return await self._run(self._lease.locked())

    async def __aenter__(self) -> Self:
        await self._run(self._lease.enter(self._wait, self._name))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.release()


class AsyncCachedFunction(Generic[P, T]):
    """A coroutine function whose results are cached in the cluster."""

    def __init__(
        self, run: AsyncRun, calls: CachedCalls, function: Callable[P, Awaitable[T]]
    ) -> None:
        self._run, self._calls = run, calls
        self.__wrapped__ = function
        functools.update_wrapper(self, function)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = await self._run(self._calls.call(args, kwargs))
        return result

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function now and cache its result."""
        result: T = await self._run(self._calls.refresh(args, kwargs))
        return result

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result for these arguments; whether there was one."""
        return await self._run(self._calls.invalidate(args, kwargs))

    def key_for(self, *args: P.args, **kwargs: P.kwargs) -> Key:
        """Where the result for these arguments is cached."""
        return self._calls.key_for(args, kwargs)
