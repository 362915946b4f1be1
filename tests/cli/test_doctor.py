"""What doctor finds: one line each, with what to do."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from tiercluster.cli import findings
from tiercluster.cli.view import View
from tiercluster.tiermap import Event

from .conftest import Run
from .fakes import UNREACHABLE, FakeAdmin, FakeCluster, failed, stopped


def view(cluster: FakeCluster) -> View:
    admin = FakeAdmin(cluster)
    answers = {m.id: admin.status_of(m.address) for m in cluster.map.members if m.state == "UP"}
    return View(cluster.map, {node: said for node, said in answers.items() if said})


def found(cluster: FakeCluster, now: float = 5000.0) -> dict[str, tuple[str, str]]:
    lines = findings.cluster(view(cluster), cluster.state.events, now)
    return {line.check: (line.level, line.text) for line in lines}


def test_a_healthy_cluster_is_ok_throughout(cluster: FakeCluster) -> None:
    assert {level for level, _ in found(cluster).values()} == {"ok"}


def trouble(cluster: FakeCluster, what: str) -> None:
    other: dict[str, dict[str, Any]] = {
        "quorum": {"n1": {"quorum": False}, "n2": {"quorum": False}, "n3": {"quorum": False}},
        "behind": {"n3": {"version": 1}},
        "digest": {"n3": {"digest": "other"}},
        "mismatches": {"n2": {"digest_mismatches": 3}},
        "not serving": {"n3": {"serving": False, "serving_reason": "no lease"}},
    }
    cluster.said = other.get(what, {})
    match what:
        case "node down":
            cluster.apply(stopped("n3"))
        case "tier down":
            cluster.apply(failed("n3/cold"))
        case "suspect":
            cluster.apply(failed("n2/cold"))
            cluster.apply(failed("n3/cold"))
        case "silent":
            cluster.silent = {"n3"}


@pytest.mark.parametrize(
    ("what", "check", "level", "text"),
    [
        ("quorum", "quorum", "fail", "none"),
        ("behind", "map version", "warn", "n3 at 1"),
        ("digest", "map digest", "fail", "n1, n2 against n3"),
        ("mismatches", "map digest", "fail", "n2 has found 3"),
        ("not serving", "node n3", "warn", "no lease"),
        ("node down", "node n3", "fail", "DOWN: stopped"),
        ("tier down", "tier n3/cold", "fail", "io_error"),
        ("suspect", "tier n3/cold", "warn", "suspect"),
        ("silent", "node n3", "fail", "no answer from 127.0.0.1:7703"),
    ],
)
def test_each_trouble_is_found(
    cluster: FakeCluster, what: str, check: str, level: str, text: str
) -> None:
    trouble(cluster, what)
    assert found(cluster)[check][0] == level
    assert text in found(cluster)[check][1]


def test_events_from_the_future_mean_that_clocks_differ() -> None:
    cluster = FakeCluster()
    latest = max(event.time for event in cluster.state.events)
    assert found(cluster, now=latest - 60)["clock"] == (
        "warn",
        "n3 is 60 s ahead of this machine",
    )
    assert found(cluster, now=latest)["clock"][0] == "ok"


def test_a_clock_that_no_event_tells_about_is_ok() -> None:
    nothing: list[Event] = []
    levels = [f.level for f in findings.cluster(view(FakeCluster()), nothing, 0.0)]
    assert set(levels) == {"ok"}


@pytest.mark.parametrize(("limit", "level"), [(256, "fail"), (1024, "warn"), (65536, "ok")])
def test_the_file_limit_is_judged(limit: int, level: str) -> None:
    assert findings.file_limit(limit).level == level


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A node whose ports are free and whose data directory can be made."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = one.getsockname()[1], other.getsockname()[1]
    file = tmp_path / "node.toml"
    file.write_text(
        f'listen = "127.0.0.1:{ports[0]}"\nraft = "127.0.0.1:{ports[1]}"\ndata = "{tmp_path}/d"\n'
    )
    return file


def test_doctor_is_0_if_nothing_fails(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (65536, 65536))
    ran = run("doctor", "--config", str(config), "--json")
    assert [line for line in ran.json if line["level"] == "fail"] == []
    assert ran.code == 0
    assert {"configuration", "data", "port listen", "quorum", "map digest", "clock"} <= {
        line["check"] for line in ran.json
    }


def test_doctor_is_1_if_something_fails_and_says_what_to_do(
    run: Run, cluster: FakeCluster, config: Path
) -> None:
    cluster.trouble = UNREACHABLE
    ran = run("doctor", "--config", str(config))
    assert ran.code == 1
    assert "start a node, or name a member with --cluster HOST:PORT" in ran.out


def test_a_port_that_something_else_uses_is_found(run: Run, config: Path, tmp_path: Path) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        taken = f"127.0.0.1:{squatter.getsockname()[1]}"
        config.write_text(f'listen = "{taken}"\nraft = "127.0.0.1:1"\ndata = "{tmp_path}"\n')
        lines = {
            line["check"]: line for line in run("doctor", "--config", str(config), "--json").json
        }
    assert lines["port listen"]["level"] == "fail"
    assert taken in lines["port listen"]["text"]


def test_a_data_directory_that_cannot_even_be_looked_at_is_a_finding(
    run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "node.toml"
    file.write_text(f'data = "{tmp_path}/{"d" * 300}"\n')
    lines = {line["check"]: line for line in run("doctor", "--config", str(file), "--json").json}
    assert lines["data"]["level"] == "fail"
    assert "too long" in lines["data"]["text"]
    assert "map digest" in lines, "it ended there"


def test_a_wrong_setting_is_a_finding(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("lisen = 1")
    ran = run("doctor", "--config", str(file), "--json")
    assert ran.code == 1
    assert ran.json[0]["level"] == "fail"
    assert "did you mean listen?" in ran.json[0]["text"]
