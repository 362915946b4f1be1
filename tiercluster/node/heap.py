"""One heap for all threads, so that what one frees another can use.

glibc gives each thread a heap ("arena") of its own. Entries are made in one thread and freed in
another, so each heap keeps holes that nobody fills, and the process grows for hours. Measured in
docs/decisions/0013-one-heap.md.
"""

from __future__ import annotations

import ctypes
import os

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
