"""Following: a log that is only cut where it contradicts, acknowledged when it is on the disk."""

from __future__ import annotations

import logging
from typing import Generic, TypeVar

from pysyncobj import FAIL_REASON
from pysyncobj.node import Node

from .files import REJOIN, DamagedError
from .internals import Internals
from .journal import Entry
from .library import FOLLOWER, call_back
from .machine import Machine
from .messages import Body
from .snapshot import Snapshot

log = logging.getLogger(__name__)
S = TypeVar("S")


class DivergedError(DamagedError):
    """What this member holds as committed is not what the cluster committed."""


class Following(Internals, Generic[S]):
    """The append_entries handler, written anew (H2, H3, H5), and snapshots (H8)."""

    _machine: Machine[S]
    state: S

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
                "term": self.term,
            },
        )

    def _on_append_entries(self, node: Node, message: Body) -> None:
        if not self._admission.may_follow:
            return
        if message["term"] < self.term:
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
        if message["term"] > self.term:
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
        while index - 1 > self.commit_index and journal[index - 1 - first][2] == term:
            index -= 1
        return index

    def _refuse_if_committed(self, index: int) -> None:
        if index <= self.commit_index:
            raise DivergedError(
                f"entry {index} is committed here ({self.commit_index}) and differs from the "
                f"leader's: this member has another history; {REJOIN}"
            )

    def _advance_commit(self, index: int) -> None:
        if index > self.commit_index:
            self._SyncObj__raftCommitIndex = index
            self._SyncObj__raftLog.setRaftCommitIndex(index)

    def _take_snapshot(self, leader: Node, snapshot: Snapshot) -> None:
        """It proves the log up to its own index, no further (H2)."""
        if snapshot.index > self.commit_index:
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
