"""The kernel's words for BPF: types and flags with the values of linux/bpf.h.

Owns no descriptor and makes no system call. Source: include/uapi/linux/bpf.h.
"""

import errno
from enum import IntEnum, IntFlag

from cgfs._native import lib
from cgfs.errors import check


class AttachType(IntEnum):
    """enum bpf_attach_type: the hooks of cgroups, for which there are control files or could be."""

    CGROUP_INET_INGRESS = lib.BPF_CGROUP_INET_INGRESS
    CGROUP_INET_EGRESS = lib.BPF_CGROUP_INET_EGRESS
    CGROUP_INET_SOCK_CREATE = lib.BPF_CGROUP_INET_SOCK_CREATE
    CGROUP_SOCK_OPS = lib.BPF_CGROUP_SOCK_OPS
    CGROUP_DEVICE = lib.BPF_CGROUP_DEVICE
    CGROUP_INET4_BIND = lib.BPF_CGROUP_INET4_BIND
    CGROUP_INET6_BIND = lib.BPF_CGROUP_INET6_BIND
    CGROUP_INET4_CONNECT = lib.BPF_CGROUP_INET4_CONNECT
    CGROUP_INET6_CONNECT = lib.BPF_CGROUP_INET6_CONNECT
    CGROUP_INET4_POST_BIND = lib.BPF_CGROUP_INET4_POST_BIND
    CGROUP_INET6_POST_BIND = lib.BPF_CGROUP_INET6_POST_BIND
    CGROUP_UDP4_SENDMSG = lib.BPF_CGROUP_UDP4_SENDMSG
    CGROUP_UDP6_SENDMSG = lib.BPF_CGROUP_UDP6_SENDMSG
    CGROUP_SYSCTL = lib.BPF_CGROUP_SYSCTL
    CGROUP_UDP4_RECVMSG = lib.BPF_CGROUP_UDP4_RECVMSG
    CGROUP_UDP6_RECVMSG = lib.BPF_CGROUP_UDP6_RECVMSG
    CGROUP_GETSOCKOPT = lib.BPF_CGROUP_GETSOCKOPT
    CGROUP_SETSOCKOPT = lib.BPF_CGROUP_SETSOCKOPT
    CGROUP_INET4_GETPEERNAME = lib.BPF_CGROUP_INET4_GETPEERNAME
    CGROUP_INET6_GETPEERNAME = lib.BPF_CGROUP_INET6_GETPEERNAME
    CGROUP_INET4_GETSOCKNAME = lib.BPF_CGROUP_INET4_GETSOCKNAME
    CGROUP_INET6_GETSOCKNAME = lib.BPF_CGROUP_INET6_GETSOCKNAME
    CGROUP_INET_SOCK_RELEASE = lib.BPF_CGROUP_INET_SOCK_RELEASE


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
    """enum bpf_prog_type: those of cgroups' hooks, and some. A program of another type has that number for its type."""

    UNSPEC = lib.BPF_PROG_TYPE_UNSPEC
    SOCKET_FILTER = lib.BPF_PROG_TYPE_SOCKET_FILTER
    CGROUP_SKB = lib.BPF_PROG_TYPE_CGROUP_SKB
    CGROUP_SOCK = lib.BPF_PROG_TYPE_CGROUP_SOCK
    SOCK_OPS = lib.BPF_PROG_TYPE_SOCK_OPS
    CGROUP_DEVICE = lib.BPF_PROG_TYPE_CGROUP_DEVICE
    CGROUP_SOCK_ADDR = lib.BPF_PROG_TYPE_CGROUP_SOCK_ADDR
    CGROUP_SYSCTL = lib.BPF_PROG_TYPE_CGROUP_SYSCTL
    CGROUP_SOCKOPT = lib.BPF_PROG_TYPE_CGROUP_SOCKOPT


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


def check_kind(fd: int, kind: int, problem: str) -> None:
    """Raise OSError EINVAL with *problem* if *fd* (borrowed) is not of that kind (lib.CGFS_PROG and the
    like), EBADF if it is closed.
    """
    found = lib.cgfs_kind_of(fd)
    if found == -errno.EINVAL or (found >= 0 and found != kind):
        raise OSError(errno.EINVAL, problem)
    check(found, f"descriptor {fd}")
