"""Plays a game day's plan: traffic, fault, failover, end of the fault, recovery, verdict."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tiercluster.cluster.errors import TierclusterError
from tiercluster.tiermap import Event, NodeState, Tier, TierMap

from .clients import open_client
from .demo_view import Teller
from .doors import open_admin
from .gameday_keys import CONTENDED, VALUE_BYTES, Filling, keys_on, mixed_keys
from .gameday_plan import FILL_MARGIN, Plan, Spot, Step, is_all_up
from .gameday_report import Moments, Round
from .gameday_traffic import Contender, LowReader, Reader, Worker, Writer
from .session import AdminDoor, Session

WRITERS, KEYS_EACH = 3, 40
CONTENDERS, CONTENDED_KEYS = 2, 6
FILLER_WRITES = 0.05
LOW_READERS = 3  # one alone would only wait for a slow disk
BEFORE_S, AFTER_S = 1.5, 1.5  # of traffic around the fault and the recovery
WATCH_S = 0.25  # one look at the map
AGAIN_S = 0.05
CLEAR_GRACE_MS = 2000.0  # a tier's fault is cleared by us, or ends by itself so much later
FILL_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Sight:
    """The map as it was first seen, ``at`` when (monotonic seconds)."""

    at: float
    map: TierMap


class Observer(threading.Thread):
    """Watches the map through a connection of its own. ``sights`` grows by each newer one."""

    def __init__(self, session: Session, first: TierMap) -> None:
        super().__init__(name="observer", daemon=True)
        self._session = session
        self._stopping = threading.Event()
        self.sights = [Sight(time.monotonic(), first)]

    @property
    def map(self) -> TierMap:
        return self.sights[-1].map

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        with open_admin(self._session) as admin:
            while not self._stopping.is_set():
                try:
                    seen = admin.watch(self.map.version, WATCH_S)
                except TierclusterError:  # the member that it asked is the one that suffers
                    self._stopping.wait(AGAIN_S)
                    continue
                if seen.version > self.map.version:
                    self.sights.append(Sight(time.monotonic(), seen))

    def first(self, is_it: Callable[[TierMap], bool]) -> float | None:
        """When the first such map was seen; None: none was."""
        return next((sight.at for sight in self.sights if is_it(sight.map)), None)


@dataclass(slots=True)
class GameDay:
    """``timeout_s``: how long to wait for everything to be UP again after a fault."""

    session: Session
    plan: Plan
    timeout_s: float
    teller: Teller
    filling: Filling = field(default_factory=Filling)

    def play(self) -> Iterator[Round]:
        """Each scenario when it is over. One that does not recover ends the day. Whatever ends it,
        faults are ended and the namespace is removed."""
        with open_admin(self.session) as admin, self._cleaned_up():
            for step in self.plan.steps:
                played = self._round(admin, step)
                yield played
                if played.moments.recovered is None:
                    self.teller.say("the cluster is not well again: no more faults")
                    return

    @contextmanager
    def _cleaned_up(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.teller.say(f"removing the keys of {self.plan.namespace}")
            try:
                with open_client(self.session, self.plan.namespace, FILL_TIMEOUT_S) as client:
                    client.clear()
            except TierclusterError as error:
                self.teller.say(f"they could not be removed, and expire by themselves: {error}")

    def _fill(self, step: Step, tier_map: TierMap) -> list[str]:
        """Writes until the lower tiers that are meant have work; keys that they hold. What an
        earlier scenario took from them is put there anew."""
        low = [spot for spot in step.spots if spot.tier in (Tier.WARM, Tier.COLD)]
        if not low:
            return []
        self.teller.say(f"{step}: giving the tier work")
        with open_client(self.session, self.plan.namespace, FILL_TIMEOUT_S) as client:
            for spot in low:
                size = dict(self.plan.fill)[spot.node] if step is self._first else FILL_MARGIN
                prefix = f"fill-{step.scenario.name}-{spot.node}-"
                keys = keys_on(tier_map, self.plan.namespace, prefix, (spot.node,))
                self.filling.pour(client, keys, size)
            return [key for spot in low for key in self.filling.found_in(client, str(spot.tier))]

    @property
    def _first(self) -> Step:
        return self.plan.steps[0]

    # --- one scenario ---------------------------------------------------------------------------

    def _round(self, admin: AdminDoor, step: Step) -> Round:
        seen = admin.hello()
        held = self._fill(step, seen)
        self.teller.say(f"{step}: traffic begins")
        observer = Observer(self.session, seen)
        begun = threading.Event()
        workers = self._workers(step, seen, held, begun)
        earlier = list(self.filling.ops)
        with _running([observer, *workers]):
            time.sleep(BEFORE_S)
            begun.set()
            moments = self._acts(admin, step, observer, workers)
        ops = [op for worker in workers for op in worker.diary.ops]
        self.filling.went_on(ops)
        decisions = _decisions(admin, step, seen.version)
        made = Round(
            step=step,
            timeout_s=self.timeout_s,
            duration_s=self.plan.duration_s,
            moments=moments,
            decisions=decisions,
            diaries=tuple(worker.diary for worker in workers),
            earlier=tuple(earlier),
            committed=_committed(decisions, step, observer, workers),
            ended_early=tuple(worker.problem for worker in workers if worker.problem),
        )
        self.teller.say(f"{step}: {made.word}")
        return made

    def _acts(
        self, admin: AdminDoor, step: Step, observer: Observer, workers: Sequence[Worker]
    ) -> Moments:
        with _ended(admin, step, self.teller):
            injected = time.monotonic()
            self._inject(admin, step)
            self.teller.say(f"FAULT: {step}")
            told = False
            while (now := time.monotonic()) < injected + self.plan.duration_s:
                told = told or self._tell_out(step, observer.map, now - injected)
                time.sleep(AGAIN_S)
        healed = time.monotonic()
        is_over = "the fault is over; " if step.scenario.ends else ""
        self.teller.say(f"{is_over}waiting until everything is UP")
        recovered = self._until_steady(observer, workers)
        return Moments(injected, healed if step.scenario.ends else injected, recovered)

    def _inject(self, admin: AdminDoor, step: Step) -> None:
        for_ms = self.plan.duration_s * 1000
        scenario = step.scenario
        for spot in step.spots:
            if spot.tier is not None:
                kind, ms = scenario.name, scenario.ms
                admin.fault(spot.node, str(spot.tier), kind, ms, 1.0, for_ms + CLEAR_GRACE_MS)
            else:
                admin.node_fault(spot.node, scenario.name, for_ms, self._cut_from(spot))

    def _cut_from(self, spot: Spot) -> list[str]:
        return [n for n in (*self.plan.nodes, *self.plan.others) if n != spot.node]

    def _tell_out(self, step: Step, tier_map: TierMap, after_s: float) -> bool:
        is_out = any(_is_out(spot, tier_map) for spot in step.spots)
        if is_out:
            self.teller.say(f"FAILED OVER after {after_s:.2f} s (map {tier_map.version})")
        return is_out

    def _until_steady(self, observer: Observer, workers: Sequence[Worker]) -> float | None:
        """Since when all is UP, after AFTER_S of traffic in that state; None: not in time. What
        fails late must come back, too."""
        until = time.monotonic() + self.timeout_s
        while (recovered := self._await_recovery(observer, workers, until)) is not None:
            self.teller.say("everything is UP")
            time.sleep(AFTER_S)
            if is_all_up(observer.map):
                return recovered
        return None

    def _await_recovery(
        self, observer: Observer, workers: Sequence[Worker], until: float
    ) -> float | None:
        """When all is UP in a map that is at least as new as any client knows."""
        while time.monotonic() < until:
            known = max((v for w in workers for _, v in w.diary.versions[-1:]), default=0)
            if observer.map.version >= known and is_all_up(observer.map):
                return observer.sights[-1].at
            time.sleep(AGAIN_S)
        return None

    # --- traffic --------------------------------------------------------------------------------

    def _workers(
        self, step: Step, seen: TierMap, held: list[str], begun: threading.Event
    ) -> list[Worker]:
        """``held``: keys that the tier which is meant holds now; ``begun``: by the fault."""
        session, space = self.session, self.plan.namespace
        nodes = tuple(spot.node for spot in step.spots)

        def keys(role: str, total: int) -> list[str]:
            return mixed_keys(seen, space, f"{role}-{step.scenario.name}-", nodes, total)

        own = [keys(f"writer{i}", KEYS_EACH) for i in range(WRITERS)]
        written = [key for one in own for key in one]
        contended = keys(CONTENDED, CONTENDED_KEYS)
        seeds = itertools.count()
        writers = [
            Writer(session, space, next(seeds), numbers=dict.fromkeys(one, 0), others=written)
            for one in own
        ]
        contenders = [Contender(session, space, next(seeds), contended) for _ in range(CONTENDERS)]
        reader = Reader(session, space, next(seeds), written)
        shares = [held[i::LOW_READERS] for i in range(LOW_READERS)]
        lower = [LowReader(session, space, next(seeds), share, begun) for share in shares if share]
        return [*writers, *contenders, reader, *lower, *self._filler(next(seeds))]

    def _filler(self, seed: int) -> list[Worker]:
        """It keeps the lower tiers busy. It reads most of the time, for a tier that spoils what it
        gives back takes every write well; and it writes anew what a tier has lost."""
        numbers = self.filling.numbers
        if not numbers:
            return []
        return [
            Writer(
                self.session, self.plan.namespace, seed,
                numbers=numbers, size=VALUE_BYTES, writes=FILLER_WRITES, deletes=0.0,
                refills=True,
            )
        ]  # fmt: skip


@contextmanager
def _running(threads: list[Observer | Worker]) -> Iterator[None]:
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.stop()
        for thread in threads:
            thread.join()


@contextmanager
def _ended(admin: AdminDoor, step: Step, teller: Teller) -> Iterator[None]:
    """At the end, however it comes, nothing is left of the fault that we can end."""
    try:
        yield
    finally:
        for spot in step.spots:
            try:
                _end(admin, step, spot)
            except TierclusterError as error:
                teller.say(f"{spot}: the fault ends by itself ({type(error).__name__})")


def _end(admin: AdminDoor, step: Step, spot: Spot) -> None:
    if spot.tier is not None:
        admin.fault(spot.node, str(spot.tier), "", 0.0, 0.0)
    elif step.scenario.name == "partition":
        member = admin.hello().member(spot.node)
        if member is not None and member.state is NodeState.UP:
            admin.node_fault(spot.node, "")


def _is_out(spot: Spot, tier_map: TierMap) -> bool:
    member = tier_map.member(spot.node)
    if member is None or member.state is not NodeState.UP:
        return True
    return spot.tier is not None and not member.tier(spot.tier).is_usable


def _decisions(admin: AdminDoor, step: Step, since: int) -> tuple[Event, ...]:
    """The first committed change of each target after the fault."""
    try:
        events = admin.events(since)
    except TierclusterError:
        return ()
    found = (_first_about(events, spot) for spot in step.spots)
    return tuple(event for event in found if event is not None)


def _first_about(events: list[Event], spot: Spot) -> Event | None:
    """A node that was restarted before it was missed is told only by its new start."""
    about = (e for e in events if e.ref == str(spot))
    return next((e for e in about if spot.tier is None or e.to_state != "UP"), None)


def _committed(
    decisions: tuple[Event, ...], step: Step, observer: Observer, workers: list[Worker]
) -> tuple[float, tuple[float, ...]] | None:
    """When the last of the failovers was first known to anybody, and when to each client that
    learned of it; None if not all were decided."""
    if len(decisions) < len(step.spots):
        return None
    version = max(event.version for event in decisions)
    known = [at for w in workers if (at := w.diary.knew(version)) is not None]
    seen = observer.first(lambda tier_map: tier_map.version >= version)
    first = min([*known, *([seen] if seen is not None else [])], default=None)
    return None if first is None else (first, tuple(known))
