"""A cluster whose nodes are hosts of a laboratory network, with keys as off loopback."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.harness.cluster import PROGRAM, SIZES, ClusterUnderTest, NodePorts, wait_until
from tests.harness.process import environment
from tiercluster.cluster.errors import TierclusterError
from tiercluster.tiermap import NodeState, TierMap, TierRecord

from .network import Network, address_of

PORTS = NodePorts(7701, 7801, 7901)


class LabCluster(ClusterUnderTest):
    """``extra``: for each node, what its environment has besides the common one; read at each
    start of the node."""

    def __init__(
        self,
        directory: Path,
        network: Network,
        *,
        nodes: int = 3,
        sizes: Mapping[str, str] = SIZES,
        flags: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.network = network
        self.keys = directory / "keys"
        self.extra: dict[str, dict[str, str]] = {}
        common = {"TIERCLUSTER_KEYS": str(self.keys), **(env or {})}
        super().__init__(directory, nodes=nodes, sizes=sizes, flags=flags, env=common)
        names = [f"--node={node}" for node in self.ids]
        subprocess.run(
            [*PROGRAM, "keygen", "--out", str(self.keys), *names, "--client", "app"],
            env=environment(), check=True, capture_output=True,
        )  # fmt: skip

    @property
    def client_keys(self) -> Path:
        return self.keys / "clients" / "app"

    def _choose_ports(self) -> dict[str, NodePorts]:
        return dict.fromkeys(self.ids, PORTS)

    def host(self, node: str) -> str:
        return address_of(node)

    def launcher(self, node: str) -> list[str]:
        return self.network.entry(node)

    def environment(self, node: str) -> dict[str, str]:
        return super().environment(node) | self.extra.get(node, {})

    # --- looking --------------------------------------------------------------------------------

    def map_of(self, node: str) -> TierMap | None:
        """What this member itself holds; None if it does not answer."""
        try:
            with self.admin(node) as admin:
                return admin.hello()
        except TierclusterError:
            return None

    def is_whole(self) -> bool:
        """Whether all members hold one map, and in it all are UP with all their tiers."""
        maps = [self.map_of(node) for node in self.ids]
        held = {(m.version, m.digest) for m in maps if m is not None}
        return len(held) == 1 and all(m is not None and is_up(m) for m in maps)

    def wait_whole(self, timeout_s: float) -> float:
        """The seconds it took. AssertionError that says what is not as it was."""
        try:
            return wait_until(self.is_whole, timeout_s, "all members UP, with one map")
        except AssertionError as error:
            raise AssertionError(f"{error}; {self._missing()}") from None

    def _missing(self) -> str:
        maps = {node: self.map_of(node) for node in self.ids}
        return "; ".join(f"{node}: {describe(seen)}" for node, seen in maps.items())


def is_up(seen: TierMap) -> bool:
    tiers = all(is_in_service(record) for _, record in seen.refs())
    return tiers and all(member.state is NodeState.UP for member in seen.members)


def is_in_service(record: TierRecord) -> bool:
    return record.is_usable and not record.suspect


def describe(seen: TierMap | None) -> str:
    if seen is None:
        return "does not answer"
    away = [m.id for m in seen.members if m.state is not NodeState.UP]
    away += [f"{ref} {r.health}" for ref, r in seen.refs() if not is_in_service(r)]
    return f"version {seen.version} {seen.digest[:8]}, away: {', '.join(away) or 'none'}"
