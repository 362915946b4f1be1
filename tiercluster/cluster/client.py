"""The blocking client: scripts of `api`, carried out on pooled sessions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from tiercluster.tiermap import Event

from .api import Make, Pause, Script
from .caching import CachedCalls, KeyMaker
from .errors import Unavailable
from .events import Watcher
from .handle import Handle
from .handouts import CachedFunction, CacheMapping, Lock
from .keys import Key
from .leases import Lease
from .link import CurveKeys
from .near import Near, NearFigures
from .nearcache import ABSENT
from .options import Options
from .plan import Operation
from .pool import Pool
from .run import call
from .session import Counts, Session
from .values import DEFAULT, TTL, Default
from .views import Item, Placement, Stats, TierStatus
from .wire import MAX_SCAN_PAGE, Mode

T = TypeVar("T")
P = ParamSpec("P")


class Client(Handle[Pool]):
    """The blocking client. Safe to share between threads and across forks."""

    _watcher: Watcher | None = None

    def _connect(self, options: Options, curve: CurveKeys | None) -> Pool:
        return Pool(options.seeds, curve)

    def close(self) -> None:
        """Close all connections; calls in other threads end first. Calls after it raise."""
        if self._watcher is not None:
            self._watcher.stop()
        if self._owns_connection:
            if self._near is not None:
                self._near.close()
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- reads ----------------------------------------------------------------------------------

    def get(self, key: Key, default: Any = None) -> Any:
        """The value, or ``default``. A stored None comes back as None."""
        if self._near is not None:
            value = self._near.find(self._api.space.prefix, key)
            if value is not ABSENT:
                return value
        return self._read(self._api.get(key, default), default)

    def gets(self, key: Key) -> Item[Any] | None:
        """The value with its version, remaining TTL and place, or None."""
        return self._read(self._api.gets(key), None)

    def get_many(self, keys: Iterable[Key]) -> dict[Any, Any]:
        """Those that exist, by the key as given; one message an owning node."""
        found: dict[Any, Any] = {}
        return self._read(self._api.get_many(keys, found), found)

    def exists(self, key: Key) -> bool:
        return self._read(self._api.exists(key), False)

    def ttl(self, key: Key) -> float | None:
        """Seconds left; inf: never expires; None: absent."""
        return self._read(self._api.ttl(key), None)

    # --- writes ---------------------------------------------------------------------------------

    def set(self, key: Key, value: Any, ttl: TTL | Default = DEFAULT) -> bool:
        """Whether it was stored."""
        return self._read(self._api.set(key, value, ttl), False)

    def set_many(self, mapping: Mapping[Any, Any], ttl: TTL | Default = DEFAULT) -> list[Any]:
        """The keys that were not stored; empty is good."""
        return self._read(self._api.set_many(mapping, ttl), list(mapping))

    def delete(self, key: Key, *, version: int | None = None) -> bool:
        """Whether it was there (and, if given, of this version)."""
        return self._read(self._api.delete(key, version), False)

    def delete_many(self, keys: Iterable[Key]) -> int:
        """How many were there."""
        return self._read(self._api.delete_many(keys), 0)

    def touch(self, key: Key, ttl: TTL | Default = DEFAULT) -> bool:
        """Set the time to live; whether the key was there."""
        return self._read(self._api.touch(key, ttl), False)

    # --- atomic operations: they always raise ---------------------------------------------------

    def add(self, key: Key, value: Any, ttl: TTL | Default = DEFAULT) -> bool:
        """Store only if absent; whether it was stored."""
        return self._run(self._api.stored_once(Mode.ADD, key, value, ttl))

    def replace(self, key: Key, value: Any, ttl: TTL | Default = DEFAULT) -> bool:
        """Store only if present; whether it was stored."""
        return self._run(self._api.stored_once(Mode.REPLACE, key, value, ttl))

    def cas(self, key: Key, value: Any, version: int, ttl: TTL | Default = DEFAULT) -> bool:
        """Store only if the version is still this one (of `gets`); whether it was stored."""
        return self._run(self._api.stored_once(Mode.CAS, key, value, ttl, version))

    def incr(
        self, key: Key, delta: int = 1, *, initial: int | None = None, ttl: TTL | Default = DEFAULT
    ) -> int:
        """The new value. Absent: KeyError, or ``initial`` is stored. Without ``ttl`` an existing
        counter keeps the time it has left. SerializationError if the value is no integer."""
        return self._run(self._api.incr(key, delta, initial, ttl))

    def decr(
        self, key: Key, delta: int = 1, *, initial: int | None = None, ttl: TTL | Default = DEFAULT
    ) -> int:
        """`incr` by ``-delta``."""
        return self._run(self._api.incr(key, -delta, initial, ttl))

    def get_or_set(
        self,
        key: Key,
        default: Any,
        ttl: TTL | Default = DEFAULT,
        *,
        lock: bool | float | None = None,
    ) -> Any:
        """The value; if there is none, ``default`` (or what it returns, if callable) is stored and
        returned. ``lock``: only one client of the cluster makes it, the others wait for it; a
        number is how many seconds that one may take at most (True: 10). With ``on_error="miss"``
        a client to which nobody answers within the deadline makes it without asking further."""
        return self._run(self._api.get_or_set(key, default, ttl, lock))

    # --- the whole namespace --------------------------------------------------------------------

    def scan(self, prefix: Key = "", *, limit: int | None = None) -> Iterator[str]:
        """The keys with this prefix, in no order, fetched page by page. Keys written or moved
        meanwhile may be missing, or come twice."""
        left = float("inf") if limit is None else limit
        wire = self._api.space.starting_with(prefix)
        for node in self._run(self._api.serving()) if left > 0 else ():
            cursor = 0
            while cursor >= 0 and left > 0:
                size = int(min(left, MAX_SCAN_PAGE))
                try:
                    keys, cursor = self._run(self._api.page(node, wire, cursor, size))
                except Unavailable as error:
                    self._run(self._api.went_down(node, error))
                    break
                for key in keys if left == float("inf") else keys[: int(left)]:
                    left -= 1
                    yield key

    def delete_prefix(self, prefix: Key) -> int:
        """Delete all keys with this prefix; how many there were."""
        return self._read(self._api.delete_prefix(prefix), 0)

    def clear(self) -> int:
        """Delete all keys of this namespace; how many there were."""
        return self.delete_prefix("")

    # --- built from these -----------------------------------------------------------------------

    def lock(self, name: Key, ttl: TTL = 30, *, wait: float | None = None) -> Lock:
        """A lease on this name for ``ttl`` seconds. ``wait``: how long to wait for it; None: as
        long as it takes, 0: try once. ``with`` raises DeadlineExceeded when that was not enough."""
        return Lock(self._run, Lease(self._api, name, ttl), name, wait)

    def cached(
        self,
        ttl: TTL | Default = DEFAULT,
        key: KeyMaker = None,
        *,
        cache_none: bool = True,
        unless: Callable[[Any], bool] | None = None,
    ) -> Callable[[Callable[P, T]], CachedFunction[P, T]]:
        """Decorate a function so that its results are cached. ``key``: a function of the arguments
        or a text with their names in braces; None: the function's name and a hash of them.
        ``unless``: results that it is true for are not cached."""

        def decorate(function: Callable[P, T]) -> CachedFunction[P, T]:
            calls = CachedCalls(self._api, function, ttl, key, cache_none, unless)
            return CachedFunction(self._run, calls, function)

        return decorate

    def mapping(self, ttl: TTL | Default = None) -> MutableMapping[str, Any]:
        """This namespace as a mapping; what is set there expires after ``ttl``, None: never."""
        return CacheMapping(self._run, self._api, self.scan, ttl)

    # --- the cluster ----------------------------------------------------------------------------

    def ping(self) -> float:
        """Seconds to a member and back."""
        start = time.perf_counter()
        self._run(self._api.look())
        return time.perf_counter() - start

    def explain(self, key: Key) -> Placement:
        """Where the key lives now and why."""
        return self._run(self._api.explain(key))

    def tiers(self) -> list[TierStatus]:
        """All tiers of all members."""
        return self._run(self._api.tiers())

    def on_event(self, callback: Callable[[Event], object]) -> None:
        """Have each change of the tier map that is committed from now on told to ``callback``, in
        order, in a thread of its own, until this client is closed."""
        if self._watcher is None:
            since = self._run(self._api.look()).version
            self._watcher = Watcher(self._connection, since, self._options.timeout)
        self._watcher.add(callback)

    def stats(self) -> Stats:
        """What this client (and those made by `namespaced`) has seen."""
        sessions = self._connection.sessions()
        counts = sum((s.counts for s in sessions), self._connection.retired)
        return make_stats(counts, self._swallowed.counts(), sessions, self._near)

    # --- carrying out ---------------------------------------------------------------------------

    def _read(self, script: Script[T], fallback: T) -> T:
        return self._run(self._api.soft(script, fallback))

    def _run(self, script: Script[T]) -> T:
        try:
            step = next(script)
            while True:
                try:
                    answer = self._carry_out(step)
                except BaseException as error:  # noqa: BLE001 - scripts clean up, and pass it on
                    step = script.throw(error)
                else:
                    step = script.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _carry_out(self, step: Operation | Pause | Make) -> Any:
        match step:
            case Operation():
                if self._near is None:
                    call(self._connection, step, self._options.timeout)
                else:
                    with self._near.around(step):
                        call(self._connection, step, self._options.timeout)
                return None
            case Pause(seconds):
                time.sleep(seconds)
                return None
            case Make(function):
                return function()


def make_stats(
    counts: Counts, swallowed: dict[str, int], sessions: list[Session], near: Near | None
) -> Stats:
    """The sum of what sessions saw, and what the near cache did."""
    near_cache = near.figures() if near is not None else NearFigures()
    return Stats(
        calls=counts.calls,
        hits=counts.hits,
        misses=counts.misses,
        errors=sum(swallowed.values()),
        swallowed=swallowed,
        retries=counts.retries,
        rerouted=counts.rerouted,
        retries_denied=counts.retries_denied,
        stale_maps=counts.stale_maps,
        late_answers=counts.late_answers,
        bad_answers=counts.bad_answers,
        connections=sum(sum(1 for _ in s.links()) for s in sessions),
        map_version=max((s.feed.version for s in sessions), default=0),
        near_hits=near_cache.hits,
        near_misses=near_cache.misses,
        near_entries=near_cache.entries,
        near_invalidations=near_cache.invalidations,
        near_resets=near_cache.resets,
        near_audited=near_cache.audited,
        near_stale=near_cache.stale,
    )
