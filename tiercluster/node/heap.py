"""The C library's heap: one for all threads, and what it has free goes back to the system.

glibc gives each thread a heap ("arena") of its own. Entries are made in one thread and freed in
another, so each heap keeps holes that nobody fills, and the process grows for hours. And a burst,
as when a member that was away is filled, leaves holes below what came after it, which glibc returns
only when asked. Measured in docs/decisions/0005-threads.md.
"""

from __future__ import annotations

import ctypes
import os
import time

M_ARENA_MAX = -8  # malloc.h


def share_one_heap() -> None:
    """Call it before threads are started. Where the operator has set MALLOC_ARENA_MAX, or the C
    library has no arenas, nothing is changed."""
    if "MALLOC_ARENA_MAX" in os.environ:
        return
    try:
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    except (OSError, AttributeError):  # musl, macOS
        return


def return_free_pages() -> float:
    """The seconds that it took, for which no thread could allocate: 0.002 for a heap of 50 MiB,
    0.013 for one of 1 GiB. 0.0 where the C library has no malloc_trim(3)."""
    began = time.monotonic()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # musl, macOS
        return 0.0
    return time.monotonic() - began
