"""Runs a command as a shell would, over fakes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner

from tiercluster.cli.main import cli

from .fakes import FakeClient, FakeCluster, session


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("TIERCLUSTER_"):
            monkeypatch.delenv(name)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def client() -> FakeClient:
    return FakeClient({})


@pytest.fixture
def run(cluster: FakeCluster, client: FakeClient) -> Run:
    def run_command(*args: str, stdin: bytes | None = None) -> Ran:
        result = CliRunner().invoke(
            cli, list(args), input=stdin, obj=session(cluster, client), prog_name="tiercluster"
        )
        # The guard lets nothing through but an exit.
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return Ran(result.exit_code, result.stdout, result.stderr, result.stdout_bytes)

    return run_command
