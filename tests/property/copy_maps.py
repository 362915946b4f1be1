"""Histories of maps in which members come, go, fill, lose their tiers, and are apart."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from tiercluster.tiermap import (
    Command,
    CopiesApart,
    CopiesTogether,
    MapState,
    NodeFilled,
    NodeJoined,
    NodeStopped,
    RemoveNode,
    TierFailed,
    TierMap,
    TierRecovered,
    TierRecovering,
    TierRef,
    apply,
)

NODES = ("n1", "n2", "n3", "n4")
TOKEN = "boot"

nodes = st.sampled_from(NODES)
STEPS = st.one_of(
    st.tuples(st.just("join"), nodes, st.sampled_from(["1", "1", "1", "2.5"])),
    st.tuples(st.just("stop"), nodes, st.just("")),
    st.tuples(st.just("remove"), nodes, st.just("")),
    st.tuples(st.just("tiers down"), nodes, st.just("")),
    st.tuples(st.just("tiers up"), nodes, st.just("")),
    st.tuples(st.just("filled"), nodes, st.just("")),
    st.tuples(st.just("filled"), nodes, st.just("")),
    st.tuples(st.just("apart"), nodes, nodes),
    st.tuples(st.just("together"), nodes, nodes),
)
Step = tuple[str, str, str]


@dataclass
class History:
    """``maps``: one for each version."""

    state: MapState
    maps: list[TierMap]
    count: int = 0

    def take(self, step: Step) -> None:
        for command in self._commands(step):
            before = self.state.map
            self.state = apply(self.state, command)
            if self.state.map != before:
                self.maps.append(self.state.map)

    def _commands(self, step: Step) -> list[Command]:
        what, node, more = step
        self.count += 1
        tier_map, name = self.state.map, f"s{self.count}"
        member, by = tier_map.member(node), tier_map.member(more)
        stint = member.incarnation if member else ""
        if what == "join":
            return [joined(node, name, float(more), stint)]
        if member is None:
            return []
        match what:
            case "stop":
                return [NodeStopped(id=name, by="op", node=node, incarnation=stint)]
            case "remove":
                return [RemoveNode(id=name, by="op", node=node, force=True)]
            case "tiers down":
                return [TierFailed(id=f"{name}{r.tier}", by=node, ref=TierRef(node, r.tier),
                                   generation=r.generation, reason="EIO")
                        for r in member.tiers]  # fmt: skip
            case "tiers up":
                return [c(id=f"{name}{c.__name__}{r.tier}", by=node, ref=TierRef(node, r.tier),
                          generation=r.generation)
                        for r in member.tiers for c in (TierRecovering, TierRecovered)]  # fmt: skip
            case "filled":
                return [NodeFilled(id=name, by=node, node=node, incarnation=stint,
                                   known=self.state.map.version)]  # fmt: skip
            case "apart" | "together":
                kind = CopiesApart if what == "apart" else CopiesTogether
                return [kind(id=name, by=more, node=node, incarnation=stint,
                             by_incarnation=by.incarnation if by else "")]  # fmt: skip
        raise AssertionError(what)


def joined(node: str, name: str, weight: float = 1.0, expected: str = "",
           replicas: int = 2) -> NodeJoined:  # fmt: skip
    number = int(expected.partition("#")[2] or 0) + 1
    return NodeJoined(
        id=name, by=node, node=node, cluster="c", address="a:1", weight=weight, expected=expected,
        incarnation=f"{TOKEN}#{number}", max_unavailable=1.0, level=2, replicas=replicas,
    )  # fmt: skip


def begun(replicas: int) -> History:
    """All four serve."""
    history = History(MapState(), [])
    for node in NODES:
        history.state = apply(history.state, joined(node, f"j{node}", replicas=replicas))
    for node in NODES:
        history.take(("filled", node, ""))
    history.maps = [history.state.map]
    assert all(m.serves for m in history.maps[0].members)
    return history
