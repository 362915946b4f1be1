"""The live view."""

from __future__ import annotations

import pytest

from tiercluster.cli import top
from tiercluster.cli.view import View

from .conftest import Run
from .fakes import UNREACHABLE, FakeCluster, failed


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiercluster.cli.top.time.sleep", lambda _: None)


def test_top_shows_what_status_shows(run: Run, cluster: FakeCluster) -> None:
    cluster.apply(failed("n2/cold"))
    ran = run("top", "--count", "2")
    assert ran.code == 0
    assert "leader n1" in ran.out
    assert "DOWN" in ran.out


def test_top_json_is_a_status_document_a_line(run: Run) -> None:
    lines = run("top", "--count", "3", "--json").lines
    assert len(lines) == 3
    assert set(lines[0]) == {"cluster", "version", "leader", "quorum", "nodes"}


def test_the_stream_goes_on_after_a_moment_in_which_nobody_answers(
    run: Run, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    troubles = iter([UNREACHABLE, None])

    def sleep(seconds: float) -> None:
        cluster.trouble = next(troubles)

    monkeypatch.setattr("tiercluster.cli.top.time.sleep", sleep)
    ran = run("top", "--count", "3", "--json")
    assert ran.code == 0
    assert len(ran.lines) == 2
    assert ran.err.startswith("no member answers: ")
    cluster.trouble = UNREACHABLE
    assert run("top", "--count", "3", "--json").code == 3


def test_lookups_a_second_are_measured_between_two_looks(cluster: FakeCluster) -> None:
    said = {"n1": cluster.status_dict("n1"), "n2": cluster.status_dict("n2")}
    later = {"n1": cluster.status_dict("n1"), "n3": cluster.status_dict("n3")}
    later["n1"]["tiers"][0]["hits"] += 500
    later["n1"]["tiers"][2]["hits"] = 0  # restarted
    rates = top.lookups_per_s(View(cluster.map, said), View(cluster.map, later), seconds=2.0)
    assert rates == {"n1/hot": 250.0, "n1/warm": 0.0}
