"""The HTTP port: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever restarts nodes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from tiercluster.tiermap import TIERS, NodeState, TierState

from .slowness import WORK
from .view import NodeView

View = Callable[[], NodeView]
REQUEST_TIMEOUT_S = 5.0
MAX_PATH = 1024
MAX_CONNECTIONS = 64

log = structlog.get_logger("tiercluster.http")


class _NodeCollector(Collector):
    """Turns the view of the moment into metrics; nothing is counted twice, nothing is kept."""

    def __init__(self, view: View) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        view = self._view()
        yield from _map_metrics(view)
        if view.stats is not None:
            yield from _tier_metrics(view)
            yield from _counters(view)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"tiercluster_{name}", text, value=value)


def _map_metrics(view: NodeView) -> Iterator[Metric]:
    yield _gauge("map_version", "Version of the tier map this node has applied", view.map.version)
    yield _gauge("quorum", "Whether this node sees a quorum of voters", view.standing.quorum)
    yield _gauge("leader", "Whether this node leads", view.standing.leader == view.node)
    yield _gauge("serving", "Whether this node answers data requests", view.serving)
    state = GaugeMetricFamily(
        "tiercluster_tier_state", "1 for the state each tier is in", labels=("ref", "state")
    )
    for ref, record in view.map.refs():
        for word in TierState:
            state.add_metric((str(ref), str(word)), record.state is word)
    yield state
    nodes = GaugeMetricFamily(
        "tiercluster_node_state", "1 for the state each node is in", labels=("node", "state")
    )
    for member in view.map.members:
        for node_word in NodeState:
            nodes.add_metric((member.id, str(node_word)), member.state is node_word)
    yield nodes


_TIER_GAUGES = (("entries", "Entries held"), ("bytes", "Bytes held, overhead included"),
                ("capacity_bytes", "Limit in bytes"))  # fmt: skip
_TIER_COUNTERS = (("hits", "Reads answered by this tier"), ("misses", "Reads it had no answer to"))


def _tier_metrics(view: NodeView) -> Iterator[Metric]:
    assert view.stats is not None
    rows = list(zip(TIERS, view.stats.tiers, strict=True))
    for name, text in _TIER_GAUGES:
        gauge = GaugeMetricFamily(f"tiercluster_tier_{name}", text, labels=("tier",))
        for tier, stats in rows:
            gauge.add_metric((str(tier),), getattr(stats, name))
        yield gauge
    for name, text in _TIER_COUNTERS:
        counter = CounterMetricFamily(f"tiercluster_tier_{name}", text, labels=("tier",))
        for tier, stats in rows:
            counter.add_metric((str(tier),), getattr(stats, name))
        yield counter
    pace = GaugeMetricFamily(
        "tiercluster_tier_p95_seconds",
        "95th percentile of the time an operation took in the store, of the last seconds",
        labels=("tier", "work"),
    )
    for tier, paces in zip(TIERS, view.stats.paces, strict=True):
        for work, measured in zip(WORK, paces, strict=True):
            if measured.operations:
                pace.add_metric((str(tier), work), measured.p95_s)
    yield pace
    note = GaugeMetricFamily(
        "tiercluster_tier_remedied",
        "1 while a tier is read-only or shrunk",
        labels=("tier", "note"),
    )
    for tier, stats in rows:
        if stats.note:
            note.add_metric((str(tier), stats.note), 1)
    yield note
    breaker = GaugeMetricFamily(
        "tiercluster_breaker", "1 for the state each breaker is in", labels=("tier", "state")
    )
    for tier, word in zip(TIERS, view.stats.breakers, strict=True):
        breaker.add_metric((str(tier), word), 1)
    yield breaker


def _counters(view: NodeView) -> Iterator[Metric]:
    assert view.stats is not None
    events = CounterMetricFamily(
        "tiercluster_node_events", "What happened on this node, by kind", labels=("kind",)
    )
    for name, value in (*view.stats.counters, *view.counters):
        events.add_metric((name,), value)
    yield events


def _handler(view: View) -> type[BaseHTTPRequestHandler]:
    registry = CollectorRegistry()
    registry.register(_NodeCollector(view))

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT_S
        server_version = "tiercluster"
        sys_version = ""

        def do_GET(self) -> None:
            match self.path[:MAX_PATH].partition("?")[0]:
                case "/metrics":
                    self._say(200, generate_latest(registry), CONTENT_TYPE_LATEST)
                case "/healthz":
                    self._say(200, b"alive\n")
                case "/readyz":
                    now = view()
                    ok = now.ready and now.serving
                    self._say(200 if ok else 503, f"{now.serving_reason}\n".encode())
                case _:
                    self._say(404, b"try /metrics, /healthz or /readyz\n")

        def _say(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Scrapes are not worth a line each."""

    return Handler


class _Server(ThreadingHTTPServer):
    """With a limit on those who are served at once; one more is hung up on."""

    daemon_threads = True
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who leaves before the answer is out is not worth a traceback."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.error("http_failed", error=repr(error))


class HttpServer:
    """Serves until stopped; each request gets a thread of its own that only reads the view."""

    def __init__(self, address: str, view: View) -> None:
        host, _, port = address.rpartition(":")
        self._server = _Server((host, int(port)), _handler(view))
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True
        )

    @property
    def address(self) -> str:
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
