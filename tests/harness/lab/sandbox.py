"""Runs a part of the tests where its faults cannot leak: own network, mounts and process tree.

What it leaves behind (namespaces, devices, rules, mounts, children) is taken away by the kernel
when it ends, however it ends. No route leads out of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tests.harness.process import NodeProcess, environment

TOOLS = ("unshare", "nsenter", "mount", "ip", "nft", "gcc", "mkfs.ext4")
UNSHARE = (
    "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--",
)  # fmt: skip
TRIAL = """
mount -t tmpfs tmpfs /run && ip netns add trial && ip link add br0 type bridge &&
ip link add h0 type veth peer name eth0 netns trial && nft add table bridge trial &&
ip -n trial tuntap add mode tun name tun0
"""


@cache
def missing() -> str | None:
    """Why no laboratory can be set up here; None if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    trial = subprocess.run(
        [*UNSHARE, "sh", "-c", TRIAL], capture_output=True, text=True, timeout=30, check=False
    )
    if trial.returncode != 0:
        return f"this kernel has no namespaces, bridge, nft or tun: {trial.stderr.strip()}"
    return None


def run_inside(command: Sequence[str], log: Path, timeout_s: float) -> int:
    """The exit code of the command, run inside; its output is in LOG.out and LOG.err. Raises
    subprocess.TimeoutExpired, and ends it whatever happens here."""
    process = NodeProcess([*UNSHARE, *command], log, environment())
    try:
        return process.wait(timeout_s)
    finally:
        process.kill()


def settle_in() -> None:
    """To be called once by what runs inside, before anything else."""
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    run("ip", "link", "set", "lo", "up")


def run(*command: str, text: str = "") -> str:
    """What it printed. RuntimeError with its own words when it fails."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
