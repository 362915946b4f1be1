"""Every call of the client as a script: which operations it needs and what it makes of them.

A script is a generator: it yields steps (an operation to carry out, a pause, a function to call)
and returns the result. It does no I/O, so `Client` and `AsyncClient` run the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from xxhash import xxh3_128_digest

from tiercluster.tiermap import Tier, TierMap

from .codec import decode_plain
from .errors import ProtocolError, SerializationError, TierclusterError, Unavailable
from .keys import Key, Space
from .near import Near
from .nearcache import ABSENT, FOREVER
from .options import Options
from .plan import (
    DeleteOp,
    DeletePrefixOp,
    Found,
    GetOp,
    IncrOp,
    LookOp,
    NodeOp,
    OnceStoreOp,
    Operation,
    PeekOp,
    ScanOp,
    StoreOp,
    TouchOp,
)
from .ring import slot_of
from .routing import Route, Router
from .swallow import Swallowed
from .values import DEFAULT, MAX_INT, MIN_INT, RAW_FLAGS, TTL, Default, seconds
from .views import Item, Placement, TierStatus
from .wire import Incr, Kind, Mode, Place, Report, StatusQuery, WireError

T = TypeVar("T")
MAKER_MARK = b"m"  # before the names of leases of get_or_set
LEASE_S = 10.0  # of one maker in get_or_set, unless told
MIN_LEASE_S = 0.05  # one that ends before its answer has come is asked for again without end
MAX_LEASE_S = 86_400.0
PAUSE_S = 0.02  # between looks at what another client is making
MAX_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Make:
    """Call it; the script is sent what it returns (or, for AsyncClient, what awaiting it gives)."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Just:
    """A value that is there, whatever it is."""

    value: Any


Step = Operation | Pause | Make
Script = Generator[Step, Any, T]
_PLACES = {
    int(Place.HOT): "hot",
    int(Place.WARM): "warm",
    int(Place.COLD): "cold",
    int(Place.REMOTE): "cold",
}


def _ring_version(operation: Operation) -> int:
    return operation.router.tier_map.ring_version if operation.router is not None else -1


