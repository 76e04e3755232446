"""Who asks: the thread behind a request, its capabilities, and what is open in it.

A FUSE request says tid, uid and gid of the thread that made it. While the request is unanswered that thread waits in
the kernel, also when it was killed, so that its tid is nobody else's meanwhile: ask before answering.

Sources: pidfd_open(2), pidfd_getfd(2), capabilities(7), proc_pid_status(5), user_namespaces(7).
"""

import errno
import os
import struct
from array import array
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Self

from cgfs._native import ffi, lib
from cgfs.bpf import Program
from cgfs.descriptor import Descriptor

_PIDFD_THREAD = os.O_EXCL  # include/uapi/linux/pidfd.h, Linux 6.9
_USUAL_NUMBER_OF_GROUPS = 64
_INITIAL_USER_NAMESPACE = 0xEFFFFFFD  # PROC_USER_INIT_INO of include/linux/proc_ns.h: the inode number, a constant


class Capability(IntEnum):
    """Those that cgfs asks for. Source: include/uapi/linux/capability.h."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    FOWNER = 3
    NET_ADMIN = 12


@dataclass(frozen=True, slots=True)
class Who:
    """Who a thread was at one moment: *pid* is its process (0 if not to be seen), *command* its name, escaped."""

    uid: int
    gid: int
    pid: int
    command: str


@dataclass(frozen=True, slots=True)
class Credentials(Who):
    """And what it was allowed: *capabilities* are its effective ones in the initial user namespace; *group_ids* are its
    supplementary groups, 32 bits each. *user* is whose share it has of what is limited (native/mirror/user.c).
    """

    user: int
    capabilities: frozenset[Capability]
    group_ids: bytes

    @property
    def groups(self) -> frozenset[int]:
        """All its groups. They may be 65,536, which takes milliseconds."""
        return frozenset({self.gid, *array("I", self.group_ids)})

    def pack(self) -> bytes:
        """All of it, for `unpack`."""
        capabilities = sum(1 << capability for capability in self.capabilities)
        command = self.command.encode()
        numbers = _PACKED.pack(self.uid, self.gid, self.pid, self.user, capabilities, len(command))
        return numbers + command + self.group_ids

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """What `pack` packed."""
        uid, gid, pid, user, capabilities, length = _PACKED.unpack_from(data)
        groups = _PACKED.size + length
        command = data[_PACKED.size : groups].decode()
        return cls(uid, gid, pid, command, user, _capabilities(capabilities), data[groups:])


_PACKED = struct.Struct("=IIIQII")


def _capabilities(mask: int) -> frozenset[Capability]:
    return frozenset([capability for capability in Capability if mask >> capability & 1])


@dataclass(frozen=True, slots=True)
class Caller:
    """A thread by its number in our PID namespace; *tid* is 0 if it has none there. *uid* and *gid* are its fsuid and
    fsgid, *user* is as that of `Credentials`.
    """

    tid: int
    uid: int
    gid: int
    user: int

    def open_program(self, number: int) -> Program:
        """A copy of the BPF program that is open in the thread as descriptor *number*; the caller owns it then.

        Raises OSError: EBADF if nothing is open there, EINVAL if it is no BPF program, EPERM if the thread is not
        to be seen from our PID namespace, ESRCH if it is gone.
        """
        if self.tid == 0:
            raise OSError(errno.EPERM, "the calling thread cannot be seen from the PID namespace of cgfs")
        with Descriptor(open_thread(self.tid)) as thread:
            fd = lib.cgfs_pidfd_getfd(thread.fd, number)
        if fd < 0:
            raise OSError(-fd, f"descriptor {number} of thread {self.tid}: {os.strerror(-fd)}")
        return Program.of(fd, f"descriptor {number} of thread {self.tid}")

    def credentials(self) -> Credentials:
        """What the thread is now. One that is gone or not to be seen has no groups but its own, and no capabilities; so
        has one whose ids in /proc are others: it acts under credentials for the moment (a personality of io_uring,
        say), and what /proc shows are not they.
        """
        nothing: frozenset[Capability] = frozenset()
        try:
            task = _task(self.tid, self.uid, with_groups=True)
        except (FileNotFoundError, ProcessLookupError):
            return Credentials(self.uid, self.gid, 0, "?", self.user, nothing, b"")
        if (task.fsuid, task.fsgid) != (self.uid, self.gid):
            return Credentials(self.uid, self.gid, task.process, task.name, self.user, nothing, b"")
        effective = task.effective if task.user_namespace == _INITIAL_USER_NAMESPACE else 0
        capabilities = _capabilities(effective)
        return Credentials(self.uid, self.gid, task.process, task.name, self.user, capabilities, task.group_ids)

    def who(self) -> Who:
        """Who the thread is now; 0 and `?` if it is gone or not to be seen."""
        try:
            task = _task(self.tid, self.uid, with_groups=False)
        except (FileNotFoundError, ProcessLookupError):
            return Who(self.uid, self.gid, 0, "?")
        return Who(self.uid, self.gid, task.process, task.name)


def open_thread(tid: int) -> int:
    """A pidfd of that thread, or of its process where the kernel has none of threads. The caller closes it.

    Raises OSError ESRCH if there is no such thread.
    """
    try:
        return os.pidfd_open(tid, _PIDFD_THREAD)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    # Before Linux 6.9. Right for each thread that shares its process's descriptors, and nearly all do.
    return open_process_of(tid)


def open_process_of(tid: int) -> int:
    """A pidfd of the process that the thread *tid* is of. The caller closes it. Raises OSError ESRCH."""
    try:
        process = _task(tid, 0, with_groups=False).process
    except FileNotFoundError:
        raise ProcessLookupError(errno.ESRCH, f"there is no thread {tid}") from None
    return os.pidfd_open(process)


class _Task(NamedTuple):
    """What /proc says of a thread: its process, its fsuid and fsgid, its groups (32 bits each), its effective
    capabilities in its own user namespace, that namespace's inode number, and its name, with what is not printable
    escaped.
    """

    process: int
    fsuid: int
    fsgid: int
    group_ids: bytes
    effective: int
    user_namespace: int
    name: str


def _task(tid: int, uid: int, *, with_groups: bool) -> _Task:
    """Of the thread *tid*, which acts for the user *uid*. Raises OSError: ENOENT or ESRCH if there is none."""
    task = ffi.new("struct cgfs_task *")
    room = _USUAL_NUMBER_OF_GROUPS if with_groups else 0
    while True:
        groups = ffi.new("uint32_t[]", room)
        result = lib.cgfs_task_read(tid, uid, task, groups, room)
        if result < 0:
            raise OSError(-result, f"asking for thread {tid}: {os.strerror(-result)}")
        if task.n_groups <= room or not with_groups:
            break
        room = task.n_groups
    return _Task(
        task.process,
        task.fsuid,
        task.fsgid,
        bytes(ffi.buffer(groups))[: 4 * task.n_groups],
        task.effective,
        task.user_namespace,
        _printable(ffi.string(task.name).decode(errors="backslashreplace")),
    )


def _printable(name: str) -> str:
    return name if name.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)
