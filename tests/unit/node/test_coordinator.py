"""The coordinator against the true state machine: what it proposes until the map agrees."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TypeVar

import cbor2
import pytest

from tiercluster.cluster.wire import (
    Decided,
    Kind,
    Probe,
    Propose,
    Refusal,
    Report,
    Request,
    Status,
)
from tiercluster.node.actions import (
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
from tiercluster.node.admin import DECIDE_S
from tiercluster.node.coordinator import Coordinator
from tiercluster.node.failures import Failure, FailureKind
from tiercluster.node.messages import (
    AdminAnswer,
    AdminAsked,
    ColdReady,
    DrainDone,
    PeerHeard,
    Probed,
    ProbeDenied,
    RunProbe,
    ServingChanged,
    ShardOrder,
    ShardStats,
    ShardStopped,
    ShardTurn,
    StandingKnown,
    StopServing,
    TierStats,
    TierTripped,
    UseMap,
    Withhold,
)
from tiercluster.node.settings import NodeSettings, RecoverySettings
from tiercluster.tiermap import (
    LEVEL,
    Admin,
    Barrier,
    Command,
    Drain,
    Drained,
    Health,
    MapState,
    NodeJoined,
    NodeState,
    NodeStopped,
    RemoveNode,
    ReportReachable,
    ReportUnreachable,
    Restore,
    Tier,
    TierFailed,
    TierRecord,
    TierRecovered,
    TierRef,
    apply,
    decode_command,
    encode_command,
)
from tiercluster.tiermap.raft import (
    Applied,
    BarrierDone,
    Counted,
    Healed,
    Sick,
    Stalled,
    Standing,
)

O = TypeVar("O")  # noqa: E741
SETTINGS = NodeSettings(recovery=RecoverySettings(jitter=0.0))
LEADS = Standing("n1", True, True, 1, LEVEL)
LOST = Standing(None, False, False, 1)
OPEN = ColdReady(False, "", 0, None)


def join(node: str, number: int = 1, expected: str = "") -> NodeJoined:
    return NodeJoined(id=f"join-{node}-{number}", by=node, node=node, cluster="default",
                      address=f"{node}:1", raft=f"{node}:2", expected=expected,
                      incarnation=f"{node}-t#{number}", level=LEVEL)  # fmt: skip


class World:
    """One node n1, a consensus that commits at once unless ``commits`` is False, and other members
    that are heard unless they are silent."""

    def __init__(self, *others: str, state: MapState | None = None, cold: ColdReady = OPEN,
                 leads: Standing = LEADS) -> None:  # fmt: skip
        self.state = state or MapState()
        for node in others:
            self.state = apply(self.state, join(node))
        self.others, self.silent = list(others), set[str]()
        self.now, self.commits = 100.0, True
        self.withheld: frozenset[str] = frozenset()
        self.proposed: list[Command] = []
        self.orders: list[ShardOrder] = []
        self.logs: list[Log] = []
        self.other_actions: list[Action] = []
        ids = count()
        self.node = Coordinator(SETTINGS, "t", lambda: f"id-{next(ids)}", lambda: 0.5, self.now)
        self.tell(Applied(self.state))
        self.tell(leads)
        self.tell(cold)
        self.run(0.1)

    def tell(self, event: ControlEvent) -> None:
        self._do(self.node.handle(event, self.now, 1e9))

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case ProposeFrame(frame):
                    self.proposed.append(decode_command(frame))
                    if self.commits:
                        self.commit(decode_command(frame))
                case TellShard(order):
                    self.orders.append(order)
                    if isinstance(order, Withhold):
                        self.withheld = order.nodes
                        self.tell(ShardTurn(self.now, order.nodes))
                case AskBarrier(token):
                    self.tell(BarrierDone(token, True))
                case Log():
                    self.logs.append(action)
                case _:
                    self.other_actions.append(action)

    def commit(self, command: Command) -> None:
        after = apply(self.state, command)
        if after is not self.state:
            self.state = after
            self.tell(Applied(after))

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.05)):
            self.now += 0.05
            self.tell(ShardTurn(self.now, self.withheld))
            for node in self.others:
                member = self.state.map.member(node)
                if node not in self.silent and member is not None:
                    self.tell(PeerHeard(node, member.incarnation, self.now, 0, "", False))
            self._do(self.node.tick(self.now, 1e9))

    def of(self, kind: type[O]) -> list[O]:
        """What was proposed, ordered or done of this kind."""
        everything = [*self.proposed, *self.orders, *self.other_actions]
        return [thing for thing in everything if isinstance(thing, kind)]

    def tier(self, tier: Tier = Tier.COLD) -> TierRecord:
        member = self.state.map.member("n1")
        assert member is not None
        return member.tier(tier)

    def trip(self, tier: Tier = Tier.COLD, kind: FailureKind = FailureKind.IO_ERROR) -> None:
        generation = self.tier(tier).generation
        self.tell(TierTripped(tier, generation, kind, (("failures", 5),), self.now - 0.1))

    def answer_probes(self, seconds: float, failure: Failure | None = None) -> None:
        """Runs on and answers every probe as it comes."""
        for _ in range(round(seconds / 0.05)):
            orders, self.orders = self.orders, []
            for order in orders:
                if isinstance(order, RunProbe):
                    self.tell(Probed(order.tier, failure, 0.001))
            self.run(0.05)

    def logged(self, event: str) -> list[dict[str, object]]:
        return [dict(log.facts) for log in self.logs if log.event == event]


# --- joining ------------------------------------------------------------------------------------


def test_it_joins_when_it_has_caught_up_and_is_ready_when_the_shard_serves() -> None:
    world = World()
    assert [c.incarnation for c in world.of(NodeJoined)] == ["t#1"]
    assert world.of(Withhold)[-1] == Withhold(frozenset(), ready=True)
    assert not world.of(BecomeReady)
    world.tell(ServingChanged(True, "lease held", 1))
    assert world.of(BecomeReady)
    assert world.node.view().ready


def test_without_a_barrier_it_neither_joins_nor_grants_and_asks_again() -> None:
    node = Coordinator(SETTINGS, "t", lambda: "id", lambda: 0.5, 0.0)
    asked = []
    for step in range(1, 5):
        actions = node.tick(step * 0.05, 0.0)
        asked += [a.token for a in actions if isinstance(a, AskBarrier)]
        actions += node.handle(BarrierDone(asked[-1], False), step * 0.05, 0.0)
        actions += node.handle(BarrierDone("of another", True), step * 0.05, 0.0)
        asked += [a.token for a in actions if isinstance(a, AskBarrier)]
        assert not any(isinstance(a, ProposeFrame) for a in actions)
        assert TellShard(Withhold(frozenset(), True)) not in actions
    assert len(set(asked)) > 1


def test_it_waits_for_the_cold_store_before_it_joins_but_not_for_ever() -> None:
    node = Coordinator(SETTINGS, "t", lambda: "id", lambda: 0.5, 0.0)
    (ask,) = [a for a in node.tick(0.0, 0.0) if isinstance(a, AskBarrier)]
    actions = node.handle(BarrierDone(ask.token, True), 0.1, 0.0)
    assert not any(isinstance(a, ProposeFrame) for a in actions)
    actions = node.tick(3.5, 0.0)
    assert any(isinstance(a, ProposeFrame) for a in actions)


@pytest.mark.parametrize(
    ("cold", "keeps"),
    [
        (ColdReady(True, "n1-t", 1, None), True),
        (ColdReady(True, "n1-t#1", 1, None), True),
        (ColdReady(True, "other", 1, None), False),
        (ColdReady(True, "n1-t", 2, None), False),
        (ColdReady(False, "n1-t", 1, None), False),
    ],
)
def test_cold_data_is_kept_only_of_the_last_incarnation_and_generation(
    cold: ColdReady, keeps: bool
) -> None:
    world = World(state=apply(MapState(), join("n1")), cold=cold)
    (joined,) = world.of(NodeJoined)
    assert (joined.expected, joined.keep_cold) == ("n1-t#1", keeps)
    assert world.tier().generation == (1 if keeps else 2)


def test_voted_out_it_comes_back_with_a_new_incarnation_and_keeps_nothing() -> None:
    world = World("n2", "n3", cold=ColdReady(True, "t", 1, None))
    world.run(2)
    vote_out(world, "t#1")
    world.run(0.1)
    joins = world.of(NodeJoined)
    assert [(j.incarnation, j.expected, j.keep_cold) for j in joins] == [
        ("t#1", "", False),
        ("t#2", "t#1", False),
    ]
    member = world.state.map.member("n1")
    assert member is not None
    assert member.state is NodeState.UP


def vote_out(world: World, incarnation: str) -> None:
    for node in world.others:
        command = ReportUnreachable(id=f"r-{node}-{incarnation}", by=node, node="n1",
                                    incarnation=incarnation)  # fmt: skip
        world.commit(command)


def test_one_that_is_voted_out_again_and_again_comes_back_once_a_second() -> None:
    world = World("n2", "n3")
    for number in range(1, 4):
        vote_out(world, f"t#{number}")
        world.run(0.6)
        assert len(world.of(NodeJoined)) == number
        world.run(0.6)
        assert len(world.of(NodeJoined)) == number + 1


def test_a_tier_that_was_out_while_others_owned_its_keys_keeps_nothing() -> None:
    world = World("n2", "n3")
    world.run(2)
    world.trip()
    world.run(0.1)
    vote_out(world, "t#1")
    world.answer_probes(6)
    assert [c.keep for c in world.of(TierRecovered)] == [False]
    assert world.tier().health is Health.UP


def test_what_an_operator_removed_stays_out_until_it_is_started_anew() -> None:
    world = World("n2")
    world.commit(RemoveNode(id="x", by="op", node="n1", force=True))
    world.run(5)
    assert len(world.of(NodeJoined)) == 1
    assert not world.node.view().ready


def test_a_proposal_that_is_lost_is_made_again_under_its_id() -> None:
    world = World("n2")
    world.commits = False
    world.trip()
    world.run(1)
    failed = world.of(TierFailed)
    assert 3 <= len(failed) <= 5
    assert len({c.id for c in failed}) == 1
    world.commits = True
    world.run(0.5)
    assert world.tier().health is Health.DOWN
    assert len(world.logged("proposed")) == 2, "one line for a decision, not for each try"


def test_h15_a_proposal_of_unknown_fate_that_is_applied_late_and_again_counts_once() -> None:
    """Nothing that the consensus says of a proposal is believed; only what is applied."""
    world = World("n2", "n3")
    world.commits = False
    world.trip()
    world.run(1)
    first, *copies = world.of(TierFailed)
    before = world.state.map.version
    world.commit(first)
    assert world.tier().health is Health.DOWN
    for copy in copies:
        world.commit(copy)
    assert world.state.map.version == before + 1
    world.run(1)
    assert len(world.of(TierFailed)) == 1 + len(copies)


# --- own tiers ----------------------------------------------------------------------------------


def test_a_tripped_tier_is_down_in_the_map_and_the_attempt_says_true_only_then() -> None:
    world = World("n2", "n3")
    world.commits = False
    world.trip()
    world.run(0.5)
    assert not world.logged("recovery_attempted")
    world.commits = True
    world.run(0.5)
    assert world.tier().health is Health.DOWN
    (attempt,) = world.logged("recovery_attempted")
    assert attempt["ok"] is True
    evidence = dict(world.tier().evidence)
    assert evidence["failures"] == 5
    assert evidence["kind"] == "io_error"


def test_an_attempt_without_quorum_is_false_in_time_and_still_made_good_later() -> None:
    world = World("n2", "n3")
    world.commits = False
    world.trip()
    world.run(2.2)
    (attempt,) = world.logged("recovery_attempted")
    assert attempt["ok"] is False
    world.commits = True
    world.run(0.5)
    assert world.tier().health is Health.DOWN


def test_a_refused_down_is_an_attempt_that_failed_and_probes_bring_the_tier_back() -> None:
    world = World("n2")
    world.commit(
        TierFailed(id="first", by="n2", ref=TierRef("n2", Tier.COLD), generation=1, reason="x")
    )
    world.trip()
    world.run(0.1)
    assert world.tier().suspect
    (attempt,) = world.logged("recovery_attempted")
    assert attempt["ok"] is False
    world.answer_probes(5)
    assert not world.tier().suspect
    assert world.tier().health is Health.UP


def test_a_healed_tier_comes_back_with_its_data_if_this_stint_saw_it_all() -> None:
    world = World("n2", "n3")
    world.trip()
    world.answer_probes(5)
    assert (world.tier().health, world.tier().generation) == (Health.UP, 1)
    assert [c.keep for c in world.of(TierRecovered)] == [True]


@pytest.mark.parametrize("kind", [FailureKind.CORRUPT])
def test_a_damaged_tier_comes_back_empty(kind: FailureKind) -> None:
    world = World("n2", "n3")
    world.trip(kind=kind)
    world.answer_probes(5)
    assert (world.tier().health, world.tier().generation) == (Health.UP, 2)


def test_a_sick_tier_stays_down() -> None:
    world = World("n2", "n3")
    world.trip()
    world.answer_probes(20, Failure(FailureKind.IO_ERROR, "still"))
    assert world.tier().health is Health.DOWN


def test_a_drain_and_a_probe_do_not_undo_each_other() -> None:
    world = World("n2", "n3")
    world.commit(Drain(id="d", by="op", node="n1", tiers=(Tier.COLD,)))
    world.tell(DrainDone((Tier.COLD,), 3, 1))
    world.run(0.5)
    assert world.tier().admin is Admin.OUT
    assert len(world.of(Drained)) == 1
    world.trip()
    world.answer_probes(5)
    assert world.tier().admin is Admin.OUT
    world.commit(Restore(id="r", by="op", node="n1", tiers=(Tier.COLD,)))
    world.answer_probes(5)
    assert (world.tier().admin, world.tier().health) == (Admin.IN, Health.UP)


def stats(*breakers: str) -> ShardStats:
    return ShardStats((TierStats(0, 0, 1, 0, 0),) * 3, (), breakers)


def test_an_open_breaker_whose_report_was_lost_is_found_by_its_statistics() -> None:
    world = World("n2", "n3")
    for _ in range(2):
        world.tell(stats("closed", "closed", "open"))
    assert world.tier().health is Health.UP
    world.tell(stats("closed", "closed", "open"))
    world.run(0.1)
    assert world.tier().health is Health.DOWN


# --- peers --------------------------------------------------------------------------------------


def test_a_silent_member_is_reported_after_its_grants_were_stopped() -> None:
    world = World("n2", "n3")
    world.silent = {"n2"}
    world.orders.clear()
    world.commits = False
    world.run(0.7)
    assert Withhold(frozenset({"n2"}), ready=True) in world.orders
    assert {(c.node, c.by_incarnation) for c in world.of(ReportUnreachable)} == {("n2", "t#1")}


def test_a_report_of_unknown_fate_is_settled_before_anything_is_granted_again() -> None:
    world = World("n2", "n3", "n4")
    world.silent, world.commits = {"n2"}, False
    world.run(0.7)
    (report, *_) = world.of(ReportUnreachable)
    world.silent = set()
    world.run(3)
    assert world.of(Withhold)[-1].nodes == {"n2"}
    assert {c.id for c in world.of(ReportUnreachable)} == {report.id}
    assert not world.of(ReportReachable)
    world.commits = True
    world.run(1)
    assert world.of(ReportReachable)
    assert world.of(Withhold)[-1].nodes == set()
    world.commit(report)
    member = world.state.map.member("n2")
    assert member is not None
    assert member.unreachable_by == (), "a late copy of the report took effect"


def test_maps_that_differ_at_one_version_are_a_critical_line_and_a_counter() -> None:
    world = World("n2")
    version = world.state.map.version
    for _ in range(5):
        world.tell(PeerHeard("n2", "n2-t#1", world.now, version, "other", False))
    assert len(world.logged("maps_differ_at_one_version")) == 1
    assert dict(world.node.view().counters)["digest_mismatches"] == 1
    world.run(0.05)
    assert world.of(StandingKnown)[-1].digest_mismatches == 1
    world.tell(Counted(digest_mismatches=2))
    assert world.of(StandingKnown)[-1].digest_mismatches == 3


# --- admin requests -----------------------------------------------------------------------------


def ask(world: World, command: Command, token: int = 1) -> None:
    fields = Propose(encode_command(command))
    world.tell(AdminAsked(token, Request(Kind.PROPOSE, 1, 0, 0, b"c" * 8, False, fields)))


def answers(world: World) -> dict[int, AdminAnswer]:
    found = world.of(AdminAnswer)
    assert len({a.token for a in found}) == len(found), "answered twice"
    return {a.token: a for a in found}


def test_an_operators_command_is_answered_with_its_outcome() -> None:
    world = World("n2", "n3")
    ask(world, Drain(id="a", by="op", node="n1", tiers=(Tier.COLD,)), 1)
    ask(world, Drain(id="b", by="op", node="n2", tiers=(Tier.COLD,)), 2)
    ask(world, Drain(id="c", by="op", node="n9", tiers=(Tier.COLD,)), 3)
    ask(world, Drain(id="a", by="op", node="n1", tiers=(Tier.COLD,)), 4)
    found = answers(world)
    assert isinstance(found[1].fields, Decided)
    assert found[1].fields.code == "done"
    assert found[2].status is Status.REFUSED
    assert found[3].status is Status.UNKNOWN_REF
    assert found[4].status is Status.OK


def test_bytes_that_are_no_command_are_a_bad_request() -> None:
    world = World()
    request = Request(Kind.PROPOSE, 1, 0, 0, b"c" * 8, False, Propose(b"\xff\x00"))
    world.tell(AdminAsked(1, request))
    assert answers(world)[1].status is Status.BAD_REQUEST


def test_no_quorum_is_said_fast_and_at_once_when_it_is_old_news() -> None:
    world = World("n2", "n3")
    world.commits = False
    ask(world, Drain(id="a", by="op", node="n1", tiers=(Tier.HOT,)), 1)
    world.run(DECIDE_S - 0.1)
    assert not answers(world)
    world.run(0.2)
    text = answers(world)[1]
    assert text.status is Status.NO_QUORUM
    assert isinstance(text.fields, Refusal)
    assert text.fields.text.startswith("no quorum: ")
    world.tell(LOST)
    world.run(1.1)
    ask(world, Drain(id="b", by="op", node="n1", tiers=(Tier.HOT,)), 2)
    assert answers(world)[2].status is Status.NO_QUORUM


def test_a_probe_that_was_asked_for_is_answered_by_its_result() -> None:
    world = World()
    for token, tier in ((1, "cold"), (2, "tepid")):
        request = Request(Kind.PROBE, 1, 0, 0, b"c" * 8, False, Probe(tier))
        world.tell(AdminAsked(token, request))
    assert RunProbe(Tier.COLD) in world.orders
    world.tell(Probed(Tier.COLD, Failure(FailureKind.GONE, "unmounted"), 0.004))
    found = answers(world)
    assert found[2].status is Status.UNKNOWN_REF
    assert isinstance(found[1].fields, Report)
    report = cbor2.loads(found[1].fields.data)
    assert (report["ok"], report["failure"], report["took_ms"]) == (False, "gone", 4.0)


def ask_probe(world: World, token: int, tier: str = "cold") -> None:
    request = Request(Kind.PROBE, 1, 0, 0, b"c" * 8, False, Probe(tier))
    world.tell(AdminAsked(token, request))


def reports(world: World) -> dict[int, dict[str, object]]:
    found = {token: answer.fields for token, answer in answers(world).items()}
    return {t: cbor2.loads(f.data) for t, f in found.items() if isinstance(f, Report)}


def test_a_probe_that_may_not_go_yet_is_ordered_again_for_the_operator_who_waits() -> None:
    world = World()
    ask_probe(world, 1)
    world.tell(ProbeDenied(Tier.COLD, 0.8))
    ask_probe(world, 2)
    world.tell(ProbeDenied(Tier.COLD, 0.8))
    world.orders.clear()
    world.run(0.7)
    assert not answers(world)
    assert not world.of(RunProbe)
    world.run(0.15)
    assert world.of(RunProbe) == [RunProbe(Tier.COLD)]
    world.tell(Probed(Tier.COLD, None, 0.002))
    assert {token: said["ok"] for token, said in reports(world).items()} == {1: True, 2: True}
    world.run(5)
    assert world.of(RunProbe) == [RunProbe(Tier.COLD)]


def test_an_operator_who_cannot_wait_so_long_is_told_not_now_at_once() -> None:
    world = World()
    ask_probe(world, 1)
    world.tell(ProbeDenied(Tier.COLD, 8.0))
    (said,) = reports(world).values()
    assert (said["ok"], said["failure"]) == (False, "not_now")
    assert "8.0 s" in str(said["detail"])
    world.orders.clear()
    world.run(10)
    assert not world.of(RunProbe)


def test_the_prober_asks_again_when_the_breaker_lets_a_probe_through() -> None:
    world = World("n2", "n3")
    world.trip()
    world.run(1.1)
    assert len(world.of(RunProbe)) == 1
    world.tell(ProbeDenied(Tier.COLD, 0.5))
    world.run(0.4)
    assert len(world.of(RunProbe)) == 1
    world.run(0.2)
    assert len(world.of(RunProbe)) == 2
    world.answer_probes(4)
    assert world.tier().health is Health.UP


# --- standing and stopping ----------------------------------------------------------------------


def test_the_shard_learns_of_every_map_and_of_the_standing() -> None:
    world = World("n2")
    assert world.of(UseMap)[-1].state == world.state
    world.tell(Sick("the disk of DATA/raft is full"))
    known = world.of(StandingKnown)[-1]
    assert (known.voting, known.note) == (False, "the disk of DATA/raft is full")
    world.tell(Healed())
    assert world.of(StandingKnown)[-1].voting


def test_while_its_replica_is_out_a_node_follows_the_others() -> None:
    world = World("n2")
    world.tell(Sick("the disk of DATA/raft is full"))
    assert world.other_actions == [FollowFeed(world.state)]
    behind, known = world.state, world.state.map.version
    world.commit(Barrier(id="b", by="n2"))
    world.commit(join("n3"))
    assert world.node.state.map.version > known
    world.tell(Applied(behind))  # of the replica, which is not as far as the feed
    assert world.node.state == world.state
    world.tell(Healed())
    assert world.other_actions[1:] == [FollowReplica()]


def test_what_the_feed_told_of_the_quorum_is_past_when_the_replica_takes_part_again() -> None:
    """The replica tells its standing only when it changes, and the feed's last word may be late."""
    world = World("n2")
    world.tell(Sick("the disk of DATA/raft is full"))
    world.tell(Standing("n2", False, True, 5))
    world.tell(Standing(None, False, False, 0))  # the feed has lost its member
    assert not world.of(StandingKnown)[-1].quorum
    world.tell(Healed())
    assert world.of(StandingKnown)[-1].quorum
    world.tell(Standing(None, False, False, 0))
    assert world.of(StandingKnown)[-1].quorum


