"""The software of version 1, asked by tests: a process that decodes, applies and writes with it."""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
import tarfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.harness.process import environment

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def unpack_old(directory: Path) -> Path:
    """Where a Python finds the package of version 1: as it was at the last commit before version 2,
    packed by ``git archive --format=tar 52a712c tiercluster | xz -9e``."""
    with lzma.open(HERE / "v1.tar.xz") as packed, tarfile.open(fileobj=packed) as files:
        files.extractall(directory, filter="data")
    return directory


def environment_of(*folders: Path) -> dict[str, str]:
    """One in which the package is that of the first of these folders that has one."""
    # Without PYTHONSAFEPATH the folder that the tests run in would come first.
    return environment(PYTHONPATH=":".join(map(str, folders)), PYTHONSAFEPATH="1")


class OldSoftware:
    """Answers one question at a time; see `old_software`."""

    def __init__(self, old: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "old_software.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment_of(old),
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        with self._process as process:
            process.kill()

    def ask(self, do: str, **details: Any) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"do": do, **details}) + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, f"the software of version 1 has ended with {self._process.wait()}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def decode(self, what: str, frames: list[bytes]) -> dict[str, Any]:
        return self.ask("decode", what=what, frames=[frame.hex() for frame in frames])
