"""Hosts in network namespaces, each with an address of its own, whose links can be cut.

`Bridge` joins them by a bridge, where nft drops what is cut: fast, and exact to the direction.
`BadLinks` joins them by a switch in user space (`switch.py`), which loses, delays, reorders and
duplicates packets. This process is a host on both, the operator, and is never cut off.

    network.cut(between({"n1"}, {"n2", "n3"}))      # both ways; `one_way` for one
    network.mend()
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from .emulator import Link
from .sandbox import run

OPERATOR, OPERATOR_NUMBER = "operator", 254
BRIDGE_RULES = """
table bridge lab {
  set cut { type ifname . ifname; }
  chain cross {
    type filter hook forward priority 0; policy accept;
    ether type ip iifname . oifname @cut drop
  }
}
"""  # not ARP: without it a cut in one direction would be one in both

Pairs = Iterable[tuple[str, str]]


def number_of(host: str) -> int:
    """The last byte of the address: n1 is 1, c1 (a client) 101."""
    if host == OPERATOR:
        return OPERATOR_NUMBER
    return int(host[1:]) + (100 if host.startswith("c") else 0)


def address_of(host: str) -> str:
    return f"10.77.0.{number_of(host)}"


def one_way(sources: Iterable[str], targets: Iterable[str]) -> list[tuple[str, str]]:
    """What the sources send to the targets."""
    goals = list(targets)
    return [(source, target) for source in sources for target in goals]


def between(some: Iterable[str], others: Iterable[str]) -> list[tuple[str, str]]:
    """What they send to each other."""
    left, right = list(some), list(others)
    return one_way(left, right) + one_way(right, left)


class Network:
    """The namespaces, one for each host. ``seed``: for links that are left to chance."""

    def __init__(self, hosts: Sequence[str], seed: int) -> None:
        self.hosts = list(hosts)
        for host in self.hosts:
            run("ip", "netns", "add", host)
            run("ip", "-n", host, "link", "set", "lo", "up")

    def entry(self, host: str) -> list[str]:
        """A prefix by which a command runs on this host and keeps its pid."""
        return ["nsenter", f"--net=/run/netns/{host}", "--"]

    def cut(self, pairs: Pairs) -> None:
        """What the first of each pair sends to the second is dropped."""
        raise NotImplementedError

    def mend(self) -> None:
        """All links as at the start."""
        raise NotImplementedError

    def close(self) -> None:
        """The namespaces go with the sandbox."""


class Bridge(Network):
    def __init__(self, hosts: Sequence[str], seed: int) -> None:
        super().__init__(hosts, seed)
        run("ip", "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
        run("ip", "addr", "add", f"{address_of(OPERATOR)}/24", "dev", "br0")
        run("ip", "link", "set", "br0", "up")
        for host in self.hosts:
            self._plug_in(host)
        run("nft", "-f", "-", text=BRIDGE_RULES)

    def _plug_in(self, host: str) -> None:
        port = f"h_{host}"
        run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host)
        run("ip", "link", "set", port, "master", "br0", "up")
        run("ip", "-n", host, "addr", "add", f"{address_of(host)}/24", "dev", "eth0")
        run("ip", "-n", host, "link", "set", "eth0", "up")

    def cut(self, pairs: Pairs) -> None:
        elements = ", ".join(f'"h_{source}" . "h_{target}"' for source, target in pairs)
        run("nft", "-f", "-", text=f"add element bridge lab cut {{ {elements} }}\n")

    def mend(self) -> None:
        run("nft", "flush", "set", "bridge", "lab", "cut")


class BadLinks(Network):
    def __init__(self, hosts: Sequence[str], seed: int) -> None:
        super().__init__(hosts, seed)
        everyone = [*self.hosts, OPERATOR]
        plugs = [f"{host}={number_of(host)}" for host in everyone]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.harness.lab.switch", str(seed), *plugs],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._answer()

    def link(self, link: Link, pairs: Pairs) -> None:
        """What the first of each pair sends to the second goes over such a link from now on."""
        numbers = [(number_of(source), number_of(target)) for source, target in pairs]
        self._tell({"link": asdict(link), "pairs": numbers})

    def cut(self, pairs: Pairs) -> None:
        self.link(Link(loss=1.0), pairs)

    def mend(self) -> None:
        self._tell({})

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _tell(self, order: dict[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> None:
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError(f"the switch ended with {self._process.wait()}")
