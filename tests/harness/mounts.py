"""File systems that fill up and lose power, in a mount namespace of this process's own.

Nothing mounted here is seen by the rest of the machine, and the kernel takes it away when the test
run and the processes it started have ended, however they ended. Root only.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import subprocess
from functools import cache
from pathlib import Path

CLONE_NEWNS = 0x00020000
EXT4_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
NO_FLUSH = 2  # what a power cut leaves: nothing that was not synced


@cache
def own_mounts() -> None:
    """Moves this thread, and what it starts, into a mount namespace of its own."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    _run("mount", "--make-rprivate", "/")


def mount_tmpfs(where: Path, size: str) -> None:
    own_mounts()
    where.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(where))


def fill(directory: Path) -> Path:
    """Writes a file until the file system is full; the file."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as f:
        size = 2**20
        while size:
            try:
                f.write(b"\0" * size)
            except OSError:
                size //= 4
    return filler


class Ext4Disk:
    """An ext4 file system on a loop device, whose power can be cut."""

    def __init__(self, image: Path, where: Path, size: str = "256M") -> None:
        own_mounts()
        self.image, self.where = image, where
        where.mkdir(parents=True, exist_ok=True)
        _run("truncate", "-s", size, str(image))
        _run("mkfs.ext4", "-q", str(image))
        self.plug_in()

    def plug_in(self) -> None:
        _run("mount", "-o", "loop", str(self.image), str(self.where))

    def cut_power(self) -> None:
        """From now on every access fails, and what was not synced is lost."""
        handle = os.open(self.where, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, EXT4_SHUTDOWN, struct.pack("I", NO_FLUSH))
        finally:
            os.close(handle)

    def unplug(self) -> None:
        _run("umount", str(self.where))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
