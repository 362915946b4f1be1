"""DELETE_PREFIX as a script: every member that may own keys is asked, whoever came meanwhile."""

from __future__ import annotations

from tiercluster.cluster.api import Api
from tiercluster.cluster.keys import Space
from tiercluster.cluster.options import make_options
from tiercluster.cluster.plan import DeletePrefixOp, LookOp
from tiercluster.cluster.routing import Router
from tiercluster.cluster.swallow import Swallowed
from tiercluster.cluster.wire import Count
from tiercluster.tiermap import Member, TierMap


def map_of(*nodes: str) -> TierMap:
    version = 10 + len(nodes)
    return TierMap("c", version, version, tuple(Member(n, f"{n}:1") for n in nodes))


def api() -> Api:
    options = make_options("h:1", "", None, "cbor", 1.0, "raise", 0)
    return Api(options, Space(b""), Swallowed())


class Members:
    """Answers the steps of a script: looks with these maps, one after the other."""

    def __init__(self, *looks: TierMap) -> None:
        self.looks = list(looks)
        self.asked: list[str] = []

    def carry_out(self, step: object) -> None:
        if isinstance(step, LookOp):
            step.router = Router(self.looks.pop(0))
        else:
            assert isinstance(step, DeletePrefixOp)
            self.asked.append(str(step.node))
            step.result = Count(1, -1)


def test_a_member_that_the_old_map_did_not_show_is_cleared_too() -> None:
    """The first look came from a member that was behind; n1 refused the old map, so the second
    look knows n3, which holds keys that were stored before the clear began."""
    newest = map_of("n1", "n2", "n3")
    members = Members(map_of("n1", "n2"), newest, newest)
    for step in api().delete_prefix(""):
        members.carry_out(step)
    assert members.asked == ["n1", "n2", "n3"]
