"""Who asks: the thread behind a request, its capabilities, and what is open in it.

A FUSE request says tid, uid and gid of the thread that made it. While the request is unanswered that thread waits in
the kernel, also when it was killed, so that its tid is nobody else's meanwhile: ask before answering.

Sources: pidfd_open(2), pidfd_getfd(2), capabilities(7), proc_pid_status(5), user_namespaces(7).
"""

import errno
import os
import re
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from cgfs._native import lib
from cgfs.bpf import Program
from cgfs.descriptor import Descriptor

_PIDFD_THREAD = os.O_EXCL  # include/uapi/linux/pidfd.h, Linux 6.9
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
    """And what it was allowed: *capabilities* are its effective ones in the initial user namespace."""

    groups: frozenset[int]
    capabilities: frozenset[Capability]


@dataclass(frozen=True, slots=True)
class Caller:
    """A thread by its number in our PID namespace; *tid* is 0 if it has none there. *uid* and *gid* are its fsuid and
    fsgid.
    """

    tid: int
    uid: int
    gid: int

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
        own = frozenset({self.gid})
        try:
            status = _status(self.tid)
            namespace = Path(f"/proc/{self.tid}/ns/user").stat().st_ino
        except (FileNotFoundError, ProcessLookupError):
            return Credentials(self.uid, self.gid, 0, "?", own, frozenset())
        if (status.fsuid, status.fsgid) != (self.uid, self.gid):
            return Credentials(self.uid, self.gid, status.pid, self.command, own, frozenset())
        effective = status.capabilities if namespace == _INITIAL_USER_NAMESPACE else 0
        return Credentials(
            self.uid,
            self.gid,
            status.pid,
            self.command,
            own | status.groups,
            frozenset([capability for capability in Capability if effective >> capability & 1]),
        )

    def who(self) -> Who:
        """Who the thread is now; less to ask for than its credentials."""
        return Who(self.uid, self.gid, self.pid, self.command)

    @property
    def pid(self) -> int:
        """The thread's process; 0 if the thread is gone or not to be seen."""
        try:
            with Descriptor(os.pidfd_open(self.tid)):
                return self.tid  # a process is its first thread, and has its number
        except OSError:  # ENOENT, before Linux 6.15 EINVAL: it is another thread, or there is none
            pass
        try:
            return _status(self.tid).pid
        except (FileNotFoundError, ProcessLookupError):
            return 0

    @property
    def command(self) -> str:
        """The thread's name with what is not printable escaped, `?` if it is gone or not to be seen."""
        try:
            name = _read(self.tid, "comm").removesuffix(b"\n")
        except (FileNotFoundError, ProcessLookupError):
            return "?"
        text = name.decode(errors="backslashreplace")
        return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


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
        process = _status(tid).pid
    except FileNotFoundError:
        raise ProcessLookupError(errno.ESRCH, f"there is no thread {tid}") from None
    return os.pidfd_open(process)


class _Status(NamedTuple):
    """What /proc/TID/status says: the thread's process, its fsuid and fsgid, its groups, and its effective capabilities
    in its own user namespace.
    """

    pid: int
    fsuid: int
    fsgid: int
    groups: frozenset[int]
    capabilities: int


# The thread's name, which is whatever it likes, cannot make a line: the kernel escapes newlines in it.
_STATUS = re.compile(
    rb"\nTgid:\t(\d+)\n.*?"
    rb"\nUid:\t(?:\d+\t){3}(\d+)\nGid:\t(?:\d+\t){3}(\d+)\n.*?"
    rb"\nGroups:\t([\d ]*)\n.*?"
    rb"\nCapEff:\t([0-9a-f]+)\n",
    re.DOTALL,
)


def _status(tid: int) -> _Status:
    """Raises OSError: ENOENT or ESRCH if there is no such thread."""
    match = _STATUS.search(_read(tid, "status"))
    if match is None:
        raise OSError(errno.EIO, f"/proc/{tid}/status is not as proc_pid_status(5) says")
    pid, fsuid, fsgid, groups, capabilities = match.groups()
    return _Status(int(pid), int(fsuid), int(fsgid), frozenset(map(int, groups.split())), int(capabilities, 16))


def _read(tid: int, name: str) -> bytes:
    """A small file of /proc/TID, which comes whole with the first read."""
    with Descriptor(os.open(f"/proc/{tid}/{name}", os.O_RDONLY | os.O_CLOEXEC)) as file:
        return os.read(file.fd, 1 << 16)
