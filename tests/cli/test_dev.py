"""A local cluster: the flags of its nodes, and processes that end when they should."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tiercluster.cli import dev, processes
from tiercluster.cli.demo import HIGHEST_PORT
from tiercluster.cli.dev import plans
from tiercluster.cli.exits import Stop
from tiercluster.cli.processes import Ended, Nodes, Ready, StopAsked
from tiercluster.cluster.options import DEFAULT_PORT
from tiercluster.node.settings import NodeSettings

# A node as far as its parent can tell: ready, then until its input ends or it is told to stop.
NODE = "import sys; print('ready id=x', flush=True); sys.stdin.read()"
SICK = "import sys; print('no such disk', file=sys.stderr); sys.exit(3)"


def test_names_and_ports_are_those_of_the_contract() -> None:
    n1, n2, n3 = plans(3, 7701, Path("/d"))
    assert [p.id for p in (n1, n2, n3)] == ["n1", "n2", "n3"]
    assert n2.listen == "127.0.0.1:7702"
    assert n2.http == "127.0.0.1:7902"
    assert n2.data == Path("/d/n2")
    arguments = " ".join(n2.arguments)
    assert "--raft 127.0.0.1:7802" in arguments
    assert "--peer n1=127.0.0.1:7801 --peer n3=127.0.0.1:7803" in arguments
    assert "n2=" not in arguments


def test_h19_default_ports_are_below_the_range_of_outgoing_connections() -> None:
    """A port in it may be taken when its node comes back, which cost a failover of ten seconds."""
    most = plans(dev.MAX_NODES, DEFAULT_PORT, Path("/d"))
    alone = NodeSettings()
    named = [address for plan in most for address in re.findall(r"127\.0\.0\.1:(\d+)", str(plan))]
    named += [alone.listen.rpartition(":")[2], alone.raft.rpartition(":")[2], str(HIGHEST_PORT)]
    assert len(named) > 3 * dev.MAX_NODES
    assert max(map(int, named)) < 32768


def test_of_more_than_five_nodes_five_vote() -> None:
    seven = plans(7, 7701, Path("/d"))
    assert [" ".join(p.arguments).count("--peer") for p in seven] == [4, 4, 4, 4, 4, 0, 0]
    assert all("--join" in p.arguments for p in seven[5:])


def test_no_two_addresses_are_the_same_whatever_the_number() -> None:
    for count in (1, 3, dev.MAX_NODES):
        made = plans(count, 7701, Path("/d"))
        used = [word for p in made for word in p.arguments if word.startswith("127.0.0.1:")]
        mine = [p.listen for p in made] + [p.http for p in made]
        assert len(set(mine)) == 2 * count
        assert set(mine) <= set(used)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    return Nodes(command=(sys.executable, "-c", NODE))


def news(nodes: Nodes) -> object:
    return nodes.news.take(20)


def test_a_node_is_ready_and_stops_when_asked(nodes: Nodes, tmp_path: Path) -> None:
    [plan] = plans(1, 7701, tmp_path)
    nodes.start(plan)
    assert news(nodes) == Ready("n1")
    assert nodes.stop_all() == []
    assert news(nodes) == Ended("n1", -signal.SIGTERM)


def test_a_node_ends_when_our_end_of_its_input_is_closed(nodes: Nodes, tmp_path: Path) -> None:
    [plan] = plans(1, 7701, tmp_path)
    nodes.start(plan)
    assert news(nodes) == Ready("n1")
    stdin = nodes.running["n1"].stdin
    assert stdin is not None
    stdin.close()  # what the kernel does for us when we are killed
    assert news(nodes) == Ended("n1", 0)


def test_a_node_that_does_not_stop_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_S", 0.2)
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {NODE}"
    nodes = Nodes(command=(sys.executable, "-c", deaf))
    [plan] = plans(1, 7701, tmp_path)
    nodes.start(plan)
    assert news(nodes) == Ready("n1")
    assert nodes.stop_all() == ["n1"]
    assert news(nodes) == Ended("n1", -signal.SIGKILL)


def test_a_node_that_ends_before_it_is_ready_ends_it_all_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dev, "port_problem", lambda _: "")
    monkeypatch.setattr(processes, "COMMAND", (sys.executable, "-c", SICK))
    with pytest.raises(Stop) as caught:
        dev.run(plans(1, 7701, tmp_path), is_kept=True)
    assert caught.value.message == "n1 ended with code 3: no such disk"
    assert "ready" not in capfd.readouterr().out


def test_dev_says_ready_reports_a_death_and_stops_on_sigterm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dev, "port_problem", lambda _: "")
    monkeypatch.setattr(processes, "COMMAND", (sys.executable, "-c", NODE))
    told: list[str] = []
    words = dev._words

    def listen(text: str) -> None:
        words(text)
        told.append(text)
        if text.startswith("ctrl-c"):
            pid = int(told[0].split("pid=")[1].split()[0])
            os.kill(pid, signal.SIGKILL)
        if "was killed by signal 9" in text:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(dev, "_words", listen)
    assert dev.run(plans(2, 7701, tmp_path), is_kept=True) == 0
    out = capfd.readouterr().out
    assert out == (f"ready nodes=n1,n2 cluster=127.0.0.1:7701,127.0.0.1:7702 data={tmp_path}\n")
    assert any(t.startswith("n1 was killed by signal 9; the others go on") for t in told)
    assert told[-1] == "stopping"


def test_a_stop_before_ready_is_no_error() -> None:
    nodes = Nodes(command=("true",))
    nodes.news.tell(StopAsked())
    assert dev._until_ready(nodes, plans(1, 7701, Path("/d"))) is False


def test_a_port_in_use_is_said_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "port_problem", lambda _: "address already in use;")
    with pytest.raises(Stop, match="address already in use"):
        dev.run(plans(1, 7701, Path("/d")), is_kept=True)
