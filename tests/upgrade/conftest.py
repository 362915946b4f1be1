"""The recorded software of version 1, unpacked once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .old import OldSoftware, unpack_old


@pytest.fixture(scope="session")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_old(tmp_path_factory.mktemp("v1"))


@pytest.fixture(scope="session")
def old_software(old: Path) -> Iterator[OldSoftware]:
    with OldSoftware(old) as software:
        yield software
