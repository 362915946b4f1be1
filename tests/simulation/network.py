"""The network: TCP connections between hosts, as ZeroMQ's DEALER and ROUTER sockets use them.

    connecting --path free, both ends running--> up --silent for the heartbeat's timeout--> lost
        ^------------------------------ a while later ----------------------------------------+

Within one connection nothing is reordered or doubled, and nothing is lost but with the connection.
What was sent before it was lost may still arrive (it is in the kernel's buffers), also long after,
when a cut is healed or a stopped process goes on: that is where the past comes from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from .loop import Loop

MAX_HELD = 100  # messages that a connection takes while its path is cut
RETRY_S = (0.02, 0.2)  # between attempts to connect
CONNECT_TIMEOUT_S = 1.0
SPIKE_S = 0.3  # longest delay of one message on a path that is free


class Host(Protocol):
    """A process with its I/O thread."""

    name: str
    boot: int  # how often it was started; what was sent to an earlier process is gone

    @property
    def is_up(self) -> bool: ...  # the process exists

    @property
    def is_running(self) -> bool: ...  # and is not stopped by a signal

    def arrived(self, identity: bytes, message: Any) -> None: ...


class Lane:
    """One direction of a connection."""

    __slots__ = ("held", "last_at", "source", "target")

    def __init__(self, source: str, target: str) -> None:
        self.source, self.target = source, target
        self.last_at = 0.0
        self.held: deque[Any] = deque()


class Wire:
    """One connection from its handshake to its end."""

    __slots__ = ("boot", "connection", "down", "identity", "is_open", "lingers", "server", "up")

    def __init__(self, connection: Connection, server: Host, identity: bytes) -> None:
        self.connection = connection
        self.server = server
        self.boot = server.boot
        self.identity = identity
        self.is_open = True  # at the client's end
        self.lingers = False  # closed, but what is under way may still arrive at the server
        self.up = Lane(connection.host.name, server.name)
        self.down = Lane(server.name, connection.host.name)


class Connection:
    """The client's end: connects, and connects again. ``on_message`` takes what the server says,
    ``on_state`` "up", "lost" or "failed"."""

    def __init__(self, network: Network, host: Host, address: str, timeout_s: float,
                 on_message: Callable[[Any], object],
                 on_state: Callable[[str], object]) -> None:  # fmt: skip
        self._network = network
        self.host = host
        self.boot = host.boot
        self.address = address
        self.timeout_s = timeout_s
        self.on_message = on_message
        self.on_state = on_state
        self.wire: Wire | None = None
        self.is_closed = False
        self.broken_since: float | None = None
        network.connections.append(self)
        network.loop.after(0.001, self._try)

    @property
    def is_up(self) -> bool:
        return self.wire is not None

    def send(self, message: Any) -> bool:
        wire = self.wire
        if wire is None or len(wire.up.held) >= MAX_HELD:
            return False
        self._network.carry(wire, wire.up, message)
        return True

    def close(self) -> None:
        self.is_closed = True
        self._end(says=False)
        self._network.connections.remove(self)

    def _try(self) -> None:
        if self.is_closed or self.wire is not None:
            return None
        network, server = self._network, self._network.servers.get(self.address)
        if not self.host.is_running or self.host.boot != self.boot:
            return network.loop.after(0.1, self._try)
        if server is None or not server.is_up:
            return self._failed(0.002)
        if not network.is_free(self.host, server) or not server.is_running:
            return self._failed(0.3 if network.is_free(self.host, server) else CONNECT_TIMEOUT_S)
        network.loop.after(network.round_trip(self.host, server), self._connected, server.boot)
        return None

    def _connected(self, boot: int) -> None:
        server = self._network.servers.get(self.address)
        if self.is_closed or self.wire is not None:
            return None
        if server is None or server.boot != boot or not self._network.is_free(self.host, server):
            return self._failed(CONNECT_TIMEOUT_S)
        if not server.is_running or not self.host.is_running:
            return self._failed(0.3)
        self.wire = self._network.new_wire(self, server)
        self.broken_since = None
        self.on_state("up")
        return None

    def _failed(self, delay_s: float) -> None:
        """An attempt came to nothing after so long; the next one follows."""
        loop = self._network.loop
        loop.after(delay_s, self._say_failed)
        loop.after(delay_s + loop.uniform(*RETRY_S), self._try)

    def _say_failed(self) -> None:
        if not self.is_closed and self.wire is None:
            self.on_state("failed")

    def lose(self) -> None:
        """The connection is broken, and this end knows."""
        if self.wire is not None:
            self._end(says=True)
            self._network.loop.after(self._network.loop.uniform(*RETRY_S), self._try)

    def _end(self, says: bool) -> None:
        wire, self.wire, self.broken_since = self.wire, None, None
        if wire is None:
            return
        wire.is_open = False
        wire.lingers = self._network.loop.chance(0.5)
        if says:
            self.on_state("lost")


class Network:
    """All hosts, which of them reach which, and all connections."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.servers: dict[str, Host] = {}
        self.connections: list[Connection] = []
        self.wires: dict[bytes, Wire] = {}
        self._cut: set[tuple[str, str]] = set()
        self._slow: dict[tuple[str, str], float] = {}
        self._base: dict[tuple[str, str], float] = {}
        self._count = 0
        self.spikes = 0.0  # probability that one message takes up to SPIKE_S

    # --- paths ----------------------------------------------------------------------------------

    def is_free(self, a: Host, b: Host) -> bool:
        return not self.is_cut(a.name, b.name) and not self.is_cut(b.name, a.name)

    def is_cut(self, source: str, target: str) -> bool:
        return (source, target) in self._cut

    def cut(self, source: str, target: str) -> None:
        self._cut.add((source, target))
        self.look()

    def heal(self, source: str, target: str) -> None:
        self._cut.discard((source, target))
        self._release()
        self.look()

    def heal_all(self) -> None:
        self._cut.clear()
        self._slow.clear()
        self.spikes = 0.0
        self._release()
        self.look()

    def slow(self, source: str, target: str, delay_s: float) -> None:
        """Every message takes that much longer; 0 ends it."""
        self._slow[source, target] = delay_s

    def delay(self, source: str, target: str) -> float:
        path = (source, target)
        base = self._base.get(path)
        if base is None:
            base = self._base[path] = self.loop.uniform(0.0002, 0.002)
        delay_s = base * (1 + self.loop.random.random()) + self._slow.get(path, 0.0)
        if self.spikes and self.loop.chance(self.spikes):
            delay_s += self.loop.uniform(0.0, SPIKE_S)
        return delay_s

    def round_trip(self, a: Host, b: Host) -> float:
        return self.delay(a.name, b.name) + self.delay(b.name, a.name)

    # --- messages -------------------------------------------------------------------------------

    def new_wire(self, connection: Connection, server: Host) -> Wire:
        self._count += 1
        identity = f"{connection.host.name}#{self._count}".encode()
        wire = self.wires[identity] = Wire(connection, server, identity)
        return wire

    def carry(self, wire: Wire, lane: Lane, message: Any) -> None:
        at = max(lane.last_at, self.loop.now + self.delay(lane.source, lane.target))
        lane.last_at = at
        self.loop.at(at, self._arrive, wire, lane, message)

    def _arrive(self, wire: Wire, lane: Lane, message: Any) -> None:
        if lane.held or (lane.source, lane.target) in self._cut:
            lane.held.append(message)
        elif lane is wire.up:
            if (wire.is_open or wire.lingers) and wire.server.boot == wire.boot:
                wire.server.arrived(wire.identity, message)
        elif wire.is_open:
            wire.connection.on_message(message)

    def reply(self, identity: bytes, message: Any) -> None:
        """From a server to a connection; dropped, as a ROUTER does, if there is none any more."""
        wire = self.wires.get(identity)
        if wire is not None and wire.is_open:
            self.carry(wire, wire.down, message)

    def _release(self) -> None:
        for wire in self.wires.values():
            for lane in (wire.up, wire.down):
                if lane.held and (lane.source, lane.target) not in self._cut:
                    held, lane.held = lane.held, deque()
                    for message in held:
                        self.carry(wire, lane, message)

    # --- what breaks connections ----------------------------------------------------------------

    def look(self) -> None:
        """Something changed: connections over a cut path or to a silent process will be lost."""
        for connection in tuple(self.connections):
            if self._is_broken(connection):
                if connection.broken_since is None:
                    connection.broken_since = self.loop.now
                    delay_s = connection.timeout_s * self.loop.uniform(1.0, 1.4)
                    self.loop.after(delay_s, self._time_out, connection, self.loop.now)
            else:
                connection.broken_since = None

    def _is_broken(self, connection: Connection) -> bool:
        wire = connection.wire
        if wire is None:
            return False
        if not (wire.server.is_running and connection.host.is_running):
            return True
        return wire.server.boot != wire.boot or not self.is_free(connection.host, wire.server)

    def _time_out(self, connection: Connection, since: float) -> None:
        if connection.broken_since == since:
            self.loop.note(connection.host.name, f"loses its connection to {connection.address}")
            connection.lose()

    def died(self, host: Host) -> None:
        """A process ended: its own connections are gone, those to it are reset."""
        for connection in tuple(self.connections):
            if connection.host is host:
                connection.close()
            elif connection.wire is not None and connection.wire.server is host:
                delay_s = self.delay(host.name, connection.host.name)
                self.loop.after(delay_s, self._reset, connection, connection.wire)
        self.wires = {i: w for i, w in self.wires.items() if w.server is not host or w.is_open}
        self.look()

    def _reset(self, connection: Connection, wire: Wire) -> None:
        if connection.wire is wire and self.is_free(connection.host, wire.server):
            connection.lose()
