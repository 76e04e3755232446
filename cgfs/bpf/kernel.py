"""The kernel's words for BPF: types and flags with the values of linux/bpf.h, and its errors as OSError.

Owns no descriptor and makes no system call. Source: include/uapi/linux/bpf.h.
"""

import errno
import os
from enum import IntEnum, IntFlag

from cgfs._native import lib


class AttachType(IntEnum):
    """enum bpf_attach_type: the hooks that a cgroup's control files stand for."""

    CGROUP_INET_INGRESS = lib.BPF_CGROUP_INET_INGRESS
    CGROUP_INET_EGRESS = lib.BPF_CGROUP_INET_EGRESS
    CGROUP_INET_SOCK_CREATE = lib.BPF_CGROUP_INET_SOCK_CREATE


class _OpenIntEnum(IntEnum):
    """An enumeration of the kernel's that has more members than are named here."""

    @classmethod
    def _missing_(cls, value: object) -> "_OpenIntEnum | None":
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = f"{cls.__name__.upper()}_{value}"
        member._value_ = value
        return member


class ProgType(_OpenIntEnum):
    """enum bpf_prog_type: what cgfs names. A program of another type has that number for its type."""

    UNSPEC = lib.BPF_PROG_TYPE_UNSPEC
    SOCKET_FILTER = lib.BPF_PROG_TYPE_SOCKET_FILTER
    CGROUP_SKB = lib.BPF_PROG_TYPE_CGROUP_SKB
    CGROUP_SOCK = lib.BPF_PROG_TYPE_CGROUP_SOCK


class MapType(_OpenIntEnum):
    """enum bpf_map_type: what cgfs names. A map of another type has that number for its type."""

    HASH = lib.BPF_MAP_TYPE_HASH
    ARRAY = lib.BPF_MAP_TYPE_ARRAY
    PROG_ARRAY = lib.BPF_MAP_TYPE_PROG_ARRAY
    PERCPU_HASH = lib.BPF_MAP_TYPE_PERCPU_HASH
    PERCPU_ARRAY = lib.BPF_MAP_TYPE_PERCPU_ARRAY
    ARRAY_OF_MAPS = lib.BPF_MAP_TYPE_ARRAY_OF_MAPS
    HASH_OF_MAPS = lib.BPF_MAP_TYPE_HASH_OF_MAPS
    CGROUP_STORAGE = 19  # since Linux 6.1 BPF_MAP_TYPE_CGROUP_STORAGE_DEPRECATED; the other one since 6.4
    PERCPU_CGROUP_STORAGE = 21
    ARENA = 33  # Linux 6.9, and not in older headers


class AttachFlags(IntFlag):
    """How a program is attached; the kernel has more of them, which are kept as they come."""

    ALLOW_OVERRIDE = lib.BPF_F_ALLOW_OVERRIDE
    ALLOW_MULTI = lib.BPF_F_ALLOW_MULTI
    REPLACE = lib.BPF_F_REPLACE


def check(result: int, doing: str) -> int:
    """*result* of a function of the compiled module; OSError if it is an error, which came up *doing*
    something.
    """
    if result < 0:
        raise OSError(-result, f"{doing}: {os.strerror(-result)}")
    return result


def check_kind(fd: int, kind: int, problem: str) -> None:
    """Raise OSError EINVAL with *problem* if *fd* (borrowed) is not of that kind (lib.CGFS_PROG and the
    like), EBADF if it is closed.
    """
    found = lib.cgfs_kind_of(fd)
    if found == -errno.EINVAL or (found >= 0 and found != kind):
        raise OSError(errno.EINVAL, problem)
    check(found, f"descriptor {fd}")
