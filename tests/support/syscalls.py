"""System calls that Python 3.11 has no function for. Each raises OSError as the kernel says.

Source: unshare(2), setns(2), capset(2), prctl(2), umount2(2), renameat2(2), clone(2).
"""

import ctypes
import os
from collections.abc import Iterable
from enum import IntEnum, IntFlag

_libc = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38

MNT_FORCE = 1
MNT_DETACH = 2
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280}[os.uname().machine]
SYS_PIDFD_OPEN = 434

_CAPABILITY_VERSION_3 = 0x20080522


class Capability(IntEnum):
    """Numbers of include/uapi/linux/capability.h: those that tests use."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    FOWNER = 3
    KILL = 5
    SETGID = 6
    SETUID = 7
    NET_ADMIN = 12
    SYS_PTRACE = 19
    SYS_ADMIN = 21
    SYS_NICE = 23
    PERFMON = 38
    BPF = 39


class CloneFlag(IntFlag):
    """include/uapi/linux/sched.h: the namespaces."""

    NEWNS = 0x00020000
    NEWCGROUP = 0x02000000
    NEWUSER = 0x10000000
    NEWPID = 0x20000000
    NEWNET = 0x40000000


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: CloneFlag) -> None:
    _check(_libc.unshare(ctypes.c_int(int(flags))), "unshare")


def setns(fd: int, flags: CloneFlag) -> None:
    """Join the namespace open as *fd* (borrowed)."""
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(int(flags))), "setns")


def prctl(option: int, argument: int) -> None:
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(argument), zero, zero, zero), "prctl")


def set_capabilities(capabilities: Iterable[Capability]) -> None:
    """Make *capabilities* the effective and permitted set of the calling thread, and the inheritable set
    empty.
    """
    mask = sum(1 << capability for capability in capabilities)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    _check(_libc.capset(header, data), "capset")


def mount(source: str, target: str, kind: str | None, flags: int) -> None:
    """mount(2) without data: bind mounts, propagation, a kernel file system with its defaults."""
    kind_bytes = None if kind is None else kind.encode()
    result = _libc.mount(source.encode(), target.encode(), kind_bytes, ctypes.c_ulong(flags), None)
    _check(result, f"mount {target}")


def umount(target: str, flags: int = 0) -> None:
    _check(_libc.umount2(target.encode(), ctypes.c_int(flags)), f"umount {target}")


def syscall(number: int, *arguments: int) -> int:
    """Any system call with integer arguments."""
    return _check(_libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) for a in arguments)), f"syscall {number}")
