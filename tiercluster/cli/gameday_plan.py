"""What a game day will do, decided before anything is touched: scenarios, targets, refusals. Pure.

A plan is made of one look at the cluster. What makes it unsafe ends it with exit code 6 and the
reason: the cluster is not well, a node does not allow faults, the guard or the quorum would not
stand the loss, more nodes would be touched than the blast radius allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from tiercluster.tiermap import Guard, Health, Member, NodeState, Tier, TierMap, TierRef, TierState

from .doors import not_found
from .exits import Code, Stop
from .units import short_size
from .view import View, state_of

ALL = "all"
SLOW_MS, HANG_MS = 1000.0, 10_000.0  # of one operation: beyond any tier's deadline
FILL_MARGIN = 8 * 2**20  # beyond what is free above a tier, so that something comes down to it


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of fault. ``must_fail_over``: False where the node may also help itself; ``ends``:
    False where it is somebody else who ends it."""

    name: str
    what: str
    of_node: bool = False
    ms: float = 0.0
    must_fail_over: bool = True
    ends: bool = True


# In the order in which they are played: what may need a person's help comes last.
SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("eio", "every operation fails with an I/O error"),
        Scenario("enospc", "every write finds the disk full", must_fail_over=False),
        Scenario("slow", "every operation takes a second", ms=SLOW_MS),
        Scenario("corrupt", "every read returns a wrong byte"),
        Scenario("hang", "every operation hangs", ms=HANG_MS),
        Scenario("freeze", "its process is stopped, then goes on", of_node=True),
        Scenario("partition", "cut off from the other members, not from clients", of_node=True),
        Scenario(
            "kill", "its process is killed; something must restart it", of_node=True, ends=False
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Spot:
    """Where it hurts: a tier, or a whole node."""

    node: str
    tier: Tier | None = None

    def __str__(self) -> str:
        return self.node if self.tier is None else f"{self.node}/{self.tier}"

    @classmethod
    def parse(cls, text: str) -> Spot:
        """``n2`` or ``n2/cold``; a usage error for anything else."""
        if text and "/" not in text:
            return cls(text)
        try:
            ref = TierRef.parse(text)
        except ValueError as error:
            raise click.UsageError(f"--target: {error}, or NODE") from error
        return cls(ref.node, ref.tier)

    def without(self, tier_map: TierMap) -> TierMap:
        """The map as it will be once this is out of service."""
        members = tuple(
            self._out(m) if m.id == self.node else m for m in tier_map.members
        )  # fmt: skip
        return replace(tier_map, members=members)

    def _out(self, member: Member) -> Member:
        if self.tier is None:
            return replace(member, state=NodeState.DOWN)
        tiers = (replace(t, health=Health.DOWN) if t.tier is self.tier else t for t in member.tiers)
        return replace(member, tiers=tuple(tiers))


@dataclass(frozen=True, slots=True)
class Step:
    """One scenario on all its targets at once."""

    scenario: Scenario
    spots: tuple[Spot, ...]

    def __str__(self) -> str:
        return f"{self.scenario.name} on {', '.join(map(str, self.spots))}"


@dataclass(frozen=True, slots=True)
class Plan:
    """``fill`` has the bytes that must be written to each node before the tier which is meant has
    work; ``others`` are the nodes that nothing is done to."""

    cluster: str
    namespace: str
    steps: tuple[Step, ...]
    nodes: tuple[str, ...]
    others: tuple[str, ...]
    duration_s: float
    blast_radius: int
    fill: tuple[tuple[str, int], ...] = ()

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "cluster": self.cluster,
            "blast_radius": self.blast_radius,
            "touched": list(self.nodes),
            "not_touched": list(self.others),
            "namespace": self.namespace,
            "duration_s": self.duration_s,
            "fill_bytes": dict(self.fill),
            "scenarios": [
                {"scenario": s.scenario.name, "targets": list(map(str, s.spots))}
                for s in self.steps
            ],
        }

    def lines(self) -> list[str]:
        """The plan for people."""
        count = len(self.nodes) + len(self.others)
        noun = "node" if self.blast_radius == 1 else "nodes"
        head = f"game day on cluster {self.cluster}: blast radius {self.blast_radius} {noun} "
        steps = [self._line(step) for step in self.steps]
        return [
            f"{head}of {count}",
            *steps,
            f"  touched      {', '.join(self.nodes)}; keys of the namespace {self.namespace}, "
            "which are removed at the end" + self._filling(),
            f"  not touched  {', '.join(self.others) or 'no other node'}; keys of other namespaces "
            "(but a full tier evicts)",
        ]

    def _line(self, step: Step) -> str:
        scenario, spots = step.scenario, ", ".join(map(str, step.spots))
        lasts = f", for {self.duration_s:g} s at most" if scenario.ends else ""
        return f"  {scenario.name:<12} {spots}: {scenario.what}{lasts}"

    def _filling(self) -> str:
        written = (f"{short_size(size)} to {node}" for node, size in self.fill)
        told = ", ".join(written)
        return f"; first writes {told}, so that the tier has work" if told else ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for on the command line."""

    scenarios: tuple[str, ...]
    targets: tuple[Spot, ...]
    duration_s: float
    blast_radius: int
    fill_limit: int
    namespace: str


def make_plan(view: View, wish: Wish) -> Plan:
    """The plan; Stop (6) says why there must be none."""
    check_health(view)
    spots = wish.targets or (_choose(view),)
    _check_targets(view, spots)
    _check_radius(spots, wish.blast_radius)
    steps = _steps(wish.scenarios, spots)
    for step in steps:
        _check_loss(view.map, step)
    nodes = tuple(dict.fromkeys(spot.node for spot in spots))
    present = (m.id for m in view.map.members if m.state is not NodeState.LEFT)
    return Plan(
        cluster=view.map.cluster,
        namespace=wish.namespace,
        steps=steps,
        nodes=nodes,
        others=tuple(node for node in present if node not in nodes),
        duration_s=wish.duration_s,
        blast_radius=wish.blast_radius,
        fill=_fill(view, steps, wish.fill_limit),
    )


def check_health(view: View) -> None:
    """Stop (6) if anything is out of service already: nothing must be added to an incident."""
    problems = [*_not_up(view.map), *_silent(view)]
    if not view.newest.get("quorum"):
        problems.append("there is no quorum")
    if problems:
        more = f" (and {len(problems) - 3} more)" if problems[3:] else ""
        told = "; ".join(problems[:3]) + more
        raise Stop(Code.REFUSED, f"the cluster is not well: {told}. See `tiercluster status`")


def is_all_up(tier_map: TierMap) -> bool:
    return not _not_up(tier_map)


def _not_up(tier_map: TierMap) -> list[str]:
    present = [m for m in tier_map.members if m.state is not NodeState.LEFT]
    down = [f"{m.id} is {m.state}" for m in present if m.state is not NodeState.UP]
    tiers = [
        f"{TierRef(m.id, record.tier)} is {state_of(m, record)}"
        + (" (suspect)" if record.suspect else "")
        for m in present
        if m.state is NodeState.UP
        for record in m.tiers
        if record.suspect or state_of(m, record) is not TierState.UP
    ]
    filling = [f"{m.id} is taking what it will own" for m in present if m.fills]
    return down + tiers + filling


def _silent(view: View) -> list[str]:
    up = (m for m in view.map.members if m.state is NodeState.UP)
    return [f"{m.id} does not answer at {m.address}" for m in up if m.id not in view.said]


def _choose(view: View) -> Spot:
    """A node that allows faults, rather not the leader, whose loss costs an election too."""
    allowing = [m.id for m in view.map.members if _allows(view, m.id)]
    if not allowing:
        raise Stop(Code.REFUSED, "no node was started with --allow-faults")
    leader = view.newest.get("leader")
    return Spot(next((node for node in allowing if node != leader), allowing[0]))


def _allows(view: View, node: str) -> bool:
    return bool(view.said.get(node, {}).get("allows_faults"))


def _check_targets(view: View, spots: Iterable[Spot]) -> None:
    for spot in spots:
        member = view.map.member(spot.node)
        if member is None or member.state is NodeState.LEFT:
            raise not_found("node", spot.node, (m.id for m in view.map.members))
        if not _allows(view, spot.node):
            text = f"{spot.node} was started without --allow-faults: restart it with that flag"
            raise Stop(Code.REFUSED, text)


def _check_radius(spots: Iterable[Spot], radius: int) -> None:
    nodes = list(dict.fromkeys(spot.node for spot in spots))
    if len(nodes) > radius:
        text = f"{', '.join(nodes)} are {len(nodes)} nodes: the blast radius is {radius}"
        raise Stop(Code.REFUSED, f"{text}; name fewer, or allow it with --blast-radius")


def _steps(names: Sequence[str], spots: tuple[Spot, ...]) -> tuple[Step, ...]:
    """In the order of SCENARIOS. ``all`` of a tier are those of tiers; a node's tier is cold."""
    of_tiers = any(spot.tier is not None for spot in spots)
    chosen = [
        scenario
        for scenario in SCENARIOS.values()
        if scenario.name in names or (ALL in names and not (scenario.of_node and of_tiers))
    ]
    wrong = next((s.name for s in chosen if s.of_node and of_tiers), None)
    if wrong is not None:
        raise click.UsageError(f"{wrong} is a fault of a whole node: name it as --target NODE")
    return tuple(Step(s, spots if s.of_node else tuple(map(_tier_of, spots))) for s in chosen)


