"""The control plane's decisions on one node: events in, actions out. Pure and level-triggered.

It holds the last applied map, what the shard reports and what the consensus says of itself; at
every event and tick it compares them and returns what should be done. Nothing is remembered as
"done": what the map does not show is wanted again, so that a lost proposal heals by itself.

    starting --barrier applied--> caught up --joined--> ready to grant --serving--> ready
    any --Stop--> stopping: shard stops --> NodeStopped applied, or STOPPED_S over --> Finish
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tiercluster.tiermap import MapState, Tier, encode_command
from tiercluster.tiermap.raft import (
    Applied,
    BarrierDone,
    Counted,
    Healed,
    Sick,
    Stalled,
    Standing,
)

from .actions import (
    Action,
    AskBarrier,
    BecomeReady,
    ControlEvent,
    Finish,
    FollowFeed,
    FollowReplica,
    Log,
    ProposeFrame,
    Stop,
    TellShard,
)
from .admin import AdminRequests
from .consensus_view import ConsensusView
from .copywatch import CopyWatch
from .levels import level_to_join, raise_desire
from .membership import Membership, Stage
from .messages import (
    AdminAnswer,
    AdminAsked,
    ColdReady,
    DrainDone,
    LevelHeard,
    PeerHeard,
    PeerPaced,
    Probed,
    ProbeDenied,
    RunProbe,
    ServingChanged,
    ShardStats,
    ShardStopped,
    ShardTurn,
    StandingKnown,
    StopServing,
    TierRemedied,
    TierTripped,
    UseMap,
    Withhold,
)
from .own_tiers import OwnTiers
from .peerwatch import PeerWatch
from .proposals import Desire, Proposals, facts_of
from .report_lines import log_line
from .settings import NodeSettings
from .slow_tiers import SlowTiers
from .view import NodeView

COLD_PATIENCE_S = 3.0  # a store that takes longer to open keeps nothing
READY_PATIENCE_S = 2.0  # after joining, for the shard to serve
STOP_MARGIN_S = 2.0  # beyond the grace, for the shard to stop
STOPPED_S = 1.0  # for NodeStopped to be committed


class Coordinator:
    """``token`` names this process for ever, ``new_id`` gives unique command ids, ``jitter`` random
    numbers from 0 to 1. Times: ``now`` monotonic, ``wall`` the wall clock, both in seconds."""

    def __init__(
        self,
        settings: NodeSettings,
        token: str,
        new_id: Callable[[], str],
        jitter: Callable[[], float],
        now: float,
    ) -> None:
        self._settings = settings
        self._jitter = jitter
        self._state = MapState()
        self._consensus = ConsensusView(token, settings.join, now)
        self._membership = Membership(settings, token)
        self._tiers = OwnTiers(settings.id, settings.recovery)
        self._slow = SlowTiers(settings)
        self._peers = PeerWatch(settings)
        self._copies = CopyWatch(settings.id)
        self._proposals = Proposals(new_id)
        self._admin = AdminRequests()
        self._cold: ColdReady | None = None
        self._levels: LevelHeard | None = None
        self._started_at = now
        self._joined_at: float | None = None
        self._serving = ServingChanged(False, "starting", 0)
        self._is_ready = False
        self._stop_by: float | None = None
        self._leave_by: float | None = None
        self._is_finished = False
        self._told_withhold: Withhold | None = None
        self._told_standing: StandingKnown | None = None
        self._stats: ShardStats | None = None
        self.counters: Counter[str] = Counter()
        self._actions: list[Action] = []

    # --- what it shows --------------------------------------------------------------------------

    @property
    def state(self) -> MapState:
        return self._state

    @property
    def is_stopping(self) -> bool:
        return self._stop_by is not None

    def view(self) -> NodeView:
        """What the HTTP port shows."""
        return NodeView(
            node=self._settings.id,
            ready=self._consensus.is_caught_up and self._membership.stage is Stage.JOINED,
            serving=self._serving.serving,
            serving_reason=self._serving.reason,
            map=self._state.map,
            standing=self._known(),
            stats=self._stats,
            counters=(*sorted(self.counters.items()), *self._consensus.counters()),
        )

    def _known(self) -> StandingKnown:
        return self._consensus.known(self.counters["digest_mismatches"])

    # --- events ---------------------------------------------------------------------------------

    def handle(self, event: ControlEvent, now: float, wall: float) -> list[Action]:
        """What follows from one event."""
        if isinstance(event, PeerHeard):  # frequent, and nothing follows at once
            self._peer_heard(event)
            return self._take_actions()
        if isinstance(event, ShardTurn):
            self._stalled(self._peers.shard_turned(event), "shard")
            self._copies.shard_turned(event)
            return self._take_actions()
        if isinstance(event, PeerPaced):
            self._slow.peer(event, now)
            return self._take_actions()
        if isinstance(event, TierTripped | TierRemedied | DrainDone | ServingChanged):
            self._actions.append(log_line(event))
        match event:
            case Applied(state):
                self._applied(state, now)
            case TierTripped():
                self._tiers.tripped(event, now)
            case TierRemedied():
                self.counters[f"{event.strategy}_{'done' if event.ok else 'not_done'}"] += 1
            case Probed():
                too_slow = self._slow.too_slow(event.tier, event.took_s)
                self._tiers.probed(event, now, self._jitter(), too_slow)
                self._answer(self._admin.probed(event))
            case ProbeDenied():
                self._tiers.denied(event, now)
                self._answer(self._admin.denied(event, now))
            case AdminAsked():
                self._asked(event, now)
            case DrainDone():
                self._tiers.drained(event)
            case ColdReady():
                self._cold = event
            case LevelHeard():
                self._levels = event
            case ShardStats():
                self._stats = event
                self._tiers.stats(event, now)
                self._slow.mine(event.paces, self._membership.incarnation, now)
            case ServingChanged():
                self._serving = event
            case ShardStopped(reason):
                self._shard_stopped(reason, now)
            case Stop():
                self._stop(now)
            case _:
                self._consensus_says(event, now)
        return self.tick(now, wall)

    def _consensus_says(self, event: ControlEvent, now: float) -> None:
        match event:
            case Standing():
                self._consensus.stands(event, now)
            case Counted():
                self._consensus.counted = event
            case Stalled(is_stalled):
                self._consensus.stalled(is_stalled, now)
                self._decided("warning", "replica_stalled" if is_stalled else "replica_goes_on")
            case BarrierDone(token, ok):
                if self._consensus.barrier_done(token, ok, now):
                    self._decided("info", "caught_up", map_version=self._state.map.version,
                                  after_s=round(now - self._started_at, 3))  # fmt: skip
            case Sick(reason):
                self._consensus.sick = reason
                self._decided("error", "out_of_voting", reason=reason)
                self._actions.append(FollowFeed(self._state))
            case Healed():
                self._consensus.healed(now)
                self._decided("warning", "voting_again")
                self._actions.append(FollowReplica())

    def _applied(self, state: MapState, now: float) -> None:
        if state.map.version < self._state.map.version:
            return  # of a replica that is healing: the feed was faster
        before, self._state = self._state.map, state
        stage = self._membership.stage
        settled = self._proposals.applied(state, now)
        for wish in settled:
            self._tiers.settled(wish.command, wish.outcome)
            if ejected := self._slow.settled(wish.command, wish.outcome):
                self._tiers.ejected(*ejected, now)
            self._decided("info", "decided", subject=wish.subject, outcome=wish.outcome.code,
                          reason=wish.outcome.reason, version=wish.outcome.version)  # fmt: skip
        self._answer(self._admin.applied(state))
        self._actions.append(TellShard(UseMap(state)))
        if state.map.version == before.version:
            return
        self._membership.use_map(state.map, now)
        if self._membership.stage is not stage:
            self._stage_changed(now)

    def _stage_changed(self, now: float) -> None:
        stage = self._membership.stage
        self._joined_at = now if stage is Stage.JOINED else None
        level = "info" if stage is Stage.JOINED else "warning"
        me = self._state.map.member(self._settings.id)
        version, why = self._state.map.version, me.reason if me else ""
        self._decided(level, f"membership_{stage}", incarnation=self._membership.incarnation,
                      map_version=version, reason=why)  # fmt: skip

    def _peer_heard(self, heard: PeerHeard) -> None:
        self._consensus.heard_of(heard.map_version, heard.node)
        if self._peers.heard(heard, self._state.map):
            self.counters["digest_mismatches"] += 1
            self._decided("critical", "maps_differ_at_one_version", peer=heard.node,
                          version=heard.map_version, mine=self._state.map.digest,
                          theirs=heard.digest)  # fmt: skip

    def _asked(self, asked: AdminAsked, now: float) -> None:
        answer = self._admin.asked(asked, self._state, now)
        if isinstance(answer, Tier):
            self._actions.append(TellShard(RunProbe(answer)))
        elif answer is not None:
            self._answer([answer])

    def _answer(self, answers: list[AdminAnswer]) -> None:
        self._actions += [TellShard(answer) for answer in answers]

    def _stop(self, now: float) -> None:
        if self._stop_by is not None:
            return
        self._stop_by = now + self._settings.stop_grace_s + STOP_MARGIN_S
        self._actions.append(TellShard(StopServing(self._settings.stop_grace_s)))
        self._decided("info", "stopping", grace_s=self._settings.stop_grace_s)

    def _shard_stopped(self, reason: str, now: float) -> None:
        if self._stop_by is None:
            self._decided("critical", "shard_ended", reason=reason)
            self._stop_by = now
            self.counters["shard_failures"] += 1
        if self._leave_by is None:
            self._leave_by = now + STOPPED_S

    def order_lost(self) -> None:
        """The shard's inbox was full: what it must know is told again."""
        self._told_withhold = self._told_standing = None
        self._actions.append(TellShard(UseMap(self._state)))

    # --- what follows ---------------------------------------------------------------------------

    def tick(self, now: float, wall: float) -> list[Action]:
        """Everything that is due or wanted now. Call it at least each 50 ms."""
        jitter = self._jitter()
        map_, stage = self._state.map, self._membership.stage
        takes_part = stage is Stage.JOINED and not self.is_stopping
        self._watch_peers(now)
        self._follow_who_decides(now)
        self._tell_shard()
        self._find_slow(now)
        me = map_.member(self._settings.id) if takes_part else None
        self._tiers.use_member(me, now, jitter)
        probes, desires = self._tiers.tick(now, jitter)
        if takes_part:
            desires += [d for d in self._slow.desires(map_) if not self._tiers.is_known(d.subject)]
        probes += self._admin.probes_due(now)
        self._actions += [TellShard(RunProbe(tier)) for tier in dict.fromkeys(probes)]
        if takes_part and self._consensus.is_caught_up:
            desires += self._peers.desires(self._membership.incarnation)
            desires += self._copies.desires(map_, self._membership.incarnation, now)
            desires += raise_desire(map_, self._levels, self._consensus.level, self._settings)
        desires += self._membership_desires(now)
        self._propose(desires, now, wall)
        self._end_attempts(now)
        self._tick_admin(now)
        self._ask_barrier(now)
        self._become_ready(now)
        self._finish_when_left(now)
        return self._take_actions()

    def _take_actions(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    def _watch_peers(self, now: float) -> None:
        stalled_s = self._peers.tick(now, self._state.map, self._proposals.unsettled_reports)
        self._stalled(stalled_s, "control")

    def _follow_who_decides(self, now: float) -> None:
        if not self._consensus.is_news(self._state.map.version, now) or self._consensus.sick:
            return
        is_left_behind = self._consensus.is_left_behind
        self._decided("warning", "left_behind" if is_left_behind else "hears_the_leader_again",
                      map_version=self._state.map.version)  # fmt: skip
        through = self._state.map.member(self._consensus.heard_from)
        first = through.address if through is not None else ""
        self._actions.append(FollowFeed(self._state, first) if is_left_behind else FollowReplica())

    def _stalled(self, stalled_s: float, worker: str) -> None:
        if stalled_s:
            self.counters["stalls"] += 1
            self._decided("warning", "stalled", worker=worker, seconds=round(stalled_s, 3))

    def _tell_shard(self) -> None:
        """Before anything is proposed: a reported member gets no grant any more."""
        is_ready = self._consensus.is_caught_up and self._membership.stage is Stage.JOINED
        withhold = Withhold(self._peers.withheld, is_ready)
        if withhold != self._told_withhold:
            self._told_withhold = withhold
            self._actions.append(TellShard(withhold))
        standing = self._known()
        if standing != self._told_standing:
            self._told_standing = standing
            self._actions.append(TellShard(standing))

    def _find_slow(self, now: float) -> None:
        for found in self._slow.tick(self._state.map, now):
            facts = dict(found.slow.evidence)
            self._decided("warning", "tier_slow", tier=found.slow.tier, goes=not found.refusal,
                          stays_because=found.refusal, evidence=facts)  # fmt: skip
        self.counters["slow_tiers"] = self._slow.found
        self.counters["slow_tiers_kept"] = self._slow.refused

    def _membership_desires(self, now: float) -> list[Desire]:
        desire = None
        if self._leave_by is not None:
            desire = self._membership.leave_desire()
        elif self._consensus.is_caught_up and not self.is_stopping and self._knows_cold(now):
            level = level_to_join(self._state.map, self._consensus.level)
            desire = self._membership.join_desire(self._state.map, self._cold, level, now)
        return [desire] if desire is not None else []

    def _knows_cold(self, now: float) -> bool:
        return self._cold is not None or now - self._started_at > COLD_PATIENCE_S

    def _propose(self, desires: list[Desire], now: float, wall: float) -> None:
        for command, is_new in self._proposals.want(desires, now, wall):
            self._actions.append(ProposeFrame(encode_command(command)))
            if is_new:
                name = type(command).__name__
                self._decided("info", "proposed", command=name, **facts_of(command))

    def _end_attempts(self, now: float) -> None:
        for ended in self._tiers.ended(self._state.map, now):
            ok = ended.verdict.ok
            self.counters["failovers_done" if ok else "failovers_not_done"] += 1
            self._decided("info" if ok else "error", "recovery_attempted", ref=str(ended.ref),
                          ok=ok, reason=ended.verdict.reason,
                          took_s=round(ended.took_s, 3))  # fmt: skip

    def _tick_admin(self, now: float) -> None:
        frames, answers = self._admin.tick(self._consensus.quorum_lost_s(now), now)
        self._actions += [ProposeFrame(frame) for frame in frames]
        self._answer(answers)

    def _ask_barrier(self, now: float) -> None:
        token = self._consensus.barrier_wanted(now)
        if token:
            self._actions.append(AskBarrier(token))

    def _become_ready(self, now: float) -> None:
        if self._is_ready or self._joined_at is None or not self._consensus.is_caught_up:
            return
        if self._serving.serving or now - self._joined_at > READY_PATIENCE_S:
            self._is_ready = True
            self._actions.append(BecomeReady())
            self._decided("info", "ready", serving=self._serving.serving,
                          after_s=round(now - self._started_at, 3))  # fmt: skip

    def _finish_when_left(self, now: float) -> None:
        if self._stop_by is None or self._is_finished:
            return
        if self._leave_by is None:
            if now >= self._stop_by:
                self._shard_stopped("it did not stop in time", now)
            return
        has_left = self._membership.stage is not Stage.JOINED
        if has_left or now >= self._leave_by:
            self._is_finished = True
            ok = not self.counters["shard_failures"]
            self._decided("info", "stopped", told_the_cluster=has_left)
            self._actions.append(Finish(ok, "stopped" if ok else "the shard worker failed"))

    def _decided(self, level: str, event: str, **facts: object) -> None:
        self._actions.append(Log(level, event, tuple(facts.items())))
