"""What a process has in memory, and how much more it may have after a long run than before.

assert grown(before, after) == []
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

GROWTH, GROWTH_BYTES = 0.03, 3 * 2**20  # for the tables of events and outcomes, which fill up
MIB = 2**20


def memory_bytes(pid: int) -> int:
    """What a process has in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def is_grown(before: int, after: int) -> bool:
    """Of the bytes of one process."""
    return after > before * (1 + GROWTH) + GROWTH_BYTES


def grown(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """A sentence for each process, by name, that has too many bytes afterwards."""
    return [
        f"{name} has grown from {before[name] / MIB:.1f} to {after[name] / MIB:.1f} MiB"
        for name in before
        if is_grown(before[name], after[name])
    ]
