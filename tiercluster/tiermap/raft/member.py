"""One member put together: directory, journal, snapshots, links and the consensus over a wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from pysyncobj import SyncObjConf

from .admission import Admission
from .files import JournalError
from .hardened import HardenedSyncObj
from .identity import Directory
from .journal import Journal
from .library import BARRIER, COMMAND, library_conf
from .links import Links, Wire
from .machine import Machine
from .settings import ReplicaSettings
from .snapshot import SnapshotStore

S = TypeVar("S")


class PolledWire(Wire, Protocol):
    """A wire that hands what arrives to ``deliver`` while it is polled."""

    deliver: Callable[[str, bytes], None]

    def poll(self, timeout_s: float) -> None: ...

    def close(self) -> None: ...


class Member(Generic[S]):
    """JournalError (DamagedError: until an operator helps) when it cannot take part; everything is
    closed then. ``was_sick`` has the journal written anew before it is trusted."""

    def __init__(
        self,
        settings: ReplicaSettings,
        machine: Machine[S],
        open_wire: Callable[[ReplicaSettings], PolledWire],
        clock: Callable[[], float],
        session: int,
        was_sick: bool = False,
    ) -> None:
        self._closers: list[Callable[[], None]] = []
        self._clock = clock
        try:
            self._open(settings, machine, open_wire, session, was_sick)
        except BaseException:
            self.close()
            raise

    def _open(
        self,
        settings: ReplicaSettings,
        machine: Machine[S],
        open_wire: Callable[[ReplicaSettings], PolledWire],
        session: int,
        was_sick: bool,
    ) -> None:
        fsync, path = settings.fsync, settings.directory
        peers = frozenset(node for node, _ in settings.peers)
        directory = Directory(path, settings.cluster, settings.node_id, fsync)
        self._closers.append(directory.close)
        journal = Journal(path, fsync, rewrite=was_sick)
        self._closers.append(journal._destroy)
        self.wire = open_wire(settings)
        self._closers.append(self.wire.close)
        self.links = Links(
            settings.node_id,
            peers,
            settings.cluster,
            self.wire,
            self._clock,
            session,
            settings.keep_warm_s,
            settings.link_timeout_s,
        )
        self.admission = Admission(
            peers, directory.admitted, self._clock(), settings.bootstrap_patience_s
        )
        self.consensus = HardenedSyncObj(
            settings.node_id,
            peers,
            _conf(settings),
            self.links,
            journal,
            SnapshotStore(path / "snapshot", fsync),
            self.admission,
            directory.admit,
            machine,
            self._clock,
            first_request_id=session,
        )
        self.consensus._poller = self
        self.consensus.addOnTickCallback(self.links.tick)
        self.wire.deliver = self.links.receive

    def tick(self, wait_s: float) -> None:
        """One round of the consensus; waits for messages at most so long. JournalError: close."""
        self.consensus.doTick(wait_s)

    def poll(self, timeout_s: float) -> None:
        """Called by the library at the end of a tick."""
        self.wire.poll(0.0 if self.consensus.is_urgent() else timeout_s)

    @property
    def can_propose(self) -> bool:
        """Whether a proposal made now has somewhere to go."""
        return self.consensus.is_leader or self.consensus.hears_leader()

    def propose(self, frame: bytes) -> None:
        self.consensus.append(COMMAND + frame)

    def propose_barrier(self, token: bytes) -> None:
        self.consensus.append(BARRIER + token)

    def close(self) -> None:
        """Sockets, files and lock; what cannot be saved any more has been reported before."""
        while self._closers:
            try:
                self._closers.pop()()
            except JournalError:
                continue


def _conf(settings: ReplicaSettings) -> SyncObjConf:
    return library_conf(
        autoTick=False,
        autoTickPeriod=settings.tick_s,
        useFork=False,
        dynamicMembershipChange=False,
        # Batches would wait for the next heartbeat: 88 ms a commit instead of 2.
        appendEntriesUseBatch=False,
        appendEntriesBatchSizeBytes=settings.batch_bytes,
        appendEntriesPeriod=settings.heartbeat_s,
        raftMinTimeout=settings.election_min_s,
        raftMaxTimeout=settings.election_max_s,
        leaderFallbackTimeout=settings.leader_fallback_s,
        connectionTimeout=settings.link_timeout_s,
        commandsWaitLeader=False,
        commandsQueueSize=2 * settings.inbox_limit,
        logCompactionMinEntries=settings.compact_entries,
        logCompactionMinTime=10**9,
    )
