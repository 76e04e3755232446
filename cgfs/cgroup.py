"""Directories of cgroup2 by descriptor: opened by cgroup id, their owners and extended attributes.

A cgroup's id is the inode number of its directory and never used again; a cgroup that is gone cannot be opened by it,
whatever else has its name now. Must not know what control files and filters are.

Sources: open_by_handle_at(2), xattr(7), Documentation/admin-guide/cgroup-v2.rst, fs/kernfs.
"""

import errno
import os
from dataclasses import dataclass

from cgfs._native import ffi, lib
from cgfs.descriptor import Descriptor
from cgfs.errors import check
from cgfs.mountinfo import cgroup2_options


@dataclass(frozen=True, slots=True)
class Owner:
    uid: int
    gid: int


def open_cgroup(mount_fd: int, id_: int) -> Descriptor:
    """Open the directory of the cgroup with that id, for reading.

    *mount_fd* (borrowed) is any directory of the cgroup2 mount. An id of any cgroup of the hierarchy will do, also of
    one that is not below the mount's root.
    Raises OSError: ESTALE if the cgroup is gone, ENOTDIR if the id is that of a file, EPERM without
    CAP_DAC_READ_SEARCH.
    """
    fd = lib.cgfs_open_by_kernfs_id(mount_fd, id_, os.O_RDONLY | os.O_DIRECTORY)
    return Descriptor(check(fd, f"opening the cgroup with id {id_}"))


def open_root() -> Descriptor:
    """Open the root of all cgroups, or that of our cgroup namespace, wherever cgroup2 is mounted and whatever hides it.

    Raises OSError: EPERM without CAP_SYS_ADMIN, or where cgroup2 is mounted nowhere: then nobody says what its options
    are, and to mount it, at no place even, would take them from it.
    """
    options = cgroup2_options()
    if options is None:
        raise PermissionError(errno.EPERM, "cgroup2 is mounted nowhere here")
    texts = [ffi.new("char[]", os.fsencode(option)) for option in options]
    result = lib.cgfs_open_cgroup2(ffi.new("const char *[]", texts), len(texts))
    return Descriptor(check(result, "mounting cgroup2 at no place"))


def cgroup_id(cgroup_fd: int) -> int:
    """The id of the cgroup open as *cgroup_fd* (borrowed)."""
    return os.fstat(cgroup_fd).st_ino


def controllers_owner(cgroup_fd: int) -> Owner:
    """Who owns cgroup.controllers of the cgroup open as *cgroup_fd* (borrowed): whoever made the cgroup, since
    delegation leaves that file alone.

    The kernel may wait for a mkdir or rmdir that goes on in the directory. Raises OSError ENODEV if the cgroup is gone.
    """
    try:
        status = os.stat("cgroup.controllers", dir_fd=cgroup_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESTALE):
            raise
        doing = "asking for the owner of cgroup.controllers"
        raise OSError(errno.ENODEV, f"{doing}: the cgroup has been removed") from None
    return Owner(status.st_uid, status.st_gid)


def get_xattr(cgroup_fd: int, name: str) -> bytes | None:
    """The extended attribute *name* of the cgroup open as *cgroup_fd* (borrowed), None if there is none."""
    try:
        return os.getxattr(cgroup_fd, name)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise


def set_xattr(cgroup_fd: int, name: str, value: bytes) -> None:
    """Set it. Raises OSError: EPERM for `trusted.` without CAP_SYS_ADMIN; E2BIG or ENOSPC if *value* is too long."""
    os.setxattr(cgroup_fd, name, value)


def remove_xattr(cgroup_fd: int, name: str) -> None:
    """Remove it; one that is not there is no error."""
    try:
        os.removexattr(cgroup_fd, name)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
