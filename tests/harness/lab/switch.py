"""The switch of `network.BadLinks`: one tun device in each host's namespace, all read here.

python -m tests.harness.lab.switch SEED HOST=NUMBER ...     (orders are JSON lines on stdin)
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import itertools
import json
import os
import select
import struct
import sys
import time

from .emulator import Emulator, Link
from .network import OPERATOR, address_of
from .sandbox import run

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
DEVICE, MTU = "eth0", 1500
IDLE_S = 1.0
AT_ONCE = 64  # packets from one host before the others have a turn
MAX_WAITING = 20_000  # packets on their way; what comes then is lost, as on a full router
Packet = tuple[float, int, int, bytes]  # when, order, target, bytes


def plug_in(host: str) -> int:
    """A tun device with the host's address in its namespace; its file descriptor."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = home if host == OPERATOR else os.open(f"/run/netns/{host}", os.O_RDONLY)
    enter(there)
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)  # belongs to where it is opened
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
        run("ip", "addr", "add", f"{address_of(host)}/24", "dev", DEVICE)
        run("ip", "link", "set", DEVICE, "mtu", str(MTU), "txqueuelen", "1000", "up")
    finally:
        enter(home)
    for namespace in {home, there}:
        os.close(namespace)
    return fd


def enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Switch:
    """Carries IPv4 packets by the last byte of their address."""

    def __init__(self, emulator: Emulator, ports: dict[int, int]) -> None:
        self._emulator, self._ports = emulator, ports
        self._waiting: list[Packet] = []
        self._order = itertools.count()
        self._poll = select.epoll()
        self._numbers = {fd: number for number, fd in ports.items()}
        for fd in [*self._numbers, sys.stdin.fileno()]:
            self._poll.register(fd, select.EPOLLIN)

    def serve(self) -> None:
        """Until stdin ends."""
        while True:
            self._deliver(time.monotonic())
            for fd, _ in self._poll.poll(self._pause_s()):
                if fd in self._numbers:
                    self._receive(fd)
                elif not self._obey(sys.stdin.readline()):
                    return

    def _pause_s(self) -> float:
        return max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else IDLE_S

    def _obey(self, line: str) -> bool:
        if not line:
            return False
        order = json.loads(line)
        if order:
            self._emulator.set(Link(**order["link"]), map(tuple, order["pairs"]))
        else:
            self._emulator.clear()
        print("done", flush=True)
        return True

    def _receive(self, fd: int) -> None:
        for _ in range(AT_ONCE):
            try:
                packet = os.read(fd, 65535)
            except BlockingIOError:
                return
            if packet[0] >> 4 == 4 and packet[19] in self._ports:
                self._forward(self._numbers[fd], packet[19], packet)

    def _forward(self, source: int, target: int, packet: bytes) -> None:
        now = time.monotonic()
        for when in self._emulator.arrivals(source, target, now):
            if when <= now:
                self._hand_over(target, packet)
            elif len(self._waiting) < MAX_WAITING:
                heapq.heappush(self._waiting, (when, next(self._order), target, packet))

    def _deliver(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            _, _, target, packet = heapq.heappop(self._waiting)
            self._hand_over(target, packet)

    def _hand_over(self, target: int, packet: bytes) -> None:
        try:
            os.write(self._ports[target], packet)
        except BlockingIOError:  # the host's queue is full: lost, as on a real link
            return


def main(seed: int, plugs: list[str]) -> None:
    ports = {int(number): plug_in(host) for host, number in (plug.split("=") for plug in plugs)}
    print("ready", flush=True)
    Switch(Emulator(seed), ports).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
