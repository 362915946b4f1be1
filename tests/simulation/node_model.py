"""One node of the simulated cluster: the real cores, in the place of their threads' shells.

    shard thread:   `Front`, driven as `node/server.py` drives it
    control thread: `control_seat`
    cold thread:    `cold_model`

What crosses between threads waits in a queue and takes a moment. A stopped process (SIGSTOP) lets
all of it wait; its clock goes on. A crash loses all but the disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from tiercluster.cluster.codec import decode_reply, decode_request, encode_reply, encode_request
from tiercluster.cluster.wire import (
    CLIENT_ID_BYTES,
    OLDEST_VERSION,
    VERSION,
    Fields,
    Kind,
    Reply,
    Request,
)
from tiercluster.node.front import Front
from tiercluster.node.lease import RELINK_S
from tiercluster.node.messages import ColdAnswer, ColdCommand, ShardOrder, ShardReport, ShardStopped
from tiercluster.node.settings import NodeSettings
from tiercluster.tiermap import MapState, NodeState, TierMap
from tiercluster.tiermap.raft.events import ReplicaEvent

from .checkers import Checkers
from .cold_model import ColdModel, Disk
from .consensus_model import Consensus
from .control_seat import ControlSeat
from .loop import Loop
from .network import Connection, Network
from .reads import watch_reads

TICK_S = 0.02
CONTROL_TICK_S = 0.05
REQUEST_TURN = 64
PEER_TIMEOUT_S = 1.0  # HEARTBEAT_TIMEOUT_MS of node/sockets.py
HOP_S = 0.0005  # between two threads of a process, on average
BUSY = 0.01  # probability that a thread is late by up to BUSY_S
BUSY_S = 0.15
MID_TURN = 0.5  # probability that a stopped process goes on in the middle of a turn
WALL = 1_700_000_000.0

_NOBODY = bytes(CLIENT_ID_BYTES)


class SimNode:
    """``name`` is the node's id; ``boot`` counts its processes."""

    def __init__(self, loop: Loop, network: Network, consensus: Consensus, checkers: Checkers,
                 settings: NodeSettings, uses_wire: bool,
                 slow_close_s: float = 0.0) -> None:  # fmt: skip
        self.name = settings.id
        self.settings = settings
        self.boot = 0
        self.is_up = False
        self.is_running = False
        self.disk = Disk()
        self.links: dict[str, Connection] = {}
        self._loop, self._network, self._consensus = loop, network, consensus
        self._checkers = checkers
        self._uses_wire = uses_wire
        self._slow_close_s = slow_close_s
        self._protocol = OLDEST_VERSION
        self._offset = loop.uniform(10.0, 1000.0)
        self._rate = 1.0 + loop.uniform(-1e-4, 1e-4)
        self._wall_skew = loop.uniform(-0.05, 0.05)
        self._random = Random(repr(self._offset))
        self.front: Front | None = None
        self.control: ControlSeat | None = None
        self.cold: ColdModel | None = None
        network.servers[settings.listen] = self

    # --- clocks ---------------------------------------------------------------------------------

    def clock(self) -> float:
        """The machine's monotonic clock, seconds."""
        return self._offset + self._loop.now * self._rate

    def wall(self) -> float:
        return WALL + self._loop.now + self._wall_skew

    # --- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """A new process on the same data directory."""
        self.boot += 1
        self._loop.note(self.name, f"starts, process {self.boot}")
        self.is_up = self.is_running = True
        self.running_since, self._is_in_mid_turn = self._loop.now - RELINK_S, False
        token = f"{self.name}-{self.boot}"
        now = self.clock()
        self._orders: deque[ShardOrder] = deque()
        self._cold_answers: deque[ColdAnswer] = deque()
        self._replies: deque[tuple[str, Any]] = deque()
        self._requests: deque[tuple[bytes, Any]] = deque()
        self._to_control: deque[ShardReport | ReplicaEvent[MapState]] = deque()
        self._turn_due = self._control_due = self._is_shard_over = False
        self.cold = ColdModel(self._loop, self.disk, self._bound(self._cold_says),
                              lambda: self.is_running, self._slow_close_s)  # fmt: skip
        self.front = Front(self.settings, token, self, now)
        watch_reads(self.front, lambda place: self._checkers.read(self, place))
        self.control = ControlSeat(self.settings, token, self, now)
        self.front.turn(now, self.wall())
        self.front.start()
        self._consensus.restarted(self.name)
        self._loop.after(self._loop.uniform(0.0, TICK_S), self._tick, self.boot)
        self._loop.after(self._loop.uniform(0.0, CONTROL_TICK_S), self._control_tick, self.boot)

    def _bound(self, tell: Callable[[Any], None]) -> Callable[[Any], None]:
        """``tell`` for messages to this process only."""
        boot = self.boot
        return lambda message: tell(message) if self.boot == boot and self.is_up else None

    def crash(self) -> None:
        """kill -9: memory and connections are gone, the disk stays without a marker."""
        if not self.is_up:
            return
        self._loop.note(self.name, "crashes")
        self._end()

    def _end(self) -> None:
        assert self.cold is not None
        self.is_up = self.is_running = False
        self.cold.die()
        self.front = self.control = self.cold = None
        self.links = {}
        self._network.died(self)
        self._checkers.process_ended(self)

    def decided(self, event: str, facts: tuple[tuple[str, Any], ...]) -> None:
        if event != "proposed":
            self._loop.note(self.name, f"{event} {facts}")

    def pause(self) -> None:
        """SIGSTOP."""
        if self.is_up and self.is_running:
            self._loop.note(self.name, "is stopped by a signal")
            self.is_running, self._stopped_at = False, self._loop.now
            self._network.look()

    def thaw(self) -> None:
        """SIGCONT: every thread goes on, in no particular order, the shard's perhaps in the middle
        of a turn."""
        if not self.is_up or self.is_running:
            return
        self._loop.note(self.name, "goes on")
        self.is_running = True
        if self._loop.now - self._stopped_at > self.settings.detector.stall_s * 1.001:
            self.running_since = self._loop.now
        self._is_in_mid_turn = self._random.random() < MID_TURN
        assert self.cold is not None
        self._turn_due = self._control_due = False
        self.cold.resume()
        self._wake_shard(self._hop())
        self._wake_control()
        self._network.look()

    def stop(self) -> None:
        """SIGTERM: a clean stop."""
        if self.is_up and self.control is not None:
            self._loop.note(self.name, "is asked to stop")
            self._loop.after(self._hop(), self._begin_stop, self.boot)

    def _begin_stop(self, boot: int) -> None:
        if self.boot != boot or not self.is_up:
            return
        if not self.is_running:
            self._loop.after(0.1, self._begin_stop, boot)
            return
        assert self.control is not None
        self.control.stop(self.clock(), self.wall())

    def ended(self) -> None:
        """The process is done with its clean stop."""
        self._loop.note(self.name, f"has stopped, marker {self.disk.marker}")
        self._end()

    # --- threads --------------------------------------------------------------------------------

    def _hop(self) -> float:
        if self._loop.chance(BUSY):
            return self._loop.uniform(0.0, BUSY_S)
        return HOP_S * 2 * self._loop.random.random()

    def _tick(self, boot: int) -> None:
        if self.boot != boot or not self.is_up:
            return
        self._loop.after(TICK_S, self._tick, boot)
        if self.is_running:
            self._turn(boot, ticks=True)

    def _control_tick(self, boot: int) -> None:
        if self.boot != boot or not self.is_up:
            return
        self._loop.after(CONTROL_TICK_S, self._control_tick, boot)
        if self.is_running:
            self._control_turn(boot)

    def _wake_shard(self, delay_s: float = 0.0) -> None:
        if not self._turn_due:
            self._turn_due = True
            self._loop.after(delay_s, self._turn, self.boot)

    def _turn(self, boot: int, ticks: bool = False) -> None:
        """One turn of the shard's loop."""
        if self.boot != boot or not self.is_running or self._is_shard_over:
            return
        if not ticks:
            self._turn_due = False
        front, now = self.front, self.clock()
        assert front is not None
        if not self._is_in_mid_turn:
            front.turn(now, self.wall())
        self._is_in_mid_turn = False
        while self._orders:
            front.obey(self._orders.popleft(), now, self.wall())
            self._checkers.node_changed(self)
        while self._cold_answers:
            front.cold_answered(self._cold_answers.popleft(), now, self.wall())
        while self._replies:
            self._take_reply(*self._replies.popleft(), now)
        for _ in range(min(REQUEST_TURN, len(self._requests))):
            self._take_request(*self._requests.popleft(), now)
        if self._requests:
            self._wake_shard()
        front.tick(now)
        self._checkers.node_changed(self)
        if front.is_stopped:  # the thread ends
            self._is_shard_over = True
            self.tell_control(ShardStopped("stopped"))

    def _take_reply(self, node: str, message: Any, now: float) -> None:
        assert self.front is not None
        reply = message if isinstance(message, Reply) else decode_reply(message)
        self.front.peer_reply(node, reply, now)
        self._checkers.node_changed(self)

    def _take_request(self, identity: bytes, message: Any, now: float) -> None:
        assert self.front is not None
        request = message if isinstance(message, Request) else decode_request(message)
        self._checkers.request_taken(self, identity, request)
        self.front.request(identity, request, now)

    def _wake_control(self) -> None:
        if not self._control_due:
            self._control_due = True
            self._loop.after(self._hop(), self._control_woken, self.boot)

    def _control_woken(self, boot: int) -> None:
        if self.boot == boot and self.is_running:
            self._control_due = False
            self._control_turn(boot)

    def _control_turn(self, boot: int) -> None:
        now, wall = self.clock(), self.wall()
        while self._to_control and self.control is not None:
            self.control.take(self._to_control.popleft(), now, wall)
        if self.control is not None:
            self.control.tick(now, wall)

    # --- what arrives ---------------------------------------------------------------------------

    def arrived(self, identity: bytes, message: Any) -> None:
        """Something for the ROUTER socket."""
        self._requests.append((identity, message))
        if self.is_running:
            self._wake_shard()

    def _peer_says(self, node: str, message: Any) -> None:
        self._replies.append((node, message))
        if self.is_running:
            self._wake_shard()

    def _cold_says(self, answer: ColdAnswer) -> None:
        self._cold_answers.append(answer)
        if self.is_running:
            self._wake_shard(self._hop())

    def replica_says(self, event: ReplicaEvent[MapState]) -> None:
        """From the replica's thread."""
        if self.is_up:
            self._to_control.append(event)
            self._wake_control()

    # --- the doors of the front -----------------------------------------------------------------

    def reply(self, identity: bytes, reply: Reply) -> bool:
        self._checkers.replied(self, identity, reply)
        plain = reply.kind >= Kind.PEER_PING and not self._uses_wire
        self._network.reply(identity, reply if plain else encode_reply(reply))
        return True

    def send_peer(self, node: str, kind: Kind, rid: int, version: int, fields: Fields,
                  body: bytes) -> bool:  # fmt: skip
        link = self.links.get(node)
        if link is None:
            return False
        request = Request(kind, rid, version, 0, _NOBODY, False, fields, body, self._protocol)
        self._checkers.peer_asked(self, node, request)
        return link.send(encode_request(request) if self._uses_wire else request)

    def link_peers(self, tier_map: TierMap) -> None:
        self._protocol = min(VERSION, tier_map.level)
        wanted = {m.id: m.address for m in tier_map.members if m.id != self.name}
        for node in [n for n in self.links if wanted.get(n) != self.links[n].address]:
            self.links.pop(node).close()
        for node, address in wanted.items():
            if node not in self.links:
                says = self._bound(lambda message, node=node: self._peer_says(node, message))
                self.links[node] = Connection(self._network, self, address, PEER_TIMEOUT_S,
                                              says, lambda state: None)  # fmt: skip

    def tell_cold(self, command: ColdCommand) -> bool:
        self._checkers.cold_asked(self, command)
        assert self.cold is not None
        return self.cold.command(command)

    def tell_control(self, report: ShardReport) -> object:
        self._checkers.reported(self, report)
        self._to_control.append(report)
        self._wake_control()
        return None

    # --- the doors of the control seat ----------------------------------------------------------

    def order(self, order: ShardOrder) -> None:
        self._orders.append(order)
        self._wake_shard(self._hop())

    def propose(self, frame: bytes) -> None:
        self._consensus.propose(self.name, frame)

    def barrier(self, token: str) -> None:
        self._consensus.barrier(self.name, token)

    @property
    def is_settled_member(self) -> bool:
        """Whether the newest map has this process as a member that is UP."""
        member = self._consensus.state.map.member(self.name)
        return member is not None and member.state is NodeState.UP
