"""A disk that hangs below the Raft journal of one member holds up neither it nor the others."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from tests.harness.cluster import ClusterUnderTest, wait_until
from tests.harness.figures import report
from tests.harness.lab.preload import Call, SickDisk
from tiercluster import Client

VICTIM, HANGS_S, KNOWS_S, LONGEST_CALL_S = "n3", 8.0, 5.0, 3.0
KEYS = [f"k{i}" for i in range(60)]


class OneSickJournal(ClusterUnderTest):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        below = self.data(VICTIM) / "raft"
        below.mkdir(parents=True)
        self.disk = SickDisk(directory / "disk", below)

    def environment(self, node: str) -> dict[str, str]:
        return super().environment(node) | (self.disk.env() if node == VICTIM else {})


@pytest.mark.skipif(not shutil.which("gcc"), reason="the shim is compiled")
def test_a_member_whose_journal_hangs_learns_what_the_others_decide(tmp_path: Path) -> None:
    with OneSickJournal(tmp_path) as cluster, Client(cluster.addresses, timeout=5.0) as client:
        assert client.set_many(dict.fromkeys(KEYS, 0)) == []
        cluster.disk.set(Call.SYNC, delay_s=HANGS_S)
        began, longest = time.monotonic(), 0.0
        assert cluster.cli("tier", "drain", "n1/hot", "--wait", at="n1").code == 0
        decided = cluster.status(at="n1")["version"]

        def knows() -> bool:
            nonlocal longest
            for number, key in enumerate(KEYS):
                asked = time.monotonic()
                assert client.set(key, number)
                assert client.get(key) == number
                longest = max(longest, time.monotonic() - asked)
            return bool(cluster.status(at=VICTIM)["version"] >= decided)

        wait_until(knows, KNOWS_S, f"{VICTIM} knows version {decided}")
        known_s = time.monotonic() - began
        assert known_s < HANGS_S, "its disk had come back: nothing was shown"
        assert "replica_stalled" in cluster.log(VICTIM)
        cluster.disk.heal()
        wait_until(lambda: "replica_goes_on" in cluster.log(VICTIM), 20, "its replica goes on")
        wait_until(lambda: cluster.status(at=VICTIM)["quorum"], 10, "it has a quorum")
        report("raft_disk_hangs", known_s=known_s, longest_call_s=longest, hangs_s=HANGS_S)
    assert longest < LONGEST_CALL_S
