"""Lost decisions must be found."""

from __future__ import annotations

from tiercluster.tiermap import Event

from .decisions import OUT, Operator


def event(version: int, ref: str) -> Event:
    return Event(version, 0.0, ref, "UP", "DRAINING", "test", "")


def test_a_version_that_the_history_lacks_or_gives_to_another_tier_is_missing() -> None:
    operator = Operator("n1/cold", versions=[3, 4, 5])
    history = [event(1, "n3/cold"), event(3, "n1/cold"), event(4, "n2/cold")]
    assert operator.missing(history) == [4, 5]


def test_what_is_older_than_the_history_is_not_missing() -> None:
    operator = Operator("n1/cold", versions=[3, 9])
    assert operator.missing([event(8, "n2/cold"), event(9, "n1/cold")]) == []


def test_only_what_was_acknowledged_or_in_flight_explains_a_state() -> None:
    operator = Operator("n1/cold", acknowledged=OUT)
    assert operator.allows("DRAINED")
    assert not operator.allows("UP")
    operator.unsure = ["restored"]
    assert operator.allows("UP")
