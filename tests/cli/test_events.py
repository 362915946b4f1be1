"""What the cluster decided, once and as it happens."""

from __future__ import annotations

import pytest

from tiercluster.cli import events
from tiercluster.cluster.errors import Unavailable

from .conftest import Run
from .fakes import FakeCluster, failed

FIELDS = ["version", "time", "ref", "from", "to", "by", "reason", "evidence"]


def test_events_are_one_object_a_line_oldest_first(run: Run, cluster: FakeCluster) -> None:
    cluster.apply(failed("n2/cold"))
    lines = run("events", "--json").lines
    assert all(list(line) == FIELDS for line in lines)
    versions = [line["version"] for line in lines]
    assert versions == sorted(versions)
    last = lines[-1]
    assert (last["ref"], last["from"], last["to"], last["by"]) == ("n2/cold", "UP", "DOWN", "n2")
    assert last["evidence"] == {"failures": 15, "kind": "io_error"}


def test_since_is_the_last_version_already_seen(run: Run, cluster: FakeCluster) -> None:
    seen = cluster.map.version
    cluster.apply(failed("n2/cold"))
    lines = run("events", "--since", str(seen), "--json").lines
    assert [line["ref"] for line in lines] == ["n2/cold"]
    assert run("events", "--since", str(seen + 1), "--json").out == ""


def test_follow_goes_on_with_what_happens_and_ends_cleanly_on_ctrl_c(
    run: Run, cluster: FakeCluster
) -> None:
    looks = iter(range(3))

    def watch() -> None:
        if next(looks, None) is None:
            raise KeyboardInterrupt

    cluster.on_watch = watch
    cluster.later = [failed("n2/cold")]
    ran = run("events", "--follow", "--since", str(cluster.map.version), "--json")
    assert (ran.code, ran.err) == (0, "")
    assert [line["ref"] for line in ran.lines] == ["n2/cold"]


def test_follow_outlives_a_moment_in_which_nobody_answers(
    run: Run, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("tiercluster.cli.events.time.sleep", waits.append)
    troubles = iter([Unavailable("nobody home"), None, KeyboardInterrupt()])

    def watch() -> None:
        trouble = next(troubles)
        if trouble is not None:
            raise trouble

    cluster.on_watch = watch
    cluster.later = [failed("n2/cold")]
    ran = run("events", "--follow", "--since", str(cluster.map.version), "--json")
    assert ran.code == 0
    assert ran.err == "waiting for the cluster: nobody home\n"
    assert [line["to"] for line in ran.lines] == ["DOWN"]
    assert waits == [events.RETRY_S]


def test_the_table_has_a_row_for_each_event(run: Run, cluster: FakeCluster) -> None:
    cluster.apply(failed("n2/cold"))
    rows = run("events").out.splitlines()
    assert rows[0].split()[:4] == ["VERSION", "TIME", "REF", "FROM"]
    assert "kind=io_error" in rows[-1]
