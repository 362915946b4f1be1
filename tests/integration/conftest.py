"""Clusters for the tests of this folder.

With ``TIERCLUSTER_TEST_CLUSTER=HOST:PORT,...`` the contract tests run against that cluster instead
of the one in memory; each test then uses a namespace of its own.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from .fake_cluster import FakeCluster


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    """Three nodes in memory."""
    cluster = FakeCluster(3)
    yield cluster
    cluster.stop()


@pytest.fixture
def single() -> Iterator[FakeCluster]:
    """One node in memory."""
    cluster = FakeCluster(1)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def cluster_address() -> Iterator[str]:
    """The cluster that contract tests talk to."""
    given = os.environ.get("TIERCLUSTER_TEST_CLUSTER")
    if given:
        yield given
        return
    cluster = FakeCluster(3)
    yield cluster.address
    cluster.stop()


@pytest.fixture
def namespace() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"