def hear_of_newer(world: World) -> None:
    version = world.state.map.version + 1
    world.tell(PeerHeard("n2", "n2-t#1", world.now, version, "", False))


def followed(world: World) -> list[Action]:
    return [a for a in world.other_actions if isinstance(a, FollowFeed | FollowReplica)]


def test_a_voter_that_the_leader_does_not_reach_follows_a_member_that_it_does() -> None:
    """n1 and n3 do not reach each other, n3 leads: n2 tells of maps that n1 never gets."""
    world = World("n2", "n3")
    world.tell(LOST)
    hear_of_newer(world)
    world.run(0.4)
    assert followed(world) == [], "an election may bring it"
    world.run(0.3)
    assert followed(world) == [FollowFeed(world.state, "n2:1")]
    assert not world.of(StandingKnown)[-1].voting, "nobody should follow this node"
    world.tell(Standing("n3", False, True, 0))  # of the feed
    assert world.of(StandingKnown)[-1].quorum
    world.run(5)
    world.tell(LEADS)
    assert followed(world)[1:] == [FollowReplica()]
    assert world.of(StandingKnown)[-1].voting


def test_who_has_a_quorum_or_hears_of_nothing_newer_follows_nobody() -> None:
    world = World("n2", "n3")
    hear_of_newer(world)  # on its way to us, too
    world.run(3)
    assert followed(world) == []
    world = World("n2", "n3")
    world.tell(LOST)  # we are a minority, and so is whom we hear
    world.run(3)
    assert followed(world) == []