class Api:
    """The calls for one namespace."""

    def __init__(
        self, options: Options, space: Space, swallowed: Swallowed, near: Near | None = None
    ) -> None:
        self.options = options
        self.space = space
        self.values = options.values
        self.swallowed = swallowed
        self.near = near

    def soft(self, script: Script[T], fallback: T) -> Script[T]:
        """With ``on_error="miss"`` what the cluster fails comes to ``fallback``. What the caller
        did wrong (InvalidKey, ValueTooLarge) is raised all the same."""
        try:
            return (yield from script)
        except TierclusterError as error:
            if not self.options.swallows or isinstance(error, ValueError):
                raise
            self.swallowed.note(error)
            return fallback

    def ttl_of(self, ttl: TTL | Default) -> float | None:
        return self.options.default_ttl if ttl is DEFAULT else seconds(ttl)

    def _decoded(self, found: Found) -> Any:
        return self.values.decode(found.data, found.flags)

    # --- reads ----------------------------------------------------------------------------------

    def _reading(self, wires: Sequence[bytes]) -> GetOp:
        return GetOp(wires) if self.near is None else self.near.reading(wires)

    def get(self, key: Key, default: Any) -> Script[Any]:
        """From its node: the clients have looked into the near cache before."""
        operation = self._reading((self.space.wire(key),))
        yield operation
        data = operation.datas[0]
        return default if data is None else self.values.decode(data, operation.flags[0])

    def gets(self, key: Key) -> Script[Item[Any] | None]:
        wire = self.space.wire(key)
        operation = GetOp((wire,), meta=True)
        yield operation
        found = operation.found(0)
        if found is None:
            return None
        return self._item(found, wire, operation.router)

    def _item(self, found: Found, wire: bytes, router: Router | None) -> Item[Any]:
        place = _PLACES.get(found.place)
        if place is None:
            raise ProtocolError(f"a value was found in place {found.place}, which is none")
        route = router.route(slot_of(wire)) if router else None
        node, degraded = found.node, found.place == Place.REMOTE
        if route is not None:
            degraded = degraded or route.preference[:1] != (found.node,)
            cold = route.tiers[Tier.COLD]
            if found.place == Place.REMOTE and cold is not None:
                node = cold.node
        return Item(self._decoded(found), found.version, found.ttl, place, node, degraded)

    def get_many(self, keys: Iterable[Key], partial: dict[Any, Any]) -> Script[dict[Any, Any]]:
        """``partial`` is filled even when the call fails: with what answered."""
        asked = tuple(keys)
        wires = self.space.wires(asked)
        if self.near is not None:
            return (yield from self._get_far(asked, wires, self.near, partial))
        operation = GetOp(wires)
        try:
            yield operation
        finally:
            partial.update(self.values.decode_many(asked, operation.datas, operation.flags))
        return partial

    def _get_far(
        self, keys: Sequence[Key], wires: Sequence[bytes], near: Near, partial: dict[Any, Any]
    ) -> Script[dict[Any, Any]]:
        """What is not near is asked for; ``partial`` is in the order of the keys at the end."""
        found = list(map(near.find_wire, wires))
        far = [index for index, value in enumerate(found) if value is ABSENT]
        operation = near.reading([wires[index] for index in far])
        try:
            if far:
                yield operation
        finally:
            try:
                for index, value in self.values.decode_many(far, operation.datas, operation.flags):
                    found[index] = value
            finally:
                pairs = zip(keys, found, strict=True)
                partial.update((key, value) for key, value in pairs if value is not ABSENT)
        return partial

    def exists(self, key: Key) -> Script[bool]:
        operation = PeekOp((self.space.wire(key),))
        yield operation
        return operation.versions[0] != 0

    def ttl(self, key: Key) -> Script[float | None]:
        operation = PeekOp((self.space.wire(key),))
        yield operation
        if operation.versions[0] == 0:
            return None
        left = operation.ttls[0]
        return float("inf") if left is None else float(left)

    # --- writes ---------------------------------------------------------------------------------

    def set(self, key: Key, value: Any, ttl: TTL | Default) -> Script[bool]:
        wire, (data, flags) = self.space.wire(key), self.values.encode(value)
        operation = StoreOp(Mode.SET, (wire,), (data,), bytes((flags,)), self.ttl_of(ttl))
        yield operation
        return operation.versions[0] != 0

    def set_many(self, items: Mapping[Any, Any], ttl: TTL | Default) -> Script[list[Any]]:
        keys = tuple(items)
        wires, (datas, flags) = self.space.wires(keys), self.values.encode_many(items.values())
        operation = StoreOp(Mode.SET, wires, datas, flags, self.ttl_of(ttl))
        yield operation
        if all(operation.versions):
            return []
        return [key for key, version in zip(keys, operation.versions, strict=True) if not version]

    def store_once(
        self, mode: Mode, key: Key, value: Any, ttl: TTL | Default, expected: int = 0
    ) -> Script[int]:
        """Add, replace, compare-and-set: the version now stored, 0 if it was not."""
        wire, (data, flags) = self.space.wire(key), self.values.encode(value)
        ttl_s, expected = self.ttl_of(ttl), _integer("version", expected)
        operation = OnceStoreOp(mode, (wire,), (data,), bytes((flags,)), ttl_s, expected)
        yield operation
        return operation.versions[0]

    def stored_once(
        self, mode: Mode, key: Key, value: Any, ttl: TTL | Default, expected: int = 0
    ) -> Script[bool]:
        return bool((yield from self.store_once(mode, key, value, ttl, expected)))

    def delete(self, key: Key, version: int | None) -> Script[bool]:
        operation = DeleteOp((self.space.wire(key),), _version(version))
        yield operation
        return operation.found[0]

    def delete_many(self, keys: Iterable[Key]) -> Script[int]:
        operation = DeleteOp(tuple(dict.fromkeys(self.space.wires(tuple(keys)))))
        yield operation
        return sum(operation.found)

    def touch(self, key: Key, ttl: TTL | Default) -> Script[bool]:
        operation = TouchOp((self.space.wire(key),), self.ttl_of(ttl))
        yield operation
        return operation.found[0]

    def incr(self, key: Key, delta: int, initial: int | None, ttl: TTL | Default) -> Script[int]:
        fields = Incr(
            self.space.wire(key),
            _integer("delta", delta),
            None if initial is None else _integer("initial", initial),
            self.ttl_of(ttl),
            keep_ttl=ttl is DEFAULT,
        )
        operation = IncrOp(fields)
        yield operation
        counter = operation.counter
        assert counter is not None
        if not counter.integer and (counter.found or initial is not None):
            raise SerializationError(f"the value of {key!r} is no integer, or would not stay one")
        if not counter.found and initial is None:
            raise KeyError(key)
        return counter.value

    # --- the whole namespace --------------------------------------------------------------------

    def page(
        self, node: str, prefix: bytes, cursor: int, limit: int
    ) -> Script[tuple[list[str], int]]:
        """One page of one member's keys, and where the next begins (-1: nowhere)."""
        operation = ScanOp(node, prefix, cursor, limit)
        yield operation
        page = operation.page
        return [self.space.text(key) for key in page.keys if key.startswith(prefix)], page.cursor

    def serving(self) -> Script[list[str]]:
        """The members that own keys now."""
        router = yield from self.look()
        return [m.id for m in router.tier_map.members if m.serves]

    def went_down(self, node: str, error: TierclusterError) -> Script[None]:
        """``node`` serves no more and took its keys with it; otherwise the error stands."""
        if node in (yield from self.serving()):
            raise error

    def delete_prefix(self, prefix: Key) -> Script[int]:
        wire = self.space.starting_with(prefix)
        deleted, is_done = 0, False
        while not is_done:
            router = yield from self.look()
            count, is_done = yield from self._delete_everywhere(router.tier_map, wire)
            deleted += count
        return deleted

    def _delete_everywhere(self, tier_map: TierMap, wire: bytes) -> Script[tuple[int, bool]]:
        """False: owners have changed meanwhile. A member that is done may have taken keys over from
        one that was not, or from one that went: it keeps what it had copies of."""
        deleted, is_same = 0, True
        for node in [m.id for m in tier_map.members if m.serves]:
            cursor = 0
            while is_same and cursor >= 0:
                operation = DeletePrefixOp(node, wire, cursor)
                try:
                    yield operation
                except Unavailable as error:
                    yield from self.went_down(node, error)
                    return deleted, False
                deleted, cursor = deleted + operation.count.count, operation.count.cursor
                # By this map, or an earlier one of the same owners, the member was asked.
                is_same = _ring_version(operation) == tier_map.ring_version
        return deleted, is_same

    # --- the cluster ----------------------------------------------------------------------------

    def look(self) -> Script[Router]:
        """The newest map, from any member."""
        operation = LookOp()
        yield operation
        assert operation.router is not None
        return operation.router

    def tier_map(self) -> Script[TierMap]:
        return (yield from self.look()).tier_map

    def explain(self, key: Key) -> Script[Placement]:
        wire = self.space.wire(key)
        router = yield from self.look()
        return placement(router.route(slot_of(wire)))

    def tiers(self) -> Script[list[TierStatus]]:
        router = yield from self.look()
        statuses: list[TierStatus] = []
        for member in router.tier_map.members:
            operation = NodeOp(Kind.STATUS, member.id, StatusQuery())
            figures: dict[str, Any] = {}
            if member.state == "UP":
                try:
                    yield operation
                    figures = figures_of(operation.result)
                except Unavailable:
                    figures = {}
            for record in member.tiers:
                own = figures.get(str(record.tier), {})
                statuses.append(
                    TierStatus(
                        ref=f"{member.id}/{record.tier}",
                        tier=str(record.tier),
                        state=str(record.state),
                        generation=record.generation,
                        **{name: own.get(name) for name in _FIGURES},
                        reason=record.reason,
                        since_version=record.since_version,
                    )
                )
        return statuses

    # --- built from the others ------------------------------------------------------------------

    def get_or_set(
        self, key: Key, make: Any, ttl: TTL | Default, lock: bool | float | None
    ) -> Script[Any]:
        """A cluster that fails is no reason not to make the value, with ``on_error="miss"``."""
        wire, lease_s = self.space.wire(key), _lease_s(lock) if lock else 0.0
        found = yield from self.soft(self.found(wire), None)
        if found is not None:
            return found.value
        if not lock:
            return (yield from self._made(key, make, ttl))
        return (yield from self._made_by_one(key, wire, make, ttl, lease_s))

    def found(self, wire: bytes) -> Script[Just | None]:
        """The value, wrapped: it may be None."""
        near = ABSENT if self.near is None else self.near.find_wire(wire)
        if near is not ABSENT:
            return Just(near)
        operation = self._reading((wire,))
        yield operation
        data = operation.datas[0]
        return None if data is None else Just(self.values.decode(data, operation.flags[0]))

    def _made(self, key: Key, make: Any, ttl: TTL | Default) -> Script[Any]:
        value = (yield Make(make)) if callable(make) else make
        yield from self.soft(self.set(key, value, ttl), False)
        return value

    def _made_by_one(
        self, key: Key, wire: bytes, make: Any, ttl: TTL | Default, lease_s: float
    ) -> Script[Any]:
        """Whoever adds the lease makes the value; the others wait for it, or for its end."""
        lease = self.space.locks().prefix + MAKER_MARK + xxh3_128_digest(wire)
        pause = PAUSE_S
        while True:
            until = ends_at(lease_s)
            version = yield from self.soft(self._leased(lease, lease_s), -1)
            if version:
                made = yield from self._made_under(lease, version, until, key, wire, make, ttl)
                if made is not None:
                    return made.value
            yield Pause(pause)
            pause = min(pause * 1.5, MAX_PAUSE_S)
            found = yield from self.soft(self.found(wire), None)
            if found is not None:
                return found.value

    def _leased(self, lease: bytes, lease_s: float) -> Script[int]:
        add = OnceStoreOp(Mode.ADD, (lease,), (b"",), RAW_FLAGS, lease_s)
        yield add
        return add.versions[0]

    def _made_under(
        self, lease: bytes, version: int, until: float, key: Key, wire: bytes, make: Any,
        ttl: TTL | Default,
    ) -> Script[Just | None]:  # fmt: skip
        """``version`` of the lease; -1: the cluster failed us, so there is none. None: the answers
        came so late that it may have ended, ``until`` (monotonic seconds), and another makes it."""
        try:
            found = yield from self.soft(self.found(wire), None)  # made since we looked
            if found is not None or (version > 0 and monotonic() >= until):
                return found
            return Just((yield from self._made(key, make, ttl)))
        finally:
            if version > 0:
                with suppress(TierclusterError):  # it ends by itself
                    yield DeleteOp((lease,), version)


