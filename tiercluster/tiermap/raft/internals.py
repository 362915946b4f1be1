"""The private state of pysyncobj that we rely on, named and typed in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pysyncobj import SyncObj
from pysyncobj.node import Node

from .admission import Admission
from .journal import Journal
from .library import FOLLOWER, LEADER
from .links import Links
from .prevote import PreVote
from .snapshot import SnapshotStore

Callback = Callable[..., None]


class Internals(SyncObj):  # type: ignore[misc]
    """Names mangled as the library mangles them; what has no such name is ours."""

    _SyncObj__raftLog: Journal
    _SyncObj__raftState: int
    _SyncObj__raftCurrentTerm: int
    _SyncObj__votedForNodeId: str | None
    _SyncObj__raftLeader: Node | None
    _SyncObj__raftElectionDeadline: float
    _SyncObj__raftCommitIndex: int
    _SyncObj__raftLastApplied: int
    _SyncObj__raftNextIndex: dict[Node, int]
    _SyncObj__raftMatchIndex: dict[Node, int]
    _SyncObj__lastResponseTime: dict[Node, float]
    _SyncObj__newAppendEntriesTime: float
    _SyncObj__leaderCommitIndex: int | None
    _SyncObj__commandsWaitingReply: dict[int, Callback]
    _SyncObj__commandsWaitingCommit: dict[int, list[tuple[int, Callback]]]
    _SyncObj__commandsLocalCounter: int
    _SyncObj__forceLogCompaction: bool
    _SyncObj__needLoadDumpFile: bool
    _SyncObj__serializer: SnapshotStore
    _SyncObj__pipeNotifier: Any
    _SyncObj__transport: Links

    _admission: Admission
    _prevote: PreVote
    _snapshots: SnapshotStore
    _clock: Callable[[], float]
    _leader_heard_at: float

    @property
    def is_leader(self) -> bool:
        return self._SyncObj__raftState == LEADER

    @property
    def commit_index(self) -> int:
        return self._SyncObj__raftCommitIndex

    @property
    def term(self) -> int:
        return self._SyncObj__raftCurrentTerm

    def _postpone_election(self) -> None:
        timeout = self._SyncObj__generateRaftTimeout()
        self._SyncObj__raftElectionDeadline = self._clock() + timeout

    def _step_down(self, term: int, hurries: bool = False) -> None:
        """A follower of ``term``, of no leader yet; ``hurries`` leaves the election timeout."""
        self._SyncObj__setCurrentTerm(term, None)
        self._SyncObj__setState(FOLLOWER)
        self._SyncObj__raftLeader = None
        self._SyncObj__onLeaderChanged()
        if not hurries:
            self._postpone_election()