def test_a_voter_whose_replica_hangs_follows_a_member_that_knows_more() -> None:
    """Its disk hangs: it goes on saying what it said last, that there is a quorum."""
    world = World("n2", "n3")
    world.tell(Stalled(True))
    assert not world.of(StandingKnown)[-1].quorum
    world.run(2)
    assert followed(world) == [], "nobody knows more"
    hear_of_newer(world)
    world.run(0.7)
    assert followed(world) == [FollowFeed(world.state, "n2:1")]
    world.tell(Standing("n3", False, True, 0))  # of the feed
    assert world.of(StandingKnown)[-1].quorum
    world.run(2)
    world.tell(Stalled(False))
    assert followed(world)[1:] == [FollowReplica()]
    assert world.of(StandingKnown)[-1].quorum


def test_a_replica_that_goes_out_while_it_is_left_behind_is_waited_for() -> None:
    world = World("n2", "n3")
    world.tell(LOST)
    hear_of_newer(world)
    world.run(1)
    world.tell(Sick("the disk of DATA/raft is full"))
    world.run(1)
    assert FollowReplica() not in followed(world)
    world.tell(LEADS)
    world.tell(Healed())
    assert followed(world)[-1] == FollowReplica()


def test_orders_that_were_lost_are_told_again() -> None:
    world = World("n2")
    world.orders.clear()
    world.node.order_lost()
    world.run(0.05)
    assert {type(o) for o in world.orders} == {UseMap, Withhold, StandingKnown}


