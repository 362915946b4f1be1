"""DELETE_PREFIX as a script: every member that may own keys is asked, whoever came meanwhile."""

from __future__ import annotations

import pytest

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


def test_a_member_that_the_old_map_did_not_show_is_cleared_too() -> None:
    """The first look came from a member that was behind; n1 refused the old map, so the second
    look knows n3, which holds keys that were stored before the clear began."""
    looks = [map_of("n1", "n2"), map_of("n1", "n2", "n3"), map_of("n1", "n2", "n3")]
    asked: list[str] = []
    script = api().delete_prefix("")
    with pytest.raises(StopIteration) as stop:
        while True:
            step = next(script)
            if isinstance(step, LookOp):
                step.router = Router(looks.pop(0))
            else:
                assert isinstance(step, DeletePrefixOp)
                asked.append(str(step.node))
                step.result = Count(1, -1)
    assert (asked, stop.value.value) == (["n1", "n2", "n3"], 3)
