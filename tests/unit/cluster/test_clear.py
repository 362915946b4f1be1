"""DELETE_PREFIX as a script: every member that may own keys is asked, whoever came meanwhile."""

from __future__ import annotations

from tiercluster.cluster.api import Api, Script
from tiercluster.cluster.errors import Unavailable
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
    """Answers the steps of a script: looks with these maps, one after the other; members that are
    asked know the last of them. Those of ``gone`` go down when they are asked."""

    def __init__(self, *looks: TierMap, gone: tuple[str, ...] = ()) -> None:
        self.looks = list(looks)
        self.newest = Router(looks[-1])
        self.gone = gone
        self.asked: list[str] = []

    def run(self, script: Script[int]) -> int:
        error: Unavailable | None = None
        while True:
            try:
                step = script.throw(error) if error else script.send(None)
            except StopIteration as end:
                return int(end.value)
            error = self.carry_out(step)

    def carry_out(self, step: object) -> Unavailable | None:
        if isinstance(step, LookOp):
            step.router = Router(self.looks.pop(0))
            return None
        assert isinstance(step, DeletePrefixOp)
        self.asked.append(str(step.node))
        if step.node in self.gone:
            self.newest = Router(self.looks[-1])
            return Unavailable(f"{step.node} went down")
        step.result, step.router = Count(1, -1), self.newest
        return None


def test_a_member_that_the_old_map_did_not_show_is_cleared_too() -> None:
    """The first look came from a member that was behind; n1 refused the old map, so the second
    look knows n3, which holds keys that were stored before the clear began."""
    members = Members(map_of("n1", "n2"), map_of("n1", "n2", "n3"))
    assert members.run(api().delete_prefix("")) == 4
    assert members.asked == ["n1", "n1", "n2", "n3"]


def test_what_a_member_takes_over_after_it_was_cleared_is_cleared_too() -> None:
    """n2 goes before it is asked: n1, which is done, has had copies of its keys."""
    before, after = map_of("n1", "n2"), map_of("n1")
    members = Members(before, after, after, gone=("n2",))
    members.newest = Router(before)
    assert members.run(api().delete_prefix("")) == 2
    assert members.asked == ["n1", "n2", "n1"]
