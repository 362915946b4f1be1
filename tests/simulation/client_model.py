"""A client of the cluster: the real `Session` (links, feed, attempts) over the simulated network.

It keeps several calls under way at once, as an asyncio program does, and tells the checkers when
each began and what came of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from tiercluster.cluster.attempt import Attempt
from tiercluster.cluster.link import Context
from tiercluster.cluster.plan import Operation
from tiercluster.cluster.session import Session

from .checkers import Call, Checkers
from .fake_zmq import FakeContext
from .loop import Loop
from .network import Network

SHORTEST_SLEEP_S = 0.002


@dataclass(slots=True)
class Running:
    call: Call
    attempt: Attempt
    done: Callable[[Call], None] | None


class SimClient:
    """``name`` is its host. A client never crashes here, but may be stopped or cut off."""

    def __init__(self, loop: Loop, network: Network, checkers: Checkers, name: str,
                 seeds: tuple[str, ...]) -> None:  # fmt: skip
        self.name = name
        self.boot = 1
        self.is_up = self.is_running = True
        self._loop = loop
        self._checkers = checkers
        self._offset = loop.uniform(10.0, 1000.0)
        self._rate = 1.0 + loop.uniform(-1e-4, 1e-4)
        self._running: list[Running] = []
        self._pump_at = float("inf")
        self._is_pumping = False
        self.errors = 0
        context = cast(Context, FakeContext(network, self, self.wake))
        self.session = Session(context, seeds, None)
        self.session.client = f"{name:<8}".encode()[:8]
        self.wake()

    def clock(self) -> float:
        return self._offset + self._loop.now * self._rate

    @property
    def busy(self) -> int:
        """Calls under way."""
        return len(self._running)

    def arrived(self, identity: bytes, message: object) -> None:
        raise AssertionError("nobody connects to a client")

    # --- calls ----------------------------------------------------------------------------------

    def begin(self, operation: Operation, call: Call, timeout_s: float,
              done: Callable[[Call], None] | None = None) -> None:  # fmt: skip
        """Make a call; ``done`` when it has ended, one way or the other."""
        self._checkers.call_began(call, timeout_s)
        now = self.clock()
        self._is_pumping = True
        attempt = self.session.begin(operation, now, now + timeout_s)
        self._is_pumping = False
        self._running.append(Running(call, attempt, done))
        self._collect()
        self._sleep()

    def _collect(self) -> None:
        """End the calls that are done."""
        ended = [running for running in self._running if running.attempt.is_done]
        if not ended:
            return
        self._running = [running for running in self._running if not running.attempt.is_done]
        for running in ended:
            attempt = running.attempt
            self.session.end(attempt)
            self.errors += attempt.error is not None
            self._checkers.call_ended(running.call, attempt)
            if running.done is not None:
                running.done(running.call)

    # --- the pump -------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something arrived."""
        self._pump_soon(self._loop.now)

    def _pump_soon(self, at: float) -> None:
        if at < self._pump_at - 1e-9 and not self._is_pumping:
            self._pump_at = at
            self._loop.at(at, self._pump, at)

    def _pump(self, at: float) -> None:
        if at != self._pump_at:
            return
        self._pump_at = float("inf")
        if not self.is_running:
            return
        self._is_pumping = True
        self.session.pump(self.clock())
        self._is_pumping = False
        self._collect()
        self._sleep()

    def _sleep(self) -> None:
        wait_s = self.session.wake_at() - self.clock()
        self._pump_soon(self._loop.now + max(wait_s, SHORTEST_SLEEP_S))

    def pause(self) -> None:
        self.is_running = False

    def thaw(self) -> None:
        self.is_running = True
        self.wake()
