"""Nodes whose settings differ agree all the same: what the guard allows is the cluster's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tiercluster.node.membership import Membership
from tiercluster.node.run import machine
from tiercluster.node.settings import NodeSettings
from tiercluster.tiermap import (
    Command,
    Drain,
    MapState,
    OutcomeCode,
    Tier,
    TierFailed,
    TierRef,
    encode_command,
    outcome_of,
)

STRICT, LENIENT = 0.2, 0.9


class Replicated:
    """Three nodes, each with its own settings and its own state machine, and one log for all."""

    def __init__(self, **max_unavailable: float) -> None:
        self.settings = {
            node: NodeSettings(id=node, listen=f"{node}:1", max_unavailable=share)
            for node, share in max_unavailable.items()
        }
        self.machines = {node: machine() for node in self.settings}
        self.states = {node: m.initial for node, m in self.machines.items()}

    def commit(self, command: Command) -> None:
        frame = encode_command(command)
        for node, m in self.machines.items():
            self.states[node] = m.apply(self.states[node], frame)

    def join(self, node: str) -> None:
        membership = Membership(self.settings[node], f"token-{node}")
        desire = membership.join_desire(self.states[node].map, None, 1, 0.0)
        assert desire is not None
        self.commit(replace(desire.command, id=f"join-{node}"))

    def digests(self) -> set[str]:
        return {m.digest(self.states[node]) for node, m in self.machines.items()}

    def one_state(self) -> MapState:
        """The state of all; fails if they differ."""
        first, *others = self.states.values()
        assert others == [first] * len(others)
        return first


def fail_cold(node: str) -> TierFailed:
    ref = TierRef(node, Tier.COLD)
    return TierFailed(id=f"fail-{node}", by=node, ref=ref, generation=1, reason="EIO")


@pytest.mark.parametrize(
    ("shares", "code"),
    [
        ({"n1": STRICT, "n2": LENIENT, "n3": 1.0}, OutcomeCode.REFUSED),
        ({"n1": LENIENT, "n2": STRICT, "n3": STRICT}, OutcomeCode.DONE),
    ],
)
def test_members_with_different_settings_keep_equal_digests(
    shares: dict[str, float], code: OutcomeCode
) -> None:
    cluster = Replicated(**shares)
    for node in shares:
        cluster.join(node)
        assert len(cluster.digests()) == 1
    # The second failure and the drain are where a guard of one's own would decide otherwise.
    drain = Drain(id="drain", by="op", node="n3", tiers=(Tier.HOT, Tier.WARM))
    for command in (fail_cold("n1"), fail_cold("n2"), drain):
        cluster.commit(command)
        assert len(cluster.digests()) == 1
    state = cluster.one_state()
    outcome = outcome_of(state, "fail-n2")
    assert outcome is not None
    assert outcome.code is code
    assert state.map.max_unavailable == shares["n1"]


def test_a_node_whose_setting_is_not_used_is_told() -> None:
    cluster = Replicated(n1=STRICT, n2=LENIENT)
    cluster.join("n1")
    cluster.join("n2")
    outcome = outcome_of(cluster.one_state(), "join-n2")
    assert outcome is not None
    assert outcome.reason == (
        "joined; the cluster's max_unavailable is 0.2; this node's 0.9 is not used"
    )


def test_a_member_that_starts_from_a_snapshot_has_the_limit() -> None:
    cluster = Replicated(n1=STRICT, n2=LENIENT)
    cluster.join("n1")
    m = cluster.machines["n2"]
    restored = m.decode(m.encode(cluster.states["n1"]))
    assert restored.map.max_unavailable == STRICT
    frame = encode_command(fail_cold("n1"))
    assert m.apply(restored, frame) == m.apply(cluster.states["n1"], frame)
