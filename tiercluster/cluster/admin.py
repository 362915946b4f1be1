"""What operators ask the members, blocking: the map, decisions, status, faults, probes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any

from tiercluster.tiermap import (
    Command,
    Event,
    NodeState,
    OutcomeCode,
    TierMap,
    encode_command,
)

from .api import report_of
from .errors import DeadlineExceeded, Refused, Unavailable, UnknownRef
from .events import events_of
from .keys_files import load_client_keys
from .options import check_timeout, parse_nodes
from .plan import LookOp, NodeOp
from .pool import Pool
from .run import call, watch
from .wire import (
    Decided,
    EventsQuery,
    Fault,
    Fields,
    Kind,
    NodeFault,
    Probe,
    Propose,
    Result,
    StatusQuery,
)

STATUS_TIMEOUT_S = 1.0
MAX_MEMBERS_TRIED = 5  # by one proposal


class Admin:
    """``nodes``: ``"h:p,h:p"`` or an iterable, any reachable one is enough; ``timeout``: seconds
    for one call. Raises Unavailable or DeadlineExceeded if no member answers. Safe to share between
    threads."""

    def __init__(
        self,
        nodes: str | Iterable[str],
        timeout: float = 2.0,
        keys: str | os.PathLike[str] | None = None,
    ) -> None:
        curve = load_client_keys(keys) if keys is not None else None
        self._timeout = check_timeout(timeout)
        self._pool = Pool(parse_nodes(nodes), curve)

    def close(self) -> None:
        self._pool.close()

    def __enter__(self) -> Admin:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hello(self) -> TierMap:
        """The newest map that a member tells."""
        return self._look()[0]

    def _look(self) -> tuple[TierMap, str]:
        """The map, and the member that told it."""
        look = LookOp()
        call(self._pool, look, self._timeout)
        assert look.router is not None
        return look.router.tier_map, look.answered_by

    def propose(self, command: Command) -> Decided:
        """What became of the command. Raises NoQuorum, Refused (by the guard) or UnknownRef. A
        command that changes nothing when it comes twice may go through several members."""
        asked = Propose(encode_command(command))
        until = time.monotonic() + self._timeout
        tier_map, first = self._look()
        others = (m.id for m in tier_map.members if m.state is NodeState.UP and m.id != first)
        error: Unavailable | None = None
        for node in [first, *others][:MAX_MEMBERS_TRIED]:
            left = until - time.monotonic()
            if left <= 0:
                break
            try:
                return _decided(self._ask(node, Kind.PROPOSE, asked, left))
            except Unavailable as unavailable:
                error = unavailable
        raise error or DeadlineExceeded("no member decided in time")

    def status_of(self, address: str) -> dict[str, Any] | None:
        """What the member at this address reports of itself; None if it does not answer, or the
        map has no member there."""
        try:
            tier_map = self._look()[0]
            node = next((m.id for m in tier_map.members if m.address == address), None)
            if node is None:
                return None
            timeout = min(self._timeout, STATUS_TIMEOUT_S)
            return report_of(self._ask(node, Kind.STATUS, StatusQuery(), timeout))
        except (Unavailable, DeadlineExceeded):
            return None

    def events(self, since: int) -> list[Event]:
        """Committed changes after version ``since``, oldest first, as far as a member has them."""
        _, node = self._look()
        result = self._ask(node, Kind.EVENTS, EventsQuery(since))
        return events_of(result, since)

    def fault(
        self, node: str, tier: str, kind: str, ms: float, rate: float, for_ms: float = 0.0
    ) -> None:
        """Inject a fault into a tier's own I/O path, or end it (``kind`` ""). It is over by itself
        after ``for_ms`` unless that is 0. Refused unless the node runs with ``--allow-faults``."""
        self._known(node)
        self._ask(node, Kind.FAULT, Fault(tier, kind, float(ms), float(rate), float(for_ms)))

    def node_fault(
        self, node: str, kind: str, for_ms: float = 0.0, peers: Iterable[str] = ()
    ) -> None:
        """Kill the node's process, freeze it for ``for_ms``, or cut it off from the members
        ``peers`` for so long (partition); ``kind`` "" ends a partition. Refused unless the node
        runs with ``--allow-faults``."""
        self._known(node)
        self._ask(node, Kind.NODE_FAULT, NodeFault(kind, float(for_ms), tuple(peers)))

    def probe(self, node: str, tier: str) -> dict[str, Any]:
        """Probe a tier now; the node's report."""
        self._known(node)
        return report_of(self._ask(node, Kind.PROBE, Probe(tier)))

    def watch(self, version: int, timeout: float) -> TierMap:
        """Wait up to ``timeout`` seconds for a map newer than ``version``; the newest known either
        way."""
        until = time.monotonic() + timeout
        tier_map = self._look()[0]
        if tier_map.version > version:
            return tier_map
        session = self._pool.take()
        try:
            watch(session, version, until)
            router = session.feed.router
            return router.tier_map if router else tier_map
        finally:
            self._pool.give(session)

    def _known(self, node: str) -> None:
        member = self.hello().member(node)
        if member is None or member.state is NodeState.LEFT:
            raise UnknownRef(f"no node {node} in the map")

    def _ask(self, node: str, kind: Kind, fields: Fields, timeout: float | None = None) -> Result:
        operation = NodeOp(kind, node, fields)
        call(self._pool, operation, timeout or self._timeout)
        assert operation.result is not None
        return operation.result


def _decided(result: Result) -> Decided:
    assert isinstance(result, Decided)
    if result.code == OutcomeCode.REFUSED:
        raise Refused(result.reason)
    if result.code == OutcomeCode.UNKNOWN:
        raise UnknownRef(result.reason)
    return result
