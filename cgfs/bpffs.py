"""A bpf file system of our own, for the pins that keep programs and program arrays beyond the daemon's life.

Mounted at one place, always the same, when it is first needed, and never unmounted: what is pinned in it has to outlive
every daemon, and to be found by the next. Its root is root's, mode 0700, so nobody else reaches a pin by its path.

Why not /sys/fs/bpf: not every machine has it mounted, others mount it at any time over what was there, and its
permissions are the administrator's. Each mount of a bpf file system is one of its own, so pins in two places would be
two truths. Why not the daemon's own mount namespace: a mirror that nobody else sees is no use, so the daemon runs where
its mounts are seen, and stay.

Source: kernel/bpf/inode.c, mount(2), flock(2).
"""

import errno
import fcntl
import os
from pathlib import Path

from cgfs._native import lib
from cgfs.descriptor import Descriptor
from cgfs.errors import check

MOUNTPOINT = Path("/run/cgfs-bpf")


def directory(name: str, mountpoint: Path = MOUNTPOINT) -> Path:
    """The directory *name* (mode 0700) of our bpf file system, made if it is not there; so is the file system.

    Raises OSError: EPERM if *mountpoint* is not root's, or without CAP_SYS_ADMIN; ENODEV if the kernel has no bpf file
    system.
    """
    _mount(mountpoint)
    path = mountpoint / name
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def _mount(mountpoint: Path) -> None:
    mountpoint.mkdir(mode=0o700, exist_ok=True)
    with Descriptor(os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)) as seen:
        _check_owner(mountpoint, seen.fd)
        if _is_bpffs(seen.fd):
            return
        # Whoever else has found it unmounted has opened this same directory, and waits here.
        fcntl.flock(seen.fd, fcntl.LOCK_EX)
        with Descriptor(os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)) as now:
            if _is_bpffs(now.fd):
                return
        check(lib.cgfs_bpffs_mount(os.fsencode(mountpoint)), f"mounting a bpf file system at {mountpoint}")


def _check_owner(path: Path, fd: int) -> None:
    status = os.fstat(fd)
    if status.st_uid != 0 or status.st_mode & 0o022:
        raise PermissionError(errno.EPERM, f"{path} has to be root's, and writable by nobody else")


def _is_bpffs(fd: int) -> bool:
    return bool(check(lib.cgfs_is_bpffs(fd), "statfs"))
