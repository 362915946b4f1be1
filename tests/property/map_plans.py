"""Plans: what may happen to a tier map, mostly to the point."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import strategies as st

from tiercluster.tiermap import (
    SLOW,
    TIERS,
    Admin,
    Barrier,
    Command,
    CopiesApart,
    CopiesTogether,
    Drain,
    Drained,
    Health,
    LevelRaised,
    MapState,
    NodeFilled,
    NodeJoined,
    NodeState,
    NodeStopped,
    RemoveNode,
    ReportReachable,
    ReportUnreachable,
    Restore,
    TierFailed,
    TierMap,
    TierRecovered,
    TierRecovering,
    TierRef,
    apply,
)

NODES = ("n1", "n2", "n3", "n4")
# Most commands are aimed: incarnations and generations are those of the map when the command comes
# (see `history`). The others have them from small sets, and mostly miss.
incarnations = st.sampled_from(["", "i1", "i2", "i3"])
generations = st.integers(1, 4)
nodes = st.sampled_from([*NODES, *NODES, "n9"])
refs = st.builds(TierRef, nodes, st.sampled_from(TIERS))
tiers = st.lists(st.sampled_from(TIERS), max_size=3).map(tuple)
evidences = st.sampled_from([(), (("failures", 5),), (("rate", 0.5), ("kind", "EIO"))])
flags = st.booleans()
shares = st.sampled_from([0.0, 1 / 3, 0.5, 1.0])
envelope = {
    "id": st.just("-"),  # numbered by `numbered`
    "by": st.sampled_from([*NODES, "op"]),
    "time": st.sampled_from([0.0, 1.5, 1e9]),
}
COMMANDS: tuple[st.SearchStrategy[Command], ...] = (
    st.builds(
        NodeJoined,
        **envelope,
        node=st.sampled_from(NODES),
        cluster=st.sampled_from(["c", "c", "c", "d"]),
        address=st.just("a:1"),
        weight=st.sampled_from([1.0, 1.0, 2.0]),
        expected=incarnations,
        incarnation=st.sampled_from(["i1", "i2", "i3"]),
        keep_cold=flags,
        max_unavailable=shares,
        level=st.sampled_from([1, 2, 2, 2]),
        replicas=st.sampled_from([1, 2, 2, 3]),
    ),
    st.builds(NodeStopped, **envelope, node=nodes, incarnation=incarnations.filter(bool)),
    st.builds(
        ReportUnreachable,
        **envelope,
        node=nodes,
        incarnation=incarnations.filter(bool),
        by_incarnation=incarnations,
        evidence=evidences,
    ),
    st.builds(ReportReachable, **envelope, node=nodes, incarnation=incarnations.filter(bool)),
    st.builds(RemoveNode, **envelope, node=nodes, force=flags),
    st.builds(
        TierFailed,
        **envelope,
        ref=refs,
        generation=generations,
        reason=st.sampled_from(["EIO", "timeout", f"{SLOW}12 ms"]),
        evidence=evidences,
    ),
    st.builds(TierRecovering, **envelope, ref=refs, generation=generations, evidence=evidences),
    st.builds(
        TierRecovered, **envelope, ref=refs, generation=generations, keep=flags, evidence=evidences
    ),
    st.builds(Drain, **envelope, node=nodes, tiers=tiers, force=flags),
    st.builds(
        Drained,
        **envelope,
        node=nodes,
        tiers=tiers,
        incarnation=incarnations.filter(bool),
        evidence=evidences,
    ),
    st.builds(Restore, **envelope, node=nodes, tiers=tiers),
    st.builds(LevelRaised, **envelope, level=st.sampled_from([1, 2, 3]), map_digest=st.just("")),
    st.builds(
        NodeFilled,
        **envelope,
        node=nodes,
        incarnation=incarnations.filter(bool),
        known=st.integers(0, 40),
    ),
    st.builds(
        CopiesApart,
        **envelope,
        node=nodes,
        incarnation=incarnations.filter(bool),
        by_incarnation=incarnations.filter(bool),
    ),
    st.builds(
        CopiesTogether,
        **envelope,
        node=nodes,
        incarnation=incarnations.filter(bool),
        by_incarnation=incarnations.filter(bool),
    ),
    st.builds(Barrier, **envelope),
)
steps = st.tuples(st.one_of(*COMMANDS), st.sampled_from([True, True, True, False]))
plans = st.lists(steps, min_size=15, max_size=50)
Plan = list[tuple[Command, bool]]


def history(state: MapState, plan: Plan) -> list[Command]:
    """The commands of the plan, numbered and aimed, as they would be proposed one by one."""
    commands: list[Command] = []
    for i, (command, is_aimed) in enumerate(plan):
        command = replace(command, id=f"c{i}")
        commands.append(aimed(state.map, command) if is_aimed else command)
        state = apply(state, commands[-1])
    return commands


def aimed(tier_map: TierMap, command: Command) -> Command:
    def incarnation(node: str) -> str:
        member = tier_map.member(node)
        return member.incarnation if member and member.incarnation else "i1"

    match command:
        case NodeJoined():
            member = tier_map.member(command.node)
            fresh = f"i{tier_map.version}"
            expected = member.incarnation if member else ""
            return replace(command, cluster="c", expected=expected, incarnation=fresh)
        case ReportUnreachable():
            others = [m.id for m in tier_map.members if m.state is NodeState.UP]
            by = command.by if command.by in others else (others or ["n1"])[-1]
            return replace(
                command,
                by=by,
                incarnation=incarnation(command.node),
                by_incarnation=incarnation(by),
            )
        case ReportReachable():
            reported = [m for m in tier_map.members if m.unreachable_by]
            if not reported:
                return command
            accused = reported[0]
            by, node = accused.unreachable_by[-1], accused.id
            return replace(command, by=by, node=node, incarnation=accused.incarnation)
        case Drained():
            refs = [r for r, record in tier_map.refs() if record.admin is Admin.DRAINING]
            node = refs[0].node if refs else command.node
            return replace(command, node=node, tiers=TIERS, incarnation=incarnation(node))
        case NodeFilled():
            filling = [m.id for m in tier_map.members if m.filling]
            node = filling[0] if filling else command.node
            return replace(command, node=node, incarnation=incarnation(node))
        case CopiesApart() | CopiesTogether():
            by_incarnation = incarnation(command.by)
            return replace(command, incarnation=incarnation(command.node),
                           by_incarnation=by_incarnation)  # fmt: skip
        case NodeStopped():
            return replace(command, incarnation=incarnation(command.node))
        case LevelRaised():
            return replace(command, map_digest=tier_map.digest)
        case TierFailed():
            return replace(command, generation=generation_of(tier_map, command.ref))
        case TierRecovering() | TierRecovered():
            refs = [r for r, t in tier_map.refs() if t.health is not Health.UP or t.suspect]
            ref = refs[len(command.id) % len(refs)] if refs else command.ref
            return replace(command, ref=ref, generation=generation_of(tier_map, ref))
        case _:
            return command


def generation_of(tier_map: TierMap, ref: TierRef) -> int:
    record = tier_map.record(ref)
    return record.generation if record else 1


def started(count: int = 3, share: float = 1 / 3, level: int = 1) -> MapState:
    """A cluster in which the first ``count`` nodes have joined, its guard's limit ``share``."""
    base = NodeJoined(
        id="", by="", node="", cluster="c", address="a:1", incarnation="i1", level=level
    )
    joins = [replace(base, id=f"j{n}", by=n, node=n) for n in NODES[:count]]
    founding = [replace(join, max_unavailable=share) for join in joins[:1]]
    return applied(MapState(), [*founding, *joins[1:]])


def applied(state: MapState, commands: Iterable[Command]) -> MapState:
    for command in commands:
        state = apply(state, command)
    return state


STARTS = st.builds(
    started, st.sampled_from([0, 1, 2, 3, 3, 4, 4]), shares, st.sampled_from([1, 2, 2])
)