def test_a_clean_stop_tells_the_cluster_after_the_shard_has_stopped() -> None:
    world = World("n2")
    world.tell(Stop())
    assert world.of(StopServing)
    world.run(0.2)
    assert not world.of(NodeStopped)
    world.tell(ShardStopped("stopped"))
    world.run(0.1)
    assert world.of(NodeStopped)
    assert [f.ok for f in world.of(Finish)] == [True]
    assert len(world.of(NodeJoined)) == 1, "it joined again while it stopped"


def test_while_it_stops_it_reports_nobody_and_does_not_come_back() -> None:
    world = World("n2", "n3")
    world.run(2)
    world.tell(Stop())
    world.silent = {"n2"}
    world.run(1)
    assert not world.of(ReportUnreachable)
    vote_out(world, "t#1")
    world.run(2)
    assert len(world.of(NodeJoined)) == 1


def test_a_stop_without_quorum_ends_all_the_same() -> None:
    world = World("n2")
    world.commits = False
    world.tell(Stop())
    world.tell(ShardStopped("stopped"))
    world.run(0.9)
    assert not world.of(Finish)
    world.run(0.3)
    assert [f.ok for f in world.of(Finish)] == [True]


def test_a_shard_that_does_not_stop_is_not_waited_for_longer_than_its_grace() -> None:
    world = World()
    world.tell(Stop())
    world.run(SETTINGS.stop_grace_s + 1.5)
    assert not world.of(Finish)
    world.run(1.0)
    assert world.of(Finish)


def test_a_shard_that_ends_by_itself_ends_the_node_and_not_well() -> None:
    world = World("n2")
    world.tell(ShardStopped("ZeroDivisionError: division by zero"))
    world.run(0.1)
    assert world.of(NodeStopped)
    assert [f.ok for f in world.of(Finish)] == [False]


def test_a_second_process_of_the_same_id_is_answered_by_a_new_incarnation() -> None:
    world = World("n2")
    world.commit(replace(join("n1", 7, expected="t#1"), id="intruder"))
    world.run(2)
    assert [j.incarnation for j in world.of(NodeJoined)] == ["t#1", "t#2"]
