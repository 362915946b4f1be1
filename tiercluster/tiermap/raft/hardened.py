"""pysyncobj 0.3.17 with its known hazards closed, by overriding the private methods in question.

What was wrong and which override closes it stands in docs/decisions/0003-raft-hardening.md; the
numbers H1 to H18 are those of that page. The append_entries handler is written anew: entries are
compared before anything is cut, what is acknowledged is on the disk, and the commit index only
follows what this very message has verified.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from pysyncobj import FAIL_REASON, SyncObjConf, replicated
from pysyncobj.node import Node

from .admission import Admission, Adopt
from .digests import Digests
from .elections import Elections
from .following import Following
from .journal import Entry, Journal
from .leading import Leading
from .library import (
    BARRIER,
    NO_OP,
    REGULAR,
    NullNotifier,
    call_back,
    close_pipe,
)
from .links import Links, Status
from .machine import Machine
from .messages import Body, Hello
from .prevote import PreVote
from .snapshot import SnapshotStore

log = logging.getLogger(__name__)
S = TypeVar("S")

FIRST_ENTRY: Entry = (NO_OP, 1, 0)  # the library starts every log with it
FORGOTTEN = "(forgotten)"  # voted for, in a term in which this member cannot know its vote


class HardenedSyncObj(Elections, Leading, Following[S]):
    """One member of the consensus. Not thread-safe: its one thread ticks it and feeds its links."""

    def __init__(
        self,
        node_id: str,
        peers: frozenset[str],
        conf: SyncObjConf,
        links: Links,
        journal: Journal,
        snapshots: SnapshotStore,
        admission: Admission,
        admit: Callable[[], None],
        machine: Machine[S],
        clock: Callable[[], float],
        first_request_id: int,
    ) -> None:
        if conf.dynamicMembershipChange or conf.autoTick:
            raise ValueError("voters are fixed (H4) and the replica's own thread ticks (H18)")
        self._links, self._snapshots, self._machine = links, snapshots, machine
        self._admission, self._admit, self._clock = admission, admit, clock
        self._leader_heard_at = float("-inf")
        self._voted_for_us: tuple[int, set[str]] = (0, set())
        self._prevote = PreVote(len(peers) + 1, conf.raftMinTimeout / 4, conf.raftMinTimeout)
        self.failed_frames = 0
        self.digests = Digests(len(peers) + 1)
        self.barriers: list[bytes] = []  # tokens applied since the owner last looked
        self.state: S = machine.initial
        others = [Node(peer) for peer in sorted(peers)]
        super().__init__(Node(node_id), others, conf, transport=links)
        self._take_over(journal, first_request_id)
        links.status = self._status
        links.on_hello = self._on_hello
        links.on_new_session = admission.forget_answers
        if not peers:
            self._SyncObj__raftElectionDeadline = 0.0

    def _take_over(self, journal: Journal, first_request_id: int) -> None:
        """Put what is ours in the place of what the library's constructor made."""
        close_pipe(vars(self).get("_SyncObj__pipeNotifier"))
        self._SyncObj__pipeNotifier = NullNotifier()
        self._SyncObj__commandsLocalCounter = first_request_id  # H6
        self._SyncObj__serializer = self._snapshots
        self._SyncObj__needLoadDumpFile = False
        self._SyncObj__raftLog = journal
        if len(journal) == 0:
            journal.add(*FIRST_ENTRY)
            journal.sync()
        self._SyncObj__raftCurrentTerm = max(journal.getCurrentTerm(), journal[-1][2])
        self._SyncObj__votedForNodeId = journal.getVotedForNodeId()
        self._SyncObj__raftCommitIndex = journal.getRaftCommitIndex()
        self._load_snapshot()

    @replicated  # type: ignore[untyped-decorator]
    def append(self, frame: bytes) -> None:
        """The one replicated method: kind, then a command of the machine or a barrier's token."""
        if frame[:1] == BARRIER:
            self.barriers.append(frame[1:])
        else:
            self.state = self._machine.apply(self.state, frame[1:])

    @property
    def leader_id(self) -> str | None:
        leader = self._SyncObj__raftLeader
        return None if leader is None else str(leader.id)

    def has_quorum(self, now: float) -> bool:
        """A leader and a majority have heard of each other within the fallback time (H14)."""
        if self.leader_id is None:
            return False
        since = now - self.conf.leaderFallbackTimeout
        if not self.is_leader:
            return bool(self._leader_heard_at > since)
        heard = sum(at > since for at in self._SyncObj__lastResponseTime.values())
        return bool(2 * (1 + heard) > len(self.otherNodes) + 1)

    def is_urgent(self) -> bool:
        """Whether the next tick has something to do without any message."""
        return not self._SyncObj__raftLog.is_synced()

    def doTick(self, timeToWait: float = 0.0) -> None:
        """JournalError when this member can no longer vouch for what it says."""
        self._proceed_admission()
        self._SyncObj__raftLog.sync()  # before a leader counts its own copies for a commit
        super().doTick(timeToWait)

    def _proceed_admission(self) -> None:
        while step := self._admission.decide(self.commit_index, self._clock()):
            if isinstance(step, Adopt):
                term = max(step.term, self.term)
                self._SyncObj__setCurrentTerm(term, FORGOTTEN if term else None)
            else:
                self._admit()

    def _on_hello(self, peer: str, hello: Hello) -> None:
        self._admission.heard(peer, hello.term, hello.last_index)
        self.digests.told(peer, hello.applied, hello.digest)

    def _status(self) -> Status:
        return Status(
            self.term,
            self._SyncObj__raftLog[-1][1],
            self.raftLastApplied,
            self._machine.digest(self.state),
            self._machine.level(self.state),
        )

    def _SyncObj__onMessageReceived(self, node: Node, message: Body) -> None:
        handler = _HANDLERS.get(message["type"])
        if handler is not None:
            handler(self, node, message)

    def _SyncObj__applyLogEntries(self) -> bool:
        """An entry that raises has no effect, on every member alike; a callback that raises harms
        nobody else (H13)."""
        applied = self.raftLastApplied
        count = max(0, self.commit_index - applied)
        pending = self._SyncObj__getEntries(applied + 1, count)
        for command, index, term in pending:
            result = self._apply(command, index)
            self._SyncObj__raftLastApplied = index
            self.digests.applied(index, self._machine.digest(self.state))
            for asked_term, callback in self._SyncObj__commandsWaitingCommit.pop(index, ()):
                if asked_term == term:
                    call_back(callback, result, FAIL_REASON.SUCCESS)
                else:
                    call_back(callback, None, FAIL_REASON.DISCARDED)
        return bool(pending) and not self.conf.appendEntriesUseBatch

    def _apply(self, command: bytes, index: int) -> Any:
        if command[:1] != REGULAR:  # no-ops; there are no membership or version changes (H4)
            return None
        try:
            return self._SyncObj__doApplyCommand(command)
        except Exception:  # raising here would wedge every member for ever
            self.failed_frames += 1
            log.critical("entry %d failed, on every member alike", index, exc_info=True)
            return None

    def addNodeToCluster(self, node: Node, callback: Any = None) -> None:
        """H4: refused; voters are fixed."""
        call_back(callback, None, FAIL_REASON.REQUEST_DENIED)

    def removeNodeFromCluster(self, node: Node, callback: Any = None) -> None:
        """H4: refused; voters are fixed."""
        call_back(callback, None, FAIL_REASON.REQUEST_DENIED)


_HANDLERS: dict[str, Callable[[HardenedSyncObj[Any], Node, Body], None]] = {
    "request_vote": HardenedSyncObj._on_request_vote,
    "response_vote": HardenedSyncObj._on_response_vote,
    "pre_vote": HardenedSyncObj._on_pre_vote,
    "pre_vote_answer": HardenedSyncObj._on_pre_vote_answer,
    "append_entries": HardenedSyncObj._on_append_entries,
    "next_node_idx": HardenedSyncObj._on_next_node_idx,
    "apply_command": HardenedSyncObj._on_apply_command,
    "apply_command_response": HardenedSyncObj._on_apply_command_response,
}
