"""Disks of the demo that can be broken for real.

A mount namespace of the demo's own holds the disk below one node's cold tier: nobody else sees it,
and the kernel removes it with the last of the demo's processes. As root it is an ext4 file system
on a loop device that is shut down (as it shuts itself down when its medium fails): every access is
an I/O error. Without root, where the kernel grants user namespaces, it is a tmpfs that is pulled
out. Where it grants neither, the fault is injected into the tier's own I/O path.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000  # CLONE_NEWNS, CLONE_NEWUSER
_EXT4_SHUTDOWN, _NO_FLUSH = 0x8004587D, 2  # _IOR('X', 125, __u32), as a power cut
_SIZE = "256M"
SBIN = ":/usr/sbin:/sbin"


class Disk(Protocol):
    """What is below the cold tier. ``how`` says in words what breaking it does."""

    how: str

    def break_(self) -> None: ...

    def heal(self) -> None: ...

    def close(self) -> None: ...


class FileSystem:
    """An ext4 file system on a loop device; healing replaces the disk by a new one."""

    how = "its ext4 file system was shut down: every access is an I/O error (healed by a new disk)"

    def __init__(self, where: Path, images: Path) -> None:
        self._where, self._images = where, images
        self._number = 0
        self._mount_new()

    def _mount_new(self) -> None:
        self._number += 1
        image = self._images / f"disk{self._number}.img"
        _run("truncate", "-s", _SIZE, str(image))
        _run("mkfs.ext4", "-q", str(image))
        _run("mount", "-o", "loop", str(image), str(self._where))

    def break_(self) -> None:
        handle = os.open(self._where, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, _EXT4_SHUTDOWN, struct.pack("I", _NO_FLUSH))
        finally:
            os.close(handle)

    def heal(self) -> None:
        self.close()
        self._mount_new()

    def close(self) -> None:
        _run("umount", "--lazy", str(self._where))


class MemoryDisk:
    """A tmpfs that is pulled out and put in again, empty."""

    how = "its disk (a tmpfs) was unmounted under the running node (healed by a new one)"

    def __init__(self, where: Path) -> None:
        self._where = where
        self.heal()

    def break_(self) -> None:
        _run("umount", "--lazy", str(self._where))

    def heal(self) -> None:
        _run("mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(self._where))

    def close(self) -> None:
        if os.path.ismount(self._where):
            self.break_()


class Injected:
    """``inject`` and ``clear`` reach the fault hook of the node: where no mounts are allowed."""

    how = "I/O errors are injected into the tier's own I/O path"

    def __init__(self, inject: Callable[[], None], clear: Callable[[], None]) -> None:
        self.break_, self.heal = inject, clear

    def close(self) -> None:
        """Nothing is mounted."""


def real_disk(where: Path, images: Path) -> Disk | None:
    """A disk mounted at ``where``, as real as this machine allows; None: it allows no mounts.
    Call it before any thread is started: the kernel gives user namespaces to nobody else."""
    if not sys.platform.startswith("linux"):
        return None
    where.mkdir(parents=True, exist_ok=True)
    for make in (_as_root, _as_anybody):
        try:
            return make(where, images)
        except (OSError, subprocess.CalledProcessError):
            continue
    return None


def _as_root(where: Path, images: Path) -> Disk:
    if os.geteuid() != 0 or shutil.which("mkfs.ext4", path=_path()) is None:
        raise PermissionError("no root, or no mkfs.ext4")
    _unshare(_NEW_MOUNTS)
    return FileSystem(where, images)


def _as_anybody(where: Path, images: Path) -> Disk:
    user, group = os.geteuid(), os.getegid()
    _unshare(_NEW_MOUNTS if user == 0 else _NEW_MOUNTS | _NEW_USER)
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="ascii")
    return MemoryDisk(where)


def _unshare(flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    # Else what is mounted here would be mounted in the parent's namespace, too.
    _run("mount", "--make-rprivate", "/")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PATH": _path()})


def _path() -> str:
    return os.environ.get("PATH", os.defpath) + SBIN
