"""pysyncobj 0.3.17 with its known hazards closed, by overriding the private methods in question.

What was wrong and which override closes it stands in docs/decisions/0003-raft-hardening.md; the
numbers H1 to H18 are those of that page. The append_entries handler is written anew: entries are
compared before anything is cut, what is acknowledged is on the disk, and the commit index only
follows what this very message has verified.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated
from pysyncobj.node import Node

from .admission import Admission, Adopt
from .files import REJOIN, DamagedError
from .journal import Entry, Journal
from .library import (
    BARRIER,
    FOLLOWER,
    LEADER,
    NO_OP,
    REGULAR,
    NullNotifier,
    call_back,
    close_pipe,
    is_append,
)
from .links import Links, Status
from .machine import Machine
from .messages import Body
from .prevote import PreVote
from .snapshot import Snapshot, SnapshotStore

log = logging.getLogger(__name__)
S = TypeVar("S")

FIRST_ENTRY: Entry = (NO_OP, 1, 0)  # the library starts every log with it
FORGOTTEN = "(forgotten)"  # voted for, in a term in which this member cannot know its vote


class DivergedError(DamagedError):
    """What this member holds as committed is not what the cluster committed."""


class HardenedSyncObj(SyncObj, Generic[S]):  # type: ignore[misc]
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
        self.barriers: list[bytes] = []  # tokens applied since the owner last looked
        self.state: S = machine.initial
        others = [Node(peer) for peer in sorted(peers)]
        super().__init__(Node(node_id), others, conf, transport=links)
        self._take_over(journal, first_request_id)
        links.status = self._status
        links.on_hello = lambda peer, hello: admission.heard(peer, hello.term, hello.last_index)
        links.on_new_session = admission.forget_answers
        if not peers:
            self._SyncObj__raftElectionDeadline = 0.0

    def _take_over(self, journal: Journal, first_request_id: int) -> None:
        """Put what is ours in the place of what the library's constructor made."""
        if "_SyncObj__pipeNotifier" in vars(self):
            close_pipe(self._SyncObj__pipeNotifier)
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

    # --- for its owner ----------------------------------------------------------------------------

    @replicated  # type: ignore[untyped-decorator]
    def append(self, frame: bytes) -> None:
        """The one replicated method: kind, then a command of the machine or a barrier's token."""
        if frame[:1] == BARRIER:
            self.barriers.append(frame[1:])
        else:
            self.state = self._machine.apply(self.state, frame[1:])

    @property
    def is_leader(self) -> bool:
        return bool(self._SyncObj__raftState == LEADER)

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
        if self.is_leader:
            self._SyncObj__raftLog.sync()  # before its own copies are counted for a commit
        super().doTick(timeToWait)

    def _proceed_admission(self) -> None:
        while step := self._admission.decide(self.raftCommitIndex, self._clock()):
            if isinstance(step, Adopt):
                term = max(step.term, self.raftCurrentTerm)
                self._SyncObj__setCurrentTerm(term, FORGOTTEN if term else None)
            else:
                self._admit()

    def _status(self) -> Status:
        return Status(
            self.raftCurrentTerm,
            self._SyncObj__raftLog[-1][1],
            self.raftLastApplied,
            self._machine.digest(self.state),
        )

    # --- messages ---------------------------------------------------------------------------------

    def _SyncObj__onMessageReceived(self, node: Node, message: Body) -> None:
        handler = _HANDLERS.get(message["type"])
        if handler is not None:
            handler(self, node, message)

    def _on_request_vote(self, node: Node, message: Body) -> None:
        if self._admission.may_vote:
            super()._SyncObj__onMessageReceived(node, message)

    def _on_response_vote(self, node: Node, message: Body) -> None:
        """A vote counts once."""
        term, voters = self._voted_for_us
        if term != self.raftCurrentTerm:
            voters = set()
        if message["term"] == self.raftCurrentTerm and node.id not in voters:
            self._voted_for_us = (self.raftCurrentTerm, voters | {node.id})
            super()._SyncObj__onMessageReceived(node, message)

    def _on_pre_vote(self, node: Node, message: Body) -> None:
        self._SyncObj__transport.send(
            node,
            {
                "type": "pre_vote_answer",
                "round": message["round"],
                "term": self.raftCurrentTerm,
                "granted": self._would_vote(message),
            },
        )

    def _would_vote(self, message: Body) -> bool:
        last = self._SyncObj__raftLog[-1]
        return bool(
            self._admission.may_vote
            and not self.is_leader
            and not self._has_leader()
            and (message["last_log_term"], message["last_log_index"]) >= (last[2], last[1])
        )

    def _has_leader(self) -> bool:
        # Three heartbeats: shorter than any election timeout, so that the first to ask is not
        # refused by one that heard the leader a moment later (then both would stand together).
        return bool(self._clock() - self._leader_heard_at < 3 * self.conf.appendEntriesPeriod)

    def _on_pre_vote_answer(self, node: Node, message: Body) -> None:
        if self.is_leader or self._has_leader() or message["round"] != self._prevote.round:
            return
        if message["term"] > self.raftCurrentTerm and self._admission.may_vote:
            self._step_down(message["term"], hurries=True)  # so that our next term is a new one
        if message["granted"]:
            self._prevote.granted(node.id, message["round"])

    def _SyncObj__connectedToAnyone(self) -> bool:
        """Consulted when the election timeout has passed: whether to stand now."""
        if not self._admission.may_vote:
            return False
        now = self._clock()
        if self._prevote.has_won(now):
            return True
        if self._prevote.begins_round(now):
            last = self._SyncObj__raftLog[-1]
            for node in self.otherNodes:
                self._SyncObj__transport.send(
                    node,
                    {
                        "type": "pre_vote",
                        "round": self._prevote.round,
                        "last_log_index": last[1],
                        "last_log_term": last[2],
                    },
                )
        return False

    def _step_down(self, term: int, hurries: bool = False) -> None:
        self._SyncObj__setCurrentTerm(term, None)
        self._SyncObj__setState(FOLLOWER)
        self._SyncObj__raftLeader = None
        self._SyncObj__onLeaderChanged()
        if not hurries:
            self._postpone_election()

    def _SyncObj__onLeaderChanged(self) -> None:
        waiting, self._SyncObj__commandsWaitingReply = self._SyncObj__commandsWaitingReply, {}
        for _, callback in sorted(waiting.items()):
            call_back(callback, None, FAIL_REASON.LEADER_CHANGED)

    def _postpone_election(self) -> None:
        timeout = self._SyncObj__generateRaftTimeout()
        self._SyncObj__raftElectionDeadline = self._clock() + timeout

    def _on_apply_command(self, node: Node, message: Body) -> None:
        """Only calls of ``append`` get into the log, whatever a member sends."""
        if is_append(message["command"]):
            super()._SyncObj__onMessageReceived(node, message)

    def _on_apply_command_response(self, node: Node, message: Body) -> None:
        super()._SyncObj__onMessageReceived(node, message)

    # --- leader -----------------------------------------------------------------------------------

    def _on_next_node_idx(self, node: Node, message: Body) -> None:
        """An answer to append_entries: of this term only (H1), and a reset never moves forward nor
        below what the member has acknowledged (H5)."""
        if message["term"] > self.raftCurrentTerm:
            if self._admission.may_vote:
                self._step_down(message["term"])
            return
        match, upcoming = self._SyncObj__raftMatchIndex, self._SyncObj__raftNextIndex
        if message["term"] != self.raftCurrentTerm or not self.is_leader or node not in match:
            return
        index = message["next_node_idx"] - 1
        if message["success"] and index <= self._SyncObj__raftLog[-1][1]:
            match[node] = max(match[node], index)
            upcoming[node] = max(upcoming[node], index + 1)
        elif message["reset"]:
            upcoming[node] = max(min(upcoming[node], index + 1), match[node] + 1, 2)
            self._SyncObj__newAppendEntriesTime = 0.0  # try again at the next tick
        self._SyncObj__lastResponseTime[node] = self._clock()

    def _SyncObj__onNodeConnected(self, node: Node) -> None:
        """A new link may be to a member that has lost its disk: nothing it said before counts."""
        super()._SyncObj__onNodeConnected(node)
        if self.is_leader:
            self._SyncObj__raftMatchIndex[node] = 0
            self._SyncObj__raftNextIndex[node] = self._SyncObj__raftLog[-1][1] + 1

    def _SyncObj__onNodeDisconnected(self, node: Node) -> None:
        """What was on its way may be lost: whoever waits for an answer is told so (H7)."""
        super()._SyncObj__onNodeDisconnected(node)
        self._snapshots.cancelTransmisstion(node)
        if node == self._SyncObj__raftLeader:
            self._SyncObj__onLeaderChanged()

    # --- follower ---------------------------------------------------------------------------------

    def _SyncObj__sendNextNodeIdx(
        self, node: Node, reset: bool = False, nextNodeIdx: int = 1, success: bool = False
    ) -> None:
        self._SyncObj__transport.send(
            node,
            {
                "type": "next_node_idx",
                "next_node_idx": nextNodeIdx,
                "reset": reset,
                "success": success,
                "term": self.raftCurrentTerm,
            },
        )

    def _on_append_entries(self, node: Node, message: Body) -> None:
        if not self._admission.may_follow:
            return
        if message["term"] < self.raftCurrentTerm:
            self._SyncObj__sendNextNodeIdx(node)  # its term tells the sender that it was deposed
            return
        self._follow(node, message)
        if "prevLogIdx" in message:
            self._take_entries(node, message)
        elif message["serialized"] is not None:
            snapshot = self._snapshots.feed(node, tuple(message["serialized"]))
            if snapshot is not None:
                self._take_snapshot(node, snapshot)

    def _follow(self, leader: Node, message: Body) -> None:
        self._postpone_election()
        self._leader_heard_at = self._clock()
        if message["term"] > self.raftCurrentTerm:
            self._SyncObj__setCurrentTerm(message["term"], None)
        if self._SyncObj__raftLeader != leader:
            self._SyncObj__onLeaderChanged()
        self._SyncObj__raftLeader = leader
        self._SyncObj__setState(FOLLOWER)
        self._SyncObj__leaderCommitIndex = message["commit_index"]

    def _take_entries(self, leader: Node, message: Body) -> None:
        """Raft's AppendEntries: nothing is cut without a conflict (H3)."""
        journal = self._SyncObj__raftLog
        first, last = journal[0][1], journal[-1][1]
        prev, entries = message["prevLogIdx"], message["entries"]
        if prev is None or prev > last:
            self._SyncObj__sendNextNodeIdx(leader, reset=True, nextNodeIdx=last + 1)
            return
        if entries and entries[0][1] != prev + 1:
            return
        if prev < first:
            # What was trimmed was committed, hence the same in every leader's log.
            entries = entries[first - prev :]
            prev = min(first, prev + len(message["entries"]))
        elif journal[prev - first][2] != message["prevLogTerm"]:
            self._refuse_if_committed(prev)
            self._SyncObj__sendNextNodeIdx(leader, reset=True, nextNodeIdx=self._conflict(prev))
            return
        self._merge(entries)
        verified = prev + len(entries)
        self._advance_commit(min(message["commit_index"], verified))
        self._SyncObj__sendNextNodeIdx(leader, nextNodeIdx=verified + 1, success=True)

    def _merge(self, entries: list[Entry]) -> None:
        """Append what is new, cut only what contradicts; all of it durable afterwards."""
        journal = self._SyncObj__raftLog
        first, last = journal[0][1], journal[-1][1]
        known = 0
        while known < len(entries):
            _, index, term = entries[known]
            if index > last or journal[index - first][2] != term:
                break
            known += 1
        new = entries[known:]
        if new and new[0][1] <= last:
            self._refuse_if_committed(new[0][1])
            journal.deleteEntriesFrom(new[0][1] - first)
        journal.extend(new)
        journal.sync()

    def _conflict(self, index: int) -> int:
        """Where the leader should start: the whole term that differs is skipped at once."""
        journal = self._SyncObj__raftLog
        first = journal[0][1]
        term = journal[index - first][2]
        while index - 1 > self.raftCommitIndex and journal[index - 1 - first][2] == term:
            index -= 1
        return index

    def _refuse_if_committed(self, index: int) -> None:
        if index <= self.raftCommitIndex:
            raise DivergedError(
                f"entry {index} is committed here ({self.raftCommitIndex}) and differs from the "
                f"leader's: this member has another history; {REJOIN}"
            )

    def _advance_commit(self, index: int) -> None:
        if index > self.raftCommitIndex:
            self._SyncObj__raftCommitIndex = index
            self._SyncObj__raftLog.setRaftCommitIndex(index)

    # --- snapshots --------------------------------------------------------------------------------

    def _take_snapshot(self, leader: Node, snapshot: Snapshot) -> None:
        """It proves the log up to its own index, no further (H2)."""
        if snapshot.index > self.raftCommitIndex:
            try:
                state = self._machine.decode(snapshot.state)
            except ValueError:
                log.critical("the leader's snapshot at %d cannot be read here", snapshot.index)
                return
            self._snapshots.write(snapshot)
            self._restore(snapshot, state)
        self._SyncObj__sendNextNodeIdx(leader, nextNodeIdx=snapshot.index + 1, success=True)

    def _load_snapshot(self) -> None:
        """At start; DamagedError if log and snapshot do not meet."""
        snapshot, first = self._snapshots.read(), self._SyncObj__raftLog[0][1]
        if first > (1 if snapshot is None else snapshot.previous[1]):
            raise DamagedError(
                f"the log starts at entry {first}, its snapshot is missing; {REJOIN}"
            )
        if snapshot is None:
            return
        try:
            state = self._machine.decode(snapshot.state)
        except ValueError as error:
            raise DamagedError(f"{self._snapshots.path}: {error}; {REJOIN}") from error
        self._restore(snapshot, state)

    def _restore(self, snapshot: Snapshot, state: S) -> None:
        """State and log are what the (durable) snapshot says. Entries behind it are kept when the
        log contains its last one: so a crash between snapshot and trim loses nothing (H8)."""
        journal = self._SyncObj__raftLog
        at = snapshot.index - journal[0][1]
        holds_it = at < len(journal) and journal[at][1:] == snapshot.last[1:]
        kept = journal[at + 1 :] if holds_it else []
        if not (holds_it and at == 1):
            journal.replace([snapshot.previous, snapshot.last, *kept])
        self.state = state
        self._SyncObj__raftLastApplied = snapshot.index
        self._advance_commit(snapshot.index)
        waiting = self._SyncObj__commandsWaitingCommit
        for index in [index for index in waiting if index <= snapshot.index]:
            for _, callback in waiting.pop(index):
                call_back(callback, None, FAIL_REASON.UNKNOWN_OUTCOME)

    def _SyncObj__tryLogCompaction(self) -> None:
        """Snapshot, durable; only then the trim (H8)."""
        journal = self._SyncObj__raftLog
        is_forced = self._SyncObj__forceLogCompaction
        if len(journal) <= self.conf.logCompactionMinEntries and not is_forced:
            return
        self._SyncObj__forceLogCompaction = False
        at = self.raftLastApplied - journal[0][1]
        if at < 2:  # nothing in front of the two entries that a trimmed log starts with
            return
        journal.sync()
        state = self._machine.encode(self.state)
        self._snapshots.write(Snapshot(state, journal[at], journal[at - 1]))
        journal.deleteEntriesTo(at - 1)

    # --- applying ---------------------------------------------------------------------------------

    def _SyncObj__applyLogEntries(self) -> bool:
        """An entry that raises has no effect, on every member alike; a callback that raises harms
        nobody else (H13)."""
        applied = self.raftLastApplied
        count = max(0, self.raftCommitIndex - applied)
        pending = self._SyncObj__getEntries(applied + 1, count)
        for command, index, term in pending:
            result = self._apply(command, index)
            self._SyncObj__raftLastApplied = index
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
