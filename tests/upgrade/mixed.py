"""A cluster of real processes, some of which run the recorded software of version 1."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.harness.cluster import CliResult, ClusterUnderTest
from tests.harness.process import NodeProcess
from tiercluster.cluster.admin import Admin

from .old import HERE, ROOT, environment_of


class MixedCluster(ClusterUnderTest):
    """Starts with every node at version 1."""

    def __init__(self, directory: Path, old: Path, **options: Any) -> None:
        super().__init__(directory, **options)
        self.old_nodes = set(self.ids)
        self._old = old

    def launch(self, *nodes: str) -> None:
        for node in nodes:
            self._env = self._environment_of(node in self.old_nodes)
            super().launch(node)

    def _environment_of(self, is_old: bool) -> dict[str, str]:
        return environment_of(*((self._old,) if is_old else ()), ROOT)

    def upgrade(self, node: str) -> None:
        """As an operator does it: stop, install, start."""
        self.stop(node)
        self.old_nodes.discard(node)
        self.restart(node)

    def roll_back(self, node: str) -> None:
        self.stop(node)
        self.old_nodes.add(node)
        self.restart(node)

    def cli(self, *arguments: str, at: str | None = None, timeout_s: float = 30,
            is_old: bool = False) -> CliResult:  # fmt: skip
        self._env = self._environment_of(is_old)
        return super().cli(*arguments, at=at, timeout_s=timeout_s)

    def digests(self) -> set[tuple[int, str]]:
        """Version and digest of the map, of every node that is up."""
        reports = [self._report(node) for node in self.ids if self.is_alive(node)]
        return {(report["version"], report["digest"]) for report in reports}

    def mismatches(self) -> int:
        """How often any node saw another state than its own; must never happen."""
        return sum(self._report(node)["digest_mismatches"] for node in self.ids)

    def level(self) -> int:
        """The lowest that a node which runs today's software has applied."""
        new = [n for n in self.ids if n not in self.old_nodes and self.is_alive(n)]
        return min(int(self._report(node)["level"]) for node in new)

    def _report(self, node: str) -> dict[str, Any]:
        report = report_of(self.address(node))
        assert report is not None, f"{node} does not answer"
        return report


def report_of(address: str) -> dict[str, Any] | None:
    with Admin(address) as admin:
        return admin.status_of(address)


class OldTraffic:
    """Readers and writers that use the client of version 1, in a process of their own."""

    def __init__(self, old: Path, addresses: str, log: Path) -> None:
        command = [sys.executable, str(HERE / "old_traffic.py"), addresses]
        self._process = NodeProcess(command, log, environment_of(old, ROOT))
        self._process.wait_ready(20)

    def stop(self) -> dict[str, Any]:
        """What it counted."""
        assert self._process.stop() == 0, self._process.tail()
        counted: dict[str, Any] = json.loads(self._process.said().splitlines()[-1])
        return counted
