"""Unmounting a mirror: politely, and by force.

Owns umount2(2). Never touches a mount that is not a mirror; which mount stands at a path is mountinfo's to
say. Source: umount2(2); fuse_umount_begin() in fs/fuse/inode.c: MNT_FORCE ends the connection, so that
whoever waits for the server, or still has files open, gets ENOTCONN or ECONNABORTED.
"""

import ctypes
import os
from pathlib import Path

MNT_FORCE = 1
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8


def unmount(mountpoint: Path, *, lazily: bool = False) -> None:
    """Unmount what is on top at *mountpoint*.

    *lazily* hides it at once and ends it when its last user is gone. Raises OSError: EBUSY where it is in
    use, EINVAL where nothing is mounted, EPERM without CAP_SYS_ADMIN.
    """
    _umount2(mountpoint, UMOUNT_NOFOLLOW | (MNT_DETACH if lazily else 0))


def unmount_by_force(mountpoint: Path) -> None:
    """End the connection behind the mirror at *mountpoint*, and remove the mount, whoever uses it.

    Raises OSError as unmount() does, never EBUSY.
    """
    try:
        _umount2(mountpoint, UMOUNT_NOFOLLOW | MNT_FORCE)
    except OSError:
        unmount(mountpoint, lazily=True)  # with its connection ended, it is in use by somebody still


def _umount2(mountpoint: Path, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(mountpoint), flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(mountpoint))