def ends_at(ttl: float | None) -> float:
    """From when on a lease that is asked for now may have ended (monotonic seconds): it runs from
    its grant, of which the answer may come late."""
    return FOREVER if ttl is None else monotonic() + ttl


_FIGURES = ("entries", "bytes", "capacity_bytes", "hits", "misses")


def placement(route: Route) -> Placement:
    """A route as users see it."""
    return Placement(
        owner=route.owner or "",
        preference=route.preference,
        tiers={str(tier): str(ref) for tier, ref in route.tiers.items() if ref is not None},
        version=route.version,
        skipped=dict(route.skipped),
    )


def figures_of(result: object) -> dict[str, Any]:
    """A status report's figures by tier name; empty where there are none."""
    report = report_of(result)
    tiers = report.get("tiers", [])
    if not isinstance(tiers, list):
        return {}
    return {str(t.get("tier")): t for t in tiers if isinstance(t, dict)}


def report_of(result: object) -> dict[str, Any]:
    """The plain map of a Report; ProtocolError for anything else."""
    try:
        report = decode_plain(result.data) if isinstance(result, Report) else None
    except WireError as error:
        raise ProtocolError(f"a report that cannot be read: {error}") from None
    if not isinstance(report, dict):
        raise ProtocolError("a report that is no map")
    return report


def _lease_s(lock: bool | float) -> float:
    if lock is True:
        return LEASE_S
    if not isinstance(lock, int | float) or not MIN_LEASE_S <= lock <= MAX_LEASE_S:
        raise ValueError(f"lock is True or {MIN_LEASE_S:g} to {MAX_LEASE_S:g} s, not {lock!r}")
    return float(lock)


def _integer(name: str, value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is an integer, not {type(value).__name__}")
    if not MIN_INT <= value <= MAX_INT:
        raise ValueError(f"{name} is a 64 bit integer")
    return int(value)


def _version(version: int | None) -> int | None:
    return None if version is None else _integer("version", version)
