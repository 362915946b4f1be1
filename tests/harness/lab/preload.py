"""Shims below the C library: a disk that fails and a wall clock that jumps, for one process each.

disk = SickDisk(tmp_path, below=data / "cold")
start(env=disk.env())
disk.set(Call.SYNC, errno.EIO);  disk.heal()
"""

from __future__ import annotations

import mmap
import struct
from enum import IntEnum
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from .sandbox import run

SOURCES = Path(__file__).with_name("shims")
CONTROL_BYTES = 4096
ROW, COUNTS = struct.Struct("iIII"), struct.Struct("II")
ROW_BYTES = ROW.size + COUNTS.size
OFFSET = struct.Struct("d")
MILLION = 1_000_000


class Call(IntEnum):
    OPEN, READ, WRITE, SYNC = range(4)


class How(IntEnum):
    FAIL, TEAR, FLIP = range(3)


@cache
def _built_in() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="lab-shims-")


@cache
def library(name: str) -> Path:
    """The shim of this name, compiled once for each process that asks."""
    built = Path(_built_in().name) / f"{name}.so"
    flags = ("-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC")
    run("gcc", *flags, "-o", str(built), str(SOURCES / f"{name}.c"), "-ldl")
    return built


class _Control:
    """A file that the shim maps, too."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(CONTROL_BYTES))
        self.path = path
        with path.open("r+b") as f:
            self.bytes = mmap.mmap(f.fileno(), CONTROL_BYTES)


class SickDisk:
    """Paths below one directory, which must exist when the process starts."""

    def __init__(self, control: Path, below: Path, seed: int = 1) -> None:
        self._below, self._seed = below.resolve(), seed
        self._control = _Control(control)

    def env(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(library("disk")),
            "LAB_DISK_PREFIX": str(self._below),
            "LAB_DISK_CONTROL": str(self._control.path),
            "LAB_DISK_SEED": str(self._seed),
        }

    def set(
        self,
        call: Call,
        error: int = 0,
        *,
        share: float = 1.0,
        how: How = How.FAIL,
        delay_s: float = 0.0,
    ) -> None:
        """From now on, this share of such calls ends with the error (for How.FLIP: with a wrong
        bit, whatever the error), and each takes so much longer."""
        row = (error, int(share * MILLION), how, int(delay_s * MILLION))
        ROW.pack_into(self._control.bytes, call * ROW_BYTES, *row)
        COUNTS.pack_into(self._control.bytes, call * ROW_BYTES + ROW.size, 0, 0)

    def heal(self) -> None:
        for call in Call:
            self.set(call)

    def hits(self) -> int:
        """Calls that were spoiled or delayed since the last `set` of their kind."""
        return sum(
            COUNTS.unpack_from(self._control.bytes, call * ROW_BYTES + ROW.size)[1] for call in Call
        )

    def calls(self, call: Call) -> int:
        """Calls of this kind that the shim has seen since the last `set`."""
        return int(COUNTS.unpack_from(self._control.bytes, call * ROW_BYTES + ROW.size)[0])


class WrongClock:
    """The wall clock of the processes started with `env`."""

    def __init__(self, control: Path) -> None:
        self._control = _Control(control)

    def env(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(library("clock")),
            "LAB_CLOCK_CONTROL": str(self._control.path),
        }

    def jump(self, offset_s: float) -> None:
        """Wrong by so much from now on."""
        OFFSET.pack_into(self._control.bytes, 0, offset_s)
