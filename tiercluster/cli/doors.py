"""Opens the admin connection that a command works through, and looks at the cluster with it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

from tiercluster.cluster.admin import Admin
from tiercluster.cluster.errors import TierclusterError
from tiercluster.tiermap import Member, NodeState, TierMap

from .exits import Code, Stop
from .session import AdminDoor, Session
from .view import Said, View

CALL_S = 1.5  # one question; "no quorum" is said within two seconds
MAX_ASKING = 16  # nodes asked for their status at a time


def open_admin(session: Session) -> AbstractContextManager[AdminDoor]:
    """An admin connection to any reachable member; closed at the end of the block."""
    return session.make_admin(session) if session.make_admin else _admin(session)


@contextmanager
def _admin(session: Session) -> Iterator[AdminDoor]:
    try:
        admin = Admin(session.addresses, timeout=CALL_S, keys=session.keys)
    except ValueError as error:  # its keys cannot be read
        raise Stop(Code.USAGE, str(error)) from error
    try:
        yield admin
    finally:
        admin.close()


def look(session: Session) -> View:
    """The map from any member, and what every node that is UP says of itself."""
    with open_admin(session) as admin:
        tier_map = admin.hello()
        return View(tier_map, ask_all(admin, up_members(tier_map)))


def up_members(tier_map: TierMap) -> list[Member]:
    return [m for m in tier_map.members if m.state is NodeState.UP]


def ask_all(admin: AdminDoor, members: Iterable[Member]) -> dict[str, Said]:
    """STATUS of all at once; who does not answer in time is left out."""

    def ask(member: Member) -> Said | None:
        try:
            return admin.status_of(member.address)
        except TierclusterError:
            return None

    asked = list(members)
    if not asked:
        return {}
    with ThreadPoolExecutor(min(MAX_ASKING, len(asked))) as pool:
        answers = list(pool.map(ask, asked))
    return {m.id: said for m, said in zip(asked, answers, strict=True) if said is not None}


def not_found(what: str, name: str, known: Iterable[str]) -> Stop:
    """What a command ends with for a node or tier that the map does not have."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    listed = ", ".join(names[:30]) + (", ..." if names[30:] else "") or "none"
    return Stop(Code.NOT_FOUND, f"no {what} {name}: {hint}known: {listed}")
