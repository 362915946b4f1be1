"""Two of three voters are gone: data goes on where it was, decisions are refused fast."""

from __future__ import annotations

import time
from pathlib import Path

from tests.harness.cluster import ClusterUnderTest
from tests.harness.figures import report
from tests.harness.promise import Oracle
from tests.harness.traffic import owned_by, read, write
from tiercluster import Client

NO_QUORUM_S = 2.0


def test_without_a_quorum_the_last_owner_serves_and_a_drain_is_refused_within_two_seconds(
    tmp_path: Path,
) -> None:
    oracle = Oracle()
    with ClusterUnderTest(tmp_path) as cluster, Client(cluster.addresses) as client:
        keys = owned_by(client, "n1", 50)
        assert all(write(client, oracle, key) for key in keys)
        startup = cluster.cli("--version").seconds
        cluster.kill("n2", "n3")
        began = time.monotonic()
        with Client(cluster.address("n1"), timeout=5.0) as survivor:
            first = [read(survivor, oracle, key) for key in keys]
            served_after_s = time.monotonic() - began
            assert all(number is not None for number in first)
            assert all(write(survivor, oracle, key) for key in keys)
            assert all(read(survivor, oracle, key) is not None for key in keys)
        drain = cluster.cli("tier", "drain", "n1/cold", at="n1")
        status = cluster.cli("status", "--json", at="n1")
    report(
        "quorum_lost", served_after_s=served_after_s, drain_exit=drain.code,
        drain_s=drain.seconds - startup, stale=len(oracle.breaches),
    )  # fmt: skip
    assert drain.code == 3, (drain.out, drain.err)
    assert "quorum" in drain.err
    assert drain.seconds - startup <= NO_QUORUM_S
    assert status.json["quorum"] is False
    assert oracle.is_kept
