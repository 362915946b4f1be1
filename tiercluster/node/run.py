"""One node, wired: makes the workers, starts them in order, and stops them in order."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import structlog
import zmq

from tiercluster.tiermap import (
    MapState,
    apply,
    decode_command,
    decode_state,
    encode_state,
)
from tiercluster.tiermap.raft import (
    Machine,
    RaftKeys,
    Replica,
    ReplicaEvent,
    ReplicaSettings,
    lock_directory,
)

from .cold_worker import INBOX_LIMIT, ColdWorker
from .consensus import Consensus
from .control import ControlWorker
from .follower import Follower
from .heap import return_free_pages, share_one_heap
from .http import HttpServer
from .inbox import Inbox
from .keyring import NodeKeys, load_node_keys
from .messages import ColdCommand, ColdStop, UseKeys
from .server import ShardWorker
from .settings import NodeSettings

# A full collection walks every entry of the directory, which would stop the heartbeats. So nothing
# that lives for a while may be in a cycle: entries, requests, reads. Tracebacks die young.
GC_THRESHOLDS = (5_000, 10, 1_000_000)
SWITCH_INTERVAL_S = 1e-4  # measured: docs/decisions/0005-threads.md
# How often free pages go back to the system: no more than 1/5000 of the time is spent on it.
RETURN_S, RETURN_TIMES = 60.0, 5000
MAX_WORDS = 10  # that wait for the main thread; see _obey_signals


log = structlog.get_logger("tiercluster.node")


class Word(Enum):
    """What the main thread waits for."""

    ENDED = "ended"
    RENEW_KEYS = "renew keys"


class StartError(Exception):
    """This node cannot start; the text says why and what to do."""


def _apply_frame(state: MapState, frame: bytes) -> MapState:
    """What does not decode changes nothing, on every member alike."""
    try:
        command = decode_command(frame)
    except ValueError:
        return state
    return apply(state, command)


def machine() -> Machine[MapState]:
    """The tier map as the consensus sees it: the same in every node, whatever its settings."""
    return Machine(
        initial=MapState(),
        apply=_apply_frame,
        encode=encode_state,
        decode=decode_state,
        digest=lambda state: state.map.digest,
        version=lambda state: state.map.version,
        level=lambda state: state.map.level,
    )


def _lock(data: Path) -> int:
    try:
        return lock_directory(data)
    except BlockingIOError as error:
        text = f"another node runs on --data {data}: give this one a directory of its own"
        raise StartError(text) from error
    except OSError as error:
        raise StartError(f"cannot use --data {data}: {error.strerror or error}") from error


def _raft_keys(settings: NodeSettings, keys: NodeKeys | None) -> RaftKeys | None:
    if keys is None:
        return None
    publics = dict(keys.nodes)
    missing = [node for node, _ in settings.peers if node not in publics]
    if missing:
        raise StartError(f"--keys {settings.keys} has no nodes/{missing[0]}.key for that voter")
    voters = {node for node, _ in settings.peers}
    peers = tuple((node, public) for node, public in keys.nodes if node in voters)
    return RaftKeys(keys.own.public, keys.own.secret, peers)


def _make_consensus(
    settings: NodeSettings, keys: NodeKeys | None, tell: Callable[[ReplicaEvent[Any]], object]
) -> Consensus:
    def deliver(event: ReplicaEvent[Any]) -> None:
        tell(event)

    newest = keys

    def make_feed(state: MapState, first: str) -> Follower:
        return Follower(settings.id, settings.join or first, deliver, newest, state)

    def use_keys(keys: NodeKeys) -> None:
        nonlocal newest
        newest = keys
        raft_keys = _raft_keys(settings, keys)
        if replica is not None and raft_keys is not None:
            replica.use_keys(raft_keys)

    replica: Replica[MapState] | None = None
    if settings.join:
        return Consensus(None, make_feed, use_keys)
    raft = ReplicaSettings(
        node_id=settings.id,
        raft_address=settings.raft,
        peers=settings.peers,
        directory=settings.data / "raft",
        cluster=settings.cluster,
        keys=_raft_keys(settings, keys),
    )
    replica = Replica(raft, machine(), deliver)
    return Consensus(replica, make_feed, use_keys)


class Node:
    """All workers of one node. StartError if it cannot be made."""

    def __init__(self, settings: NodeSettings, on_ready: Callable[[], None]) -> None:
        self._settings = settings
        self._lock = _lock(settings.data)
        keys = _load_keys(settings)
        token = uuid.uuid4().hex
        self._cold_inbox: Inbox[ColdCommand] = Inbox(INBOX_LIMIT)
        self.words: Inbox[Word] = Inbox(MAX_WORDS)  # for who runs it
        self.control = ControlWorker(
            settings,
            token,
            tell_shard=lambda order: self._shard.orders.tell(order),
            make_consensus=lambda tell: _make_consensus(settings, keys, tell),
            on_ready=on_ready,
            on_end=lambda: self.words.tell(Word.ENDED),
        )
        self._shard = ShardWorker(
            settings, token, self.control.inbox.tell, self._cold_inbox.tell, keys
        )
        cold = ColdWorker(settings.data / "cold", self._cold_inbox, self._shard.cold_answers.tell)
        self._cold_thread = threading.Thread(target=cold.run, name="cold", daemon=True)
        self._http = HttpServer(settings.http, self.control.view) if settings.http else None

    def start(self) -> None:
        """StartError if the client port is not to be had."""
        try:
            self._shard.bind()
        except zmq.ZMQError as error:
            raise StartError(f"cannot listen on {self._settings.listen}: {error}") from error
        self._cold_thread.start()
        self._shard.start()
        self.control.consensus.start()
        self.control.start()
        if self._http is not None:
            self._http.start()

    def renew_keys(self) -> None:
        """Read the directory of keys anew and use what it holds now; what cannot be used changes
        nothing and is said."""
        try:
            keys = _load_keys(self._settings)
            _raft_keys(self._settings, keys)
        except StartError as error:
            log.error("keys_not_renewed", error=str(error))
            return
        if keys is None:
            return
        self._shard.orders.tell(UseKeys(keys))
        self.control.inbox.tell(UseKeys(keys))
        log.info(
            "keys_renewed", own=keys.own.public.decode(), shown=keys.server.public.decode(),
            nodes=len(keys.nodes), admins=len(keys.admins), clients=len(keys.clients),
        )  # fmt: skip

    def stop(self) -> None:
        """Begin a clean stop; the word ENDED follows."""
        self.control.stop()

    def close(self) -> None:
        """After ENDED: take down what is left."""
        self.control.consensus.stop()
        self._shard.join(2.0)
        self._cold_inbox.tell(ColdStop())
        self._cold_thread.join(2.0)
        if self._http is not None:
            self._http.stop()
        os.close(self._lock)


def _load_keys(settings: NodeSettings) -> NodeKeys | None:
    if settings.keys is None:
        return None
    try:
        return load_node_keys(settings.keys, settings.id)
    except ValueError as error:
        raise StartError(str(error)) from error


def run_node(settings: NodeSettings, announce: Callable[[str], None]) -> int:
    """Run one node until SIGTERM or SIGINT; 0 after a clean stop, 1 if a worker failed. Calls
    ``announce`` with the node's id once it serves. StartError if it cannot start."""
    share_one_heap()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    _log_to_stderr()
    node = Node(settings, lambda: announce(settings.id))
    _obey_signals(node, settings)
    with node.words.woken_by_signals():
        node.start()  # a StartError comes before there is anything to close
        try:
            wait_for_end(node)
        finally:
            node.close()
    return 0 if node.control.ended_well else 1


def wait_for_end(node: Node) -> None:
    """In the main thread, which has nothing else to do: new keys, and the heap's free pages."""
    pause_s = RETURN_S
    while True:
        match node.words.take(pause_s):
            case Word.ENDED:
                return
            case Word.RENEW_KEYS:
                node.renew_keys()
            case None:
                pause_s = max(RETURN_S, RETURN_TIMES * return_free_pages())


def _obey_signals(node: Node, settings: NodeSettings) -> None:
    """The first to end stops cleanly, the second at once; SIGHUP has the keys read anew."""

    def stop(number: int, frame: object) -> None:
        if node.control.is_stopping:
            os._exit(128 + number)
        node.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)

    def renew(number: int, frame: object) -> None:
        # A word that waits is this one, which will read what is there by then, or the end.
        if not node.words:
            node.words.tell(Word.RENEW_KEYS)

    if settings.keys is not None:
        signal.signal(signal.SIGHUP, renew)


def _log_to_stderr() -> None:
    """One line a decision, for people on a terminal, JSON elsewhere; stdout is for `ready`."""
    is_terminal = sys.stderr.isatty()
    renderer = (
        structlog.dev.ConsoleRenderer() if is_terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
