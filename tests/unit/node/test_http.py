"""The HTTP port: what a scrape sees of a node."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.node.test_front import FrontWorld
from tiercluster.node.coordinator import Coordinator
from tiercluster.node.http import MAX_CONNECTIONS, HttpServer
from tiercluster.node.messages import PeerHeard, ServingChanged, ShardStats, TierStats
from tiercluster.node.pace import IDLE, Pace
from tiercluster.node.settings import NodeSettings
from tiercluster.tiermap import MapState, NodeJoined, apply
from tiercluster.tiermap.raft import Applied, Counted


def joined(node: str) -> NodeJoined:
    return NodeJoined(id=node, by=node, node=node, cluster="default", address=f"{node}:1",
                      raft=f"{node}:2", expected="", incarnation=f"{node}#1")  # fmt: skip


class Scraped:
    """A coordinator and the port that shows its view."""

    def __init__(self) -> None:
        self.node = Coordinator(NodeSettings(), "t", lambda: "id", lambda: 0.5, 0.0)
        self.state = apply(apply(MapState(), joined("n1")), joined("n2"))
        self.tell(Applied(self.state))
        self.server = HttpServer("127.0.0.1:0", self.node.view)
        self.server.start()
        self.count()

    def tell(self, event: object) -> None:
        self.node.handle(event, 0.0, 0.0)  # type: ignore[arg-type]

    def count(self, breaker: str = "closed", **counters: int) -> None:
        breakers = ("closed", "closed", breaker)
        self.tell(ShardStats((TierStats(1, 2, 3, 4, 5),) * 3, tuple(counters.items()), breakers))

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.server.address}{path}", timeout=5) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str) -> float | None:
        found = {}
        for line in self.get("/metrics")[1].splitlines():
            if not line.startswith("#"):
                series, _, value = line.rpartition(" ")
                found[series] = float(value)
        return found.get(f"tiercluster_{name}")

    def event(self, kind: str) -> float | None:
        return self.metric(f'node_events_total{{kind="{kind}"}}')


@pytest.fixture
def scraped() -> Iterator[Scraped]:
    made = Scraped()
    yield made
    made.server.stop()


def test_the_pace_of_a_tier_is_shown_where_it_was_measured(scraped: Scraped) -> None:
    paces = (IDLE, IDLE, (Pace(0.0125, 40), Pace()))
    scraped.tell(ShardStats((TierStats(1, 2, 3, 4, 5),) * 3, (), ("closed",) * 3, paces))
    assert scraped.metric('tier_p95_seconds{tier="cold",work="reads"}') == 0.0125
    assert scraped.metric('tier_p95_seconds{tier="cold",work="writes"}') is None
    assert scraped.metric('tier_p95_seconds{tier="hot",work="reads"}') is None


def test_what_the_shard_and_the_control_worker_counted_is_shown(scraped: Scraped) -> None:
    assert scraped.event("bad_replies") is None
    scraped.count(bad_replies=3, entries=7)
    assert (scraped.event("bad_replies"), scraped.event("entries")) == (3, 7)
    version = scraped.state.map.version
    scraped.tell(PeerHeard("n2", "n2#1", 0.0, version, "other", False))
    assert scraped.event("digest_mismatches") == 1


def test_what_the_auditor_of_copies_found_is_shown_by_the_name_that_alarms_are_set_on(
    scraped: Scraped,
) -> None:
    shard: Any = FrontWorld().front._shard
    scraped.tell(shard.stats())
    assert (scraped.event("copies_audited"), scraped.event("copies_stale")) == (0, 0)
    shard._auditor.checked, shard._auditor.stale = 7, 2
    scraped.tell(shard.stats())
    assert (scraped.event("copies_audited"), scraped.event("copies_stale")) == (7, 2)


@pytest.mark.parametrize("name", ["denied", "refused", "digest_mismatches", "failed_frames"])
def test_what_the_consensus_counted_is_shown_and_rises(scraped: Scraped, name: str) -> None:
    assert scraped.event(f"raft_{name}") is None, "a follower has none to show"
    scraped.tell(Counted())
    assert scraped.event(f"raft_{name}") == 0
    scraped.tell(Counted(**{name: 2}))
    assert scraped.event(f"raft_{name}") == 2


def test_the_state_of_a_breaker_is_shown(scraped: Scraped) -> None:
    scraped.count("half_open")
    assert scraped.metric('breaker{state="half_open",tier="cold"}') == 1
    assert scraped.metric('breaker{state="closed",tier="cold"}') is None


def test_ready_is_only_who_serves(scraped: Scraped) -> None:
    assert scraped.get("/healthz") == (200, "alive\n")
    assert scraped.get("/readyz") == (503, "starting\n")
    scraped.tell(ServingChanged(True, "lease held", 1))
    assert scraped.get("/readyz")[0] == 503, "it has not caught up yet"
    assert scraped.get("/nothing")[0] == 404


def test_one_connection_too_many_is_hung_up_on_and_places_are_given_back(scraped: Scraped) -> None:
    host, _, port = scraped.server.address.rpartition(":")
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            stack.enter_context(socket.create_connection((host, int(port)), 5))
        assert any(_is_hung_up(stack, host, int(port)) for _ in range(20))
    until = time.monotonic() + 5
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            assert scraped.get("/healthz") == (200, "alive\n")
            return
    pytest.fail("no place was given back")


def _is_hung_up(stack: contextlib.ExitStack, host: str, port: int) -> bool:
    connection = stack.enter_context(socket.create_connection((host, port), 5))
    connection.settimeout(0.2)
    try:
        return connection.recv(1) == b""
    except TimeoutError:  # one before it is not accepted yet
        return False


def test_who_leaves_early_leaves_no_traceback(
    scraped: Scraped, capfd: pytest.CaptureFixture[str]
) -> None:
    host, _, port = scraped.server.address.rpartition(":")
    for _ in range(20):
        with socket.create_connection((host, int(port)), 5) as leaving:
            leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            leaving.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 20)
    assert scraped.get("/healthz")[0] == 200
    assert "Traceback" not in capfd.readouterr().err
