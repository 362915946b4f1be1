"""What can go wrong in a tier, and which of it counts against the tier."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import StrEnum


class FailureKind(StrEnum):
    IO_ERROR = "io_error"  # EIO and its kin
    NO_SPACE = "no_space"  # ENOSPC below the tier's own limit
    READ_ONLY = "read_only"  # EROFS, EACCES, EPERM
    GONE = "gone"  # its directory or file is not there
    CORRUPT = "corrupt"  # a checksum does not match, the store is damaged
    TIMEOUT = "timeout"  # the tier's own deadline was missed
    DEAD = "dead"  # its worker ended
    SHED = "shed"  # its inbox was full: overload, never counts
    FULL = "full"  # above its own limit: eviction, never counts
    TOO_LARGE = "too_large"  # never counts


COUNTS: frozenset[FailureKind] = frozenset(FailureKind) - {
    FailureKind.SHED,
    FailureKind.FULL,
    FailureKind.TOO_LARGE,
}

_BY_ERRNO: dict[int, FailureKind] = {
    errno.ENOSPC: FailureKind.NO_SPACE,
    errno.EDQUOT: FailureKind.NO_SPACE,
    errno.EROFS: FailureKind.READ_ONLY,
    errno.EACCES: FailureKind.READ_ONLY,
    errno.EPERM: FailureKind.READ_ONLY,
    errno.ENOENT: FailureKind.GONE,
    errno.ENOTDIR: FailureKind.GONE,
    errno.ENODEV: FailureKind.GONE,
    errno.ENXIO: FailureKind.GONE,
    errno.ETIMEDOUT: FailureKind.TIMEOUT,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A tier operation that got no answer: neither a hit nor a miss."""

    kind: FailureKind
    detail: str = ""

    @property
    def counts(self) -> bool:
        """Whether it is evidence against the tier."""
        return self.kind in COUNTS


def from_oserror(error: OSError) -> Failure:
    """The failure that an OSError of a tier's I/O stands for."""
    kind = _BY_ERRNO.get(error.errno or 0, FailureKind.IO_ERROR)
    return Failure(kind, str(error))
