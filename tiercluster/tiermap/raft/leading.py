"""Leading: which acknowledgements count, and what becomes of commands on their way to a leader."""

from __future__ import annotations

from pysyncobj import FAIL_REASON
from pysyncobj.node import Node

from .internals import Internals
from .library import call_back, is_append
from .messages import Body


class Leading(Internals):
    """The handlers of acknowledgements and forwarded commands, and what a new link means."""

    def _on_next_node_idx(self, node: Node, message: Body) -> None:
        """An answer to append_entries: of this term only (H1), and a reset never moves forward nor
        below what the member has acknowledged (H5)."""
        if message["term"] > self.term:
            if self._admission.may_vote:
                self._step_down(message["term"])
            return
        match, upcoming = self._SyncObj__raftMatchIndex, self._SyncObj__raftNextIndex
        if message["term"] != self.term or not self.is_leader or node not in match:
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

    def _SyncObj__onLeaderChanged(self) -> None:
        waiting, self._SyncObj__commandsWaitingReply = self._SyncObj__commandsWaitingReply, {}
        for _, callback in sorted(waiting.items()):
            call_back(callback, None, FAIL_REASON.LEADER_CHANGED)

    def _on_apply_command(self, node: Node, message: Body) -> None:
        """Only calls of ``append`` get into the log, whatever a member sends."""
        if is_append(message["command"]):
            super()._SyncObj__onMessageReceived(node, message)

    def _on_apply_command_response(self, node: Node, message: Body) -> None:
        super()._SyncObj__onMessageReceived(node, message)
