"""A short pass of the fuzz targets; the long one is `python -m tests.fuzz.run`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.harness.cluster import ClusterUnderTest

from .live import Health, LivePorts
from .mutate import mutated
from .targets import CORPUS, TARGETS, frames_of, kept, packed

RUNS, SLOW_RUNS = 1500, 40
MIB = 2**20


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_good_and_what_once_was_bad_is_decoded_or_refused(name: str) -> None:
    for data in TARGETS[name].seeds:
        TARGETS[name].run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_raise_anything_else_than_a_refusal(name: str) -> None:
    target, rng = TARGETS[name], random.Random(f"short/{name}")
    for _ in range(SLOW_RUNS if target.slow else RUNS):
        data = mutated(rng, target.seeds)
        try:
            target.run(data)
        except Exception as error:  # noqa: BLE001 - the bytes are what is wanted
            pytest.fail(f"{type(error).__name__}: {error} of {data.hex()}")


def test_each_target_has_a_corpus_and_each_corpus_a_target() -> None:
    assert {file.name for file in CORPUS.iterdir()} == {f"{name}.hex" for name in TARGETS}
    assert [name for name in TARGETS if not kept(name)] == []


def test_frames_come_back_as_they_were_packed() -> None:
    for frames in ([], [b""], [b"a", b"", b"bc"]):
        assert frames_of(packed(frames)) == frames


def test_bad_bytes_on_every_port_leave_a_cluster_serving(tmp_path: Path) -> None:
    with ClusterUnderTest(tmp_path, faults=False) as cluster:
        ports, health = LivePorts(cluster, 1), Health(cluster)
        try:
            for _ in range(25):
                ports.turn()
            health.check()
            grown = [b - a for a, b in zip(health.rss_start, health.rss(), strict=True)]
            assert max(grown) < 150 * MIB
            assert health.logs() == []
            assert ports.tally.answered > 0
        finally:
            health.close()
            ports.close()