def _tier_of(spot: Spot) -> Spot:
    return spot if spot.tier is not None else Spot(spot.node, Tier.COLD)


def _check_loss(tier_map: TierMap, step: Step) -> None:
    """One after the other, as the cluster will decide about them."""
    guard, before = Guard.of(tier_map), tier_map
    for spot in step.spots:
        after = spot.without(before)
        reason = guard.refusal(before, after, is_wish=True) or _no_quorum(after)
        if reason:
            raise Stop(Code.REFUSED, f"{step}: {reason}")
        before = after


def _no_quorum(after: TierMap) -> str:
    voters = [m for m in after.members if m.raft and m.state is not NodeState.LEFT]
    left = sum(m.state is NodeState.UP for m in voters)
    if 2 * left > len(voters):
        return ""
    return f"{left} of {len(voters)} voters would be left, which is no quorum"


def _fill(view: View, steps: Iterable[Step], limit: int) -> tuple[tuple[str, int], ...]:
    """What is free above the tiers that are meant, and a margin: only what hot does not hold comes
    down to warm, and only what warm does not hold to cold."""
    needed: dict[str, int] = {}
    for spot in (spot for step in steps for spot in step.spots):
        if spot.tier in (Tier.WARM, Tier.COLD):
            needed[spot.node] = _free_above(view, spot) + FILL_MARGIN
    for node, size in needed.items():
        if size > limit:
            raise Stop(Code.REFUSED, _too_much(node, size, limit))
    return tuple(needed.items())


def _free_above(view: View, spot: Spot) -> int:
    above = (Tier.HOT,) if spot.tier is Tier.WARM else (Tier.HOT, Tier.WARM)
    told = {tier["tier"]: tier for tier in view.said[spot.node]["tiers"]}
    return sum(max(0, told[t]["capacity_bytes"] - told[t]["bytes"]) for t in above)


def _too_much(node: str, size: int, limit: int) -> str:
    text = f"{short_size(size)} must be written to {node} before that tier has work"
    return f"{text}; --fill allows {short_size(limit)}. Name {node}/hot, or allow more"
