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
    fd = lib.cgfs_cgroup_open(mount_fd, id_)
    if fd < 0:
        raise OSError(-fd, f"opening the cgroup with id {id_}: {os.strerror(-fd)}")
    return Descriptor(fd)


def cgroup_id(cgroup_fd: int) -> int:
    """The id of the cgroup open as *cgroup_fd* (borrowed)."""
    return os.fstat(cgroup_fd).st_ino


def controllers_owner(cgroup_fd: int, id_: int) -> Owner:
    """Who owns cgroup.controllers of the cgroup *id_*, open as *cgroup_fd* (borrowed): whoever made the cgroup, since
    delegation leaves that file alone.

    The file is found by its kernfs id, which is found by its name once: for that the kernel takes the directory's lock,
    which a mkdir or rmdir in it holds as long as it takes. Raises OSError ENODEV if the cgroup is gone.
    """
    file_id = _controllers_ids.get(id_)
    if file_id is None:
        file_id = _find_controllers(cgroup_fd, id_)
    uid, gid = ffi.new("uint32_t *"), ffi.new("uint32_t *")
    result = lib.cgfs_cgroup_file_owner(cgroup_fd, file_id, uid, gid)
    if result < 0:
        raise _controllers_error(-result)
    return Owner(uid[0], gid[0])


_controllers_ids: dict[int, int] = {}
"""The ids of cgroup.controllers of some cgroups by the cgroup's: neither is ever used again, and each has the other as
long as it lives.
"""
_MOST_KNOWN = 4096


def _find_controllers(cgroup_fd: int, id_: int) -> int:
    found = ffi.new("uint64_t *")
    result = lib.cgfs_cgroup_file_id(cgroup_fd, b"cgroup.controllers", found)
    if result < 0:
        raise _controllers_error(-result)
    if len(_controllers_ids) >= _MOST_KNOWN:
        _controllers_ids.clear()
    _controllers_ids[id_] = found[0]
    return int(found[0])


def _controllers_error(number: int) -> OSError:
    doing = "asking for the owner of cgroup.controllers"
    if number in (errno.ENOENT, errno.ESTALE):
        return OSError(errno.ENODEV, f"{doing}: the cgroup has been removed")
    return OSError(number, f"{doing}: {os.strerror(number)}")


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
