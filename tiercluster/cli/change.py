"""Changes that a person asks for: name the tiers, propose, say what became of it, wait for it."""

from __future__ import annotations

import getpass
import socket
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import click

from tiercluster.cluster.wire import Decided
from tiercluster.tiermap import (
    TIERS,
    Command,
    Drain,
    Member,
    OutcomeCode,
    Restore,
    Tier,
    TierMap,
    TierRef,
    TierState,
)

from .doors import not_found, open_admin
from .exits import Code, Stop
from .rendering import print_json
from .session import AdminDoor, Session
from .view import state_of

WATCH_S = 1.0  # how long one question for a newer map may take


@dataclass(frozen=True, slots=True)
class Target:
    """The tiers of one node that a command is about; ``is_node``: its user named the node."""

    node: str
    tiers: tuple[Tier, ...]
    is_node: bool = False

    @property
    def refs(self) -> tuple[TierRef, ...]:
        return tuple(TierRef(self.node, tier) for tier in self.tiers)

    def __str__(self) -> str:
        return f"{self.node}/*" if len(self.tiers) > 1 else str(self.refs[0])


def whole_node(node: str) -> Target:
    return Target(node, TIERS, is_node=True)


def parse_target(text: str) -> Target:
    """``n2/cold`` or ``n2/*``; a usage error for anything else."""
    node, slash, tier = text.partition("/")
    if node and slash and tier == "*":
        return Target(node, TIERS)
    try:
        return Target(node, (TierRef.parse(text).tier,))
    except ValueError as error:
        raise click.UsageError(f"{error} or NODE/*") from error


def find_member(tier_map: TierMap, node: str) -> Member:
    """The member of this id; exit 4 names those there are."""
    member = tier_map.member(node)
    if member is None:
        raise not_found("node", node, (m.id for m in tier_map.members))
    return member


def find_target(tier_map: TierMap, target: Target) -> Member:
    """The member whose tiers are meant; exit 4 names the tiers (the nodes) there are."""
    if target.is_node:
        return find_member(tier_map, target.node)
    member = tier_map.member(target.node)
    if member is None:
        raise not_found("tier", str(target), (str(ref) for ref, _ in tier_map.refs()))
    return member


def envelope() -> dict[str, str | float]:
    """Id, proposer and time of a new command."""
    who = f"{_user()}@{socket.gethostname()}"[:120]
    return {"id": f"cli-{uuid.uuid4().hex}", "by": who, "time": time.time()}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        return "somebody"


def propose(admin: AdminDoor, command: Command, what: str) -> Decided:
    """The decision, if it is done or was so already; else ends with the code for it."""
    decided = admin.propose(command)
    match decided.code:
        case OutcomeCode.DONE | OutcomeCode.NOOP:
            return decided
        case OutcomeCode.REFUSED:
            raise Stop(Code.REFUSED, f"{what}: {decided.reason}")
        case OutcomeCode.UNKNOWN:
            raise Stop(Code.NOT_FOUND, f"{what}: {decided.reason}")
        case _:
            raise Stop(Code.FAILED, f"{what}: {decided.reason}")


def wait_for(
    admin: AdminDoor,
    target: Target,
    wanted: TierState,
    version: int,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> TierMap:
    """The first map in which all these tiers are ``wanted``; exit 5 says how far they came. One
    older than ``version``, of a member that lags behind, shows what was before the decision."""
    deadline = clock() + timeout_s
    tier_map = admin.hello()
    while tier_map.version < version or not _are_all(tier_map, target, wanted):
        left = deadline - clock()
        if left <= 0:
            raise Stop(
                Code.TIMED_OUT,
                f"not {wanted} after {timeout_s:g} s: {described(tier_map, target)}",
            )
        tier_map = admin.watch(tier_map.version, min(left, WATCH_S))
    return tier_map


def _are_all(tier_map: TierMap, target: Target, wanted: TierState) -> bool:
    return all(state is wanted for state in states(tier_map, target))


def states(tier_map: TierMap, target: Target) -> list[TierState]:
    member = find_target(tier_map, target)
    return [state_of(member, member.tier(tier)) for tier in target.tiers]


def described(tier_map: TierMap, target: Target) -> str:
    pairs = zip(target.refs, states(tier_map, target), strict=True)
    return ", ".join(f"{ref} is {state}" for ref, state in pairs)


def tell(tier_map: TierMap, target: Target, decided: Decided, as_json: bool) -> None:
    """What became of it, on stdout."""
    already = decided.code == OutcomeCode.NOOP
    pairs = zip(target.refs, states(tier_map, target), strict=True)
    rows = [{"ref": str(ref), "state": str(state)} for ref, state in pairs]
    if as_json:
        print_json({"version": tier_map.version, "already": already, "tiers": rows})
        return
    for line in _lines(rows, already, tier_map.version):
        click.echo(line)


def _lines(rows: Iterable[dict[str, str]], already: bool, version: int) -> list[str]:
    word = "already " if already else ""
    return [f"{row['ref']} is {word}{row['state']} (map version {version})" for row in rows]


def drain(
    session: Session, target: Target, *, force: bool, wait_s: float | None, as_json: bool
) -> None:
    """`tier drain` and `node drain`."""
    command = Drain(node=target.node, tiers=target.tiers, force=force, **envelope())  # type: ignore[arg-type]
    _carry_out(session, target, command, TierState.DRAINED, wait_s, as_json)


def restore(session: Session, target: Target, *, wait_s: float | None, as_json: bool) -> None:
    """`tier restore` and `node restore`."""
    command = Restore(node=target.node, tiers=target.tiers, **envelope())  # type: ignore[arg-type]
    _carry_out(session, target, command, TierState.UP, wait_s, as_json)


def _carry_out(
    session: Session,
    target: Target,
    command: Command,
    wanted: TierState,
    wait_s: float | None,
    as_json: bool,
) -> None:
    """Propose, wait if asked to (``wait_s``), and say the state."""
    with open_admin(session) as admin:
        find_target(admin.hello(), target)
        decided = propose(admin, command, str(target))
        tier_map = (
            wait_for(admin, target, wanted, decided.version, wait_s)
            if wait_s is not None
            else map_at(admin, decided.version)
        )
        tell(tier_map, target, decided, as_json)


def map_at(admin: AdminDoor, version: int) -> TierMap:
    """The map at ``version`` or newer, or the newest there is after WATCH_S."""
    tier_map = admin.hello()
    return tier_map if tier_map.version >= version else admin.watch(tier_map.version, WATCH_S)
