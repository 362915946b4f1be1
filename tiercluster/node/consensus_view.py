"""What this node knows of the consensus: who leads, is there a quorum, have we caught up. Pure."""

from __future__ import annotations

from tiercluster.tiermap.raft import Counted, Standing

from .messages import StandingKnown

BARRIER_AGAIN_S = 5.0
LEFT_BEHIND_S = 0.5  # an election takes less, and brings what is missing


class ConsensusView:
    """``join``: the address that a follower follows through, empty for a voter."""

    def __init__(self, token: str, join: str, now: float) -> None:
        self._token = token
        self._join = join
        self._standing = self._own = Standing(None, False, False, 0)
        self._quorum_lost_at: float | None = now
        self._barriers = 0
        self._barrier_due = now
        self.sick = ""
        self.counted: Counted | None = None  # a follower has nothing to count
        self.is_caught_up = False
        self._newest_heard, self.heard_from = 0, ""
        self._behind_since: float | None = None
        self.is_left_behind = False
        self._is_stalled = False  # the replica

    def stands(self, standing: Standing, now: float) -> None:
        """The replica's own standing has a term, that which the feed tells of has none; it may
        still tell when the replica takes part again."""
        if standing.term:
            self._own = standing
        elif not self._join and not self.sick and not self.is_left_behind:
            return
        self._use(standing, now)

    def healed(self, now: float) -> None:
        """The replica takes part again. It tells its standing only when that changes."""
        self.sick = ""
        self._use(self._own, now)

    def stalled(self, is_stalled: bool, now: float) -> None:
        """What the replica told last counts no more while it does not come round."""
        self._is_stalled = is_stalled
        if not self.sick:
            self._use(Standing(None, False, False, 0) if is_stalled else self._own, now)

    # --- left behind: the others decide, and the replica does not hear of it ---------------------

    def heard_of(self, version: int, node: str) -> None:
        """A member's ping told that it holds this version. ``heard_from`` is the newest's."""
        if version >= self._newest_heard:
            self._newest_heard, self.heard_from = version, node

    def is_news(self, version: int, now: float) -> bool:
        """Whether `is_left_behind` has changed. It becomes true when a member has told of a newer
        map than ``version``, ours, and for LEFT_BEHIND_S our replica has had neither that nor a
        quorum: its link to the leader is cut, while others still reach both, or it hangs."""
        if self._join or self.sick or (self._own.quorum and not self._is_stalled):
            self._behind_since = None
            return self._turn(False, now)
        if version < self._newest_heard and self._behind_since is None:
            self._behind_since = now
        since = now if self._behind_since is None else self._behind_since
        return not self.is_left_behind and self._turn(now - since > LEFT_BEHIND_S, now)

    def _turn(self, is_left_behind: bool, now: float) -> bool:
        if is_left_behind == self.is_left_behind:
            return False
        self.is_left_behind = is_left_behind
        if not is_left_behind and not self.sick:
            self._use(self._own, now)
        return True

    def _use(self, standing: Standing, now: float) -> None:
        self._standing = standing
        if standing.quorum:
            self._quorum_lost_at = None
        elif self._quorum_lost_at is None:
            self._quorum_lost_at = now

    @property
    def level(self) -> int:
        """What a majority of the voters speaks, if this node is one of them."""
        return self._own.level

    def quorum_lost_s(self, now: float) -> float:
        """For how long there has been no quorum; 0 if there is one."""
        return 0.0 if self._quorum_lost_at is None else now - self._quorum_lost_at

    def barrier_done(self, token: str, ok: bool, now: float) -> bool:
        """True when this says for the first time that the map has caught up."""
        if token != self._barrier_token or self.is_caught_up:
            return False
        self._barrier_due = now
        self.is_caught_up = ok
        return ok

    def barrier_wanted(self, now: float) -> str:
        """The token of a barrier to ask for now, or nothing."""
        if self.is_caught_up or now < self._barrier_due:
            return ""
        self._barriers += 1
        self._barrier_due = now + BARRIER_AGAIN_S
        return self._barrier_token

    @property
    def _barrier_token(self) -> str:
        return f"{self._token}/{self._barriers}"

    def counters(self) -> tuple[tuple[str, int], ...]:
        """As the metrics show them."""
        counted = self.counted
        return (
            ()
            if counted is None
            else (
                ("raft_denied", counted.denied),
                ("raft_refused", counted.refused),
                ("raft_digest_mismatches", counted.digest_mismatches),
                ("raft_failed_frames", counted.failed_frames),
            )
        )

    def known(self, map_mismatches: int) -> StandingKnown:
        """As `status` shows it. ``map_mismatches``: how often a map of another member differed."""
        note = self.sick or (f"follows through {self._join}" if self._join else "")
        note = note or ("does not hear the leader, follows another member" * self.is_left_behind)
        is_voting = not note
        mismatches = map_mismatches + (self.counted.digest_mismatches if self.counted else 0)
        leader, quorum = self._standing.leader, self._standing.quorum
        return StandingKnown(leader, quorum, is_voting, note, mismatches)
