"""Checks, inside a sandbox, that links carry, are cut in one direction, and are mended.

python -m tests.harness.lab.reach bridge|switch
"""

from __future__ import annotations

import subprocess
import sys

from .network import BadLinks, Bridge, Network, address_of, one_way
from .sandbox import settle_in

HOSTS = ("n1", "n2", "c1")
LISTEN = """
import socket
listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.bind(("", 9))
listener.settimeout(1)
print("on", flush=True)
print(listener.recv(9))
"""
SEND = "import socket, sys; socket.socket(2, socket.SOCK_DGRAM).sendto(b'hello', (sys.argv[1], 9))"


def arrives(network: Network, source: str, target: str) -> bool:
    """Whether a datagram does."""
    python = [sys.executable, "-c"]
    listener = subprocess.Popen(
        [*network.entry(target), *python, LISTEN],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert listener.stdout is not None
    listener.stdout.readline()
    subprocess.run([*network.entry(source), *python, SEND, address_of(target)], check=True)
    heard = listener.communicate()[0]
    return "hello" in heard


def main(kind: str) -> None:
    settle_in()
    network = {"bridge": Bridge, "switch": BadLinks}[kind](HOSTS, 1)
    try:
        assert arrives(network, "n1", "n2")
        network.cut(one_way(["n1"], ["n2", "c1"]))
        assert not arrives(network, "n1", "n2"), "a cut link carries"
        assert not arrives(network, "n1", "c1"), "a cut link carries"
        assert arrives(network, "c1", "n1"), "the other direction is cut"
        assert arrives(network, "c1", "n2"), "another link is cut"
        network.mend()
        assert arrives(network, "n1", "n2"), "a mended link does not carry"
    finally:
        network.close()


if __name__ == "__main__":
    main(sys.argv[1])
