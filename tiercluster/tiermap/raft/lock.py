"""A directory for one process at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def lock_directory(path: Path) -> int:
    """Make the directory and hold it until the descriptor is closed or the process ends.
    BlockingIOError if another process holds it, another OSError if it cannot be used."""
    path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
