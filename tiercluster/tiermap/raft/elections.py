"""Elections: votes count once, are given by those who may, and are asked for beforehand."""

from __future__ import annotations

from pysyncobj.node import Node

from .internals import Internals
from .messages import Body


class Elections(Internals):
    """The override of the candidacy check, and the handlers of the messages around votes."""

    _voted_for_us: tuple[int, set[str]]

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

    def _on_pre_vote(self, node: Node, message: Body) -> None:
        granted = self._would_vote(message)
        if granted:
            self._give_way()
        self._SyncObj__transport.send(
            node,
            {
                "type": "pre_vote_answer",
                "round": message["round"],
                "term": self.term,
                "granted": granted,
            },
        )

    def _give_way(self) -> None:
        """Two that stand together split the votes and lose an election timeout. By a random time,
        so that two that have asked each other do not meet again."""
        spread = self._SyncObj__generateRaftTimeout() - self.conf.raftMinTimeout
        deadline = self._clock() + (spread + self.conf.appendEntriesPeriod) / 4
        self._SyncObj__raftElectionDeadline = max(self._SyncObj__raftElectionDeadline, deadline)

    def _would_vote(self, message: Body) -> bool:
        last = self._SyncObj__raftLog[-1]
        return bool(
            self._admission.may_vote
            and not self.is_leader
            and not self.hears_leader()
            and (message["last_log_term"], message["last_log_index"]) >= (last[2], last[1])
        )

    def hears_leader(self) -> bool:
        # Three heartbeats: shorter than any election timeout, so that the first to ask is not
        # refused by one that heard the leader a moment later (then both would stand together).
        return bool(self._clock() - self._leader_heard_at < 3 * self.conf.appendEntriesPeriod)

    def _on_pre_vote_answer(self, node: Node, message: Body) -> None:
        if self.is_leader or self.hears_leader() or message["round"] != self._prevote.round:
            return
        if message["term"] > self.term and self._admission.may_vote:
            self._step_down(message["term"], hurries=True)  # so that our next term is a new one
        if message["granted"]:
            self._prevote.granted(node.id, message["round"])

    def _on_request_vote(self, node: Node, message: Body) -> None:
        if self._admission.may_vote:
            super()._SyncObj__onMessageReceived(node, message)

    def _on_response_vote(self, node: Node, message: Body) -> None:
        """A vote counts once."""
        term, voters = self._voted_for_us
        if term != self.term:
            voters = set()
        if message["term"] == self.term and node.id not in voters:
            self._voted_for_us = (self.term, voters | {node.id})
            super()._SyncObj__onMessageReceived(node, message)
