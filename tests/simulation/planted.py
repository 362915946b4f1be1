"""Bugs to plant in the real cores, one for each thing that must not go wrong.

`planted(name)` is a context in which the cores have that bug. A simulation that finds nothing is
worth something only if it finds these.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from tiercluster.cluster import session
from tiercluster.node import lease, prober, verbs_write
from tiercluster.node.breaker import Breaker
from tiercluster.node.coldreads import ColdReads
from tiercluster.node.entry import NEVER
from tiercluster.node.gate import Gate
from tiercluster.node.lease import Lease
from tiercluster.node.ownership import Ownership
from tiercluster.node.peering import Peering
from tiercluster.node.standing import TierStanding
from tiercluster.node.verbs_write import WriteVerbs
from tiercluster.node.writelog import WriteLog
from tiercluster.tiermap import node_steps, tier_steps

from .copies import OLDER
from .planted_checks import CHECK_BUGS, NO_FLOORS, SAME_VERSIONS
from .planted_copies import COPY_BUGS
from .planting import (
    CAS,
    COUNTED,
    EXPIRED,
    OWNER,
    STALE,
    WELL,
    Bug,
    all_of,
    muted,
    only,
    set_to,
    wrapped,
)
from .promises import Violation
from .world import World


def _longer_lease(original: Any) -> Any:
    def recompute(self: Lease) -> None:
        original(self)
        self.held_until += 1.0

    return recompute


def _grants_all(original: Any) -> Any:
    def pinged(self: Peering, *args: Any) -> Any:
        self.withheld = frozenset()
        return original(self, *args)

    return pinged


def _no_deadline(original: Any) -> Any:
    return lambda self, request, *args: original(self, request._replace(deadline_ms=0), *args)


def _keeps_generation(original: Any) -> Any:
    def recovered(tier_map: Any, command: Any) -> Any:
        return original(tier_map, replace(command, keep=True))

    return recovered


def _no_hold_down(original: Any) -> Any:
    def hold(self: Any, watch: Any, now: float, jitter: float) -> None:
        original(self, watch, now, jitter)
        watch.due = now

    return hold


def _any_map(original: Any) -> Any:
    return lambda self, slots, version: original(self, slots, self.map_version)


def _any_stint(original: Any) -> Any:
    def report(tier_map: Any, command: Any) -> Any:
        about = tier_map.member(command.node)
        incarnation = about.incarnation if about else ""
        return original(tier_map, replace(command, incarnation=incarnation))

    return report


def _forgetful(original: Any) -> Any:
    """A client that repeats a request under a new id."""

    def send(self: Any, attempt: Any, ask: Any, now: float) -> Any:
        ask.rid = 0
        return original(self, attempt, ask, now)

    return send


BUGS: dict[str, Bug] = COPY_BUGS | CHECK_BUGS | {
    "no settling": Bug(
        set_to(Ownership, "_has_confirmed", lambda self, member: True), 0, only(OWNER), lags=0.3),
    "a lease too long": Bug(wrapped(Lease, "_recompute", _longer_lease), 3, only(OWNER)),
    "grants to the reported": Bug(wrapped(Peering, "pinged", _grants_all), 6, only(OWNER),
                                    ("one_way", "cut", "slow", "isolate")),
    "late requests served": Bug(wrapped(Gate, "check", _no_deadline), 0, only(STALE),
                                ("cut_client",)),
    "one report is a majority": Bug(
        set_to(node_steps, "_is_voted_out", lambda member, others: bool(member.unreachable_by)),
        7, only(OWNER)),
    "writes applied twice": Bug(
        set_to(WriteLog, "knows", lambda self, client, rid: False), 6, only(COUNTED)),
    "a client that forgets its ids": Bug(
        wrapped(session.Session, "_send", _forgetful), 7, only(COUNTED)),
    "cas without a look": Bug(
        set_to(WriteVerbs, "_is_allowed", lambda self, asked, index, now: True), 0, only(CAS)),
    "versions start anew": Bug(SAME_VERSIONS, 0, only(OLDER)),
    "times to live ignored": Bug(
        set_to(verbs_write, "expires_at", lambda ttl, now: NEVER), 0, only(EXPIRED),
        ("pause_client",), every_s=3.0),
    "requests under an old map served": Bug(
        wrapped(Gate, "_check_slots", _any_map), 16, only(STALE, COUNTED), ("past",), (), 2.0),
    "a cold read of an entry that changed": Bug(
        set_to(ColdReads, "_is_wanted", lambda self, read, place, now: True), 2, only(OLDER),
        ("disk", "operator")),
    "reports about an earlier stint count": Bug(
        wrapped(node_steps, "report_unreachable", _any_stint), 4,
        only("votes of this stint"), lags=0.3),
    "no floors": Bug(NO_FLOORS, 0, only(OLDER), ("pause",), ("n2",), 1.0),
    "a lease without voters": Bug(
        all_of(set_to(lease, "voters_needed", lambda others, is_voter: 0),
             set_to(Ownership, "_may_be_leased", lambda self, old, new: False)),
        6, only(OWNER), lags=0.3),
    "a stop taken for silence": Bug(
        set_to(Lease, "stalled", lambda self, now: None), 3,
        only("alone is who hears nobody"), ("pause",), on_quorum_loss="serve"),
    "generation kept": Bug(
        wrapped(tier_steps, "tier_recovered", _keeps_generation), 2, only("generations grow")),
    "no hold-down": Bug(wrapped(prober.Prober, "_hold", _no_hold_down), 2, only("hold-down"),
                        ("disk", "operator")),
    "tiers used without a commit": Bug(
        set_to(TierStanding, "is_readable", property(lambda self: self.record is not None)), 2,
        only("tiers as the map says"), ("disk", "operator")),
    "a breaker that never closes": Bug(
        set_to(Breaker, "reset", lambda self, now: None), 1, only(WELL), ("disk", "operator")),
}  # fmt: skip


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The cores have this bug."""
    with ExitStack() as stack:
        muted(*BUGS[name].mute)(stack)
        BUGS[name].plant(stack)
        yield


def found_in(name: str, seed: int) -> str:
    """The invariant that a world with this bug breaks; empty if none."""
    with planted(name):
        try:
            World(seed, plan=BUGS[name].plan(seed)).run()
        except Violation as violation:
            return violation.invariant
        except Exception:  # noqa: BLE001 - a core that raises has been found out, too
            return "raises"
    return ""
