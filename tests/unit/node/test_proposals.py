"""What is proposed until its outcome is known."""

from __future__ import annotations

from tiercluster.node.proposals import AGAIN_S, Desire, Proposals
from tiercluster.tiermap import MapState, Outcome, OutcomeCode, ReportReachable

WISH = Desire("peer:n2", "up", ReportReachable(id="", by="n1", node="n2", incarnation="n2#1"))


def test_a_wish_is_settled_once_though_its_outcome_is_told_twice() -> None:
    """It was proposed again while the first answer was on its way."""
    proposals = Proposals(lambda: "id-1")
    assert [c.id for c, _ in proposals.want([WISH], 10.0, 0.0)] == ["id-1"]
    assert [c.id for c, _ in proposals.want([WISH], 10.0 + AGAIN_S, 0.0)] == ["id-1"]
    told = Outcome("id-1", OutcomeCode.DONE, "recorded", 7)
    settled = proposals.applied(MapState(outcomes=(told, told)), 10.5)
    assert [(s.subject, s.outcome) for s in settled] == [("peer:n2", told)]
    assert proposals.applied(MapState(outcomes=(told, told)), 10.6) == []


def test_a_settled_wish_is_wanted_anew_under_another_id_after_a_pause() -> None:
    ids = iter(("id-1", "id-2"))
    proposals = Proposals(lambda: next(ids))
    proposals.want([WISH], 10.0, 0.0)
    proposals.applied(MapState(outcomes=(Outcome("id-1", OutcomeCode.STALE, "", 7),)), 10.1)
    assert proposals.want([WISH], 10.2, 0.0) == []
    assert [c.id for c, _ in proposals.want([WISH], 10.5, 0.0)] == ["id-2"]
