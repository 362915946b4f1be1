"""The demo's judge must find what it is there for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tiercluster.cli.demo_ledger import (
    PHASES,
    Database,
    Findings,
    Moments,
    Tally,
    player_of,
    shares,
    text_of,
)

GOOD = Findings(
    fault="pulled",
    ref="n2/cold",
    trace_requests=10,
    clients=2,
    phases={name: Tally(reads=10, hits=7, seconds=[0.001] * 10) for name in PHASES},
    phase_seconds=dict.fromkeys(PHASES, 2.0),
    moments=Moments(100.0, 100.5, 101.0, (101.1, 101.25), 110.0, 112.5),
)


def test_a_hit_below_the_acknowledged_version_is_stale() -> None:
    database = Database()
    old = database.load("k")
    database.acknowledge("k", database.update("k")[0])
    assert database.is_stale("k", database.floor("k"), old)
    assert not database.is_stale("k", database.floor("k"), database.load("k"))


def test_a_read_that_began_before_the_write_was_acknowledged_may_be_older() -> None:
    database = Database()
    old, floor = database.load("k"), database.floor("k")
    database.acknowledge("k", database.update("k")[0])
    assert not database.is_stale("k", floor, old)


def test_a_value_of_another_row_or_from_the_future_is_as_bad_as_a_stale_one() -> None:
    database = Database()
    assert database.is_stale("k", 0, [1, text_of("other")])
    assert database.is_stale("k", 0, [2, text_of("k")])


def test_an_older_acknowledgement_does_not_lower_the_floor() -> None:
    database = Database()
    database.acknowledge("k", 3)
    database.acknowledge("k", 2)
    assert database.floor("k") == 3


def test_every_key_has_one_player_and_keeps_its_place_in_the_trace() -> None:
    trace = [str(i % 17) for i in range(100)]
    dealt = shares(trace, 3)
    assert sum(map(len, dealt)) == 100
    for number, share in enumerate(dealt):
        assert share == [key for key in trace if player_of(key, 3) == number]


def test_a_good_run_is_good_and_its_intervals_are_right() -> None:
    assert GOOD.is_good
    assert GOOD.document()["seconds"] == {
        "break_to_first_error": 0.5,
        "first_error_to_commit": 0.5,
        "first_error_to_last_client": 0.75,
        "healed_to_enabled": 2.5,
    }
    assert GOOD.document()["phases"]["before"] == {
        "seconds": 2.0,
        "reads": 10,
        "reads_per_s": 5,
        "hit_ratio": 0.7,
        "read_p50_us": 1000,
        "read_p99_us": 1000,
    }


@pytest.mark.parametrize(
    ("findings", "problem"),
    [
        (
            replace(GOOD, phases=GOOD.phases | {"during": Tally(1, failed_reads=1)}),
            "1 reads failed",
        ),
        (
            replace(GOOD, phases=GOOD.phases | {"after": Tally(1, stale_reads=2)}),
            "2 reads were stale",
        ),
        (replace(GOOD, phases=dict.fromkeys(PHASES, Tally())), "nothing was read"),
        (replace(GOOD, moments=Moments(100.0)), "n2/cold never failed over"),
        (replace(GOOD, clients=3), "a client kept using the tier"),
        (replace(GOOD, moments=replace(GOOD.moments, enabled=None)), "n2/cold never came back"),
    ],
)
def test_each_flaw_is_named(findings: Findings, problem: str) -> None:
    assert not findings.is_good
    assert problem in findings.problems()
