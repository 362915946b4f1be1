"""Faults of the disk below one node's cold tier, made by a shim below its C library."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .preload import Call, How, SickDisk
from .stage import Fault, Stage

SLOW_S = 0.15  # a call; two of them are more than an operation may take


def with_a_sick_disk(stage: Stage) -> None:
    make_sick(stage, stage.victim)


def make_sick(stage: Stage, node: str) -> None:
    """Its disk can be spoiled from its next start on."""
    below = stage.cluster.data(node) / "cold"
    below.mkdir(parents=True)
    disk = SickDisk(stage.directory / f"disk-{node}", below, stage.rng.randrange(1, 2**31))
    stage.put(f"disk-{node}", disk)
    stage.cluster.extra[node] = disk.env()


def sick(spoil: Callable[[SickDisk], None]) -> Fault:
    @contextmanager
    def fault(stage: Stage) -> Iterator[frozenset[str]]:
        disk = stage.get(f"disk-{stage.victim}", SickDisk)
        assert disk.calls(Call.WRITE), "the shim sees no call"
        spoil(disk)
        yield frozenset()
        assert disk.hits() > 0, "the node did not touch the sick disk"
        disk.heal()

    fault.__name__ = f"disk_{spoil.__name__}"
    return fault


def errors(disk: SickDisk) -> None:
    for call in Call:
        disk.set(call, errno.EIO)


def full(disk: SickDisk) -> None:
    disk.set(Call.WRITE, errno.ENOSPC)
    disk.set(Call.SYNC, errno.ENOSPC)


def flipped(disk: SickDisk) -> None:
    """One read in three has a wrong bit."""
    disk.set(Call.READ, errno.EIO, share=0.3, how=How.FLIP)


def torn(disk: SickDisk) -> None:
    """One write in five writes half and fails."""
    disk.set(Call.WRITE, errno.EIO, share=0.2, how=How.TEAR)


def slow(disk: SickDisk) -> None:
    for call in (Call.READ, Call.WRITE, Call.SYNC):
        disk.set(call, delay_s=SLOW_S)
