"""Who asks: the thread behind a request, its capabilities, and what is open in it.

A FUSE request says tid, uid and gid of the thread that made it. While the request is unanswered that thread waits in
the kernel, also when it was killed, so that its tid is nobody else's meanwhile: ask before answering.

Sources: pidfd_open(2), pidfd_getfd(2), capabilities(7), proc_pid_status(5), user_namespaces(7).
"""

import errno
import os
from array import array
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self

from cgfs._native import ffi, lib
from cgfs.bpf import Program
from cgfs.descriptor import Descriptor
from cgfs.errors import check, printable

_PIDFD_THREAD = os.O_EXCL  # include/uapi/linux/pidfd.h, Linux 6.9
_GROUP_SIZE = 4
_USUAL_SIZE = 512  # of struct cgfs_credentials, some groups included


class Capability(IntEnum):
    """Those that cgfs asks for. Source: include/uapi/linux/capability.h."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    FOWNER = 3
    NET_ADMIN = 12


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a thread was at one moment: *uid* and *gid* are its fsuid and fsgid, *pid* is its process (0 if not to be
    seen), *comm* its name, escaped. *capabilities* are its effective ones in the initial user namespace;
    *group_ids* are its supplementary groups, 32 bits each.
    """

    uid: int
    gid: int
    pid: int
    comm: str
    capabilities: frozenset[Capability]
    group_ids: bytes

    @classmethod
    def of(cls, credentials: Any) -> Self:
        """Of C's struct cgfs_credentials."""
        return cls(
            credentials.uid,
            credentials.gid,
            credentials.tgid,
            printable(ffi.string(credentials.comm).decode(errors="backslashreplace")) if credentials.tgid else "?",
            frozenset([capability for capability in Capability if credentials.capabilities >> capability & 1]),
            bytes(ffi.buffer(credentials.groups, _GROUP_SIZE * credentials.n_groups)),
        )

    @property
    def groups(self) -> frozenset[int]:
        """All its groups. They may be 65,536, which takes milliseconds."""
        return frozenset({self.gid, *array("I", self.group_ids)})


@dataclass(frozen=True, slots=True)
class Caller:
    """A thread by its number in our PID namespace; *tid* is 0 if it has none there. *uid* and *gid* are its fsuid and
    fsgid.
    """

    tid: int
    uid: int
    gid: int

    @classmethod
    def of(cls, caller: Any) -> Self:
        """Of C's struct cgfs_caller."""
        return cls(caller.tid, caller.uid, caller.gid)

    def open_program(self, number: int) -> Program:
        """A copy of the BPF program that is open in the thread as descriptor *number*; the caller owns it then.

        Raises OSError: EBADF if nothing is open there, EINVAL if it is no BPF program, EPERM if the thread is not
        to be seen from our PID namespace, ESRCH if it is gone.
        """
        if self.tid == 0:
            raise OSError(errno.EPERM, "the calling thread cannot be seen from the PID namespace of cgfs")
        what = f"descriptor {number} of thread {self.tid}"
        with Descriptor(open_thread(self.tid)) as thread:
            fd = check(lib.cgfs_pidfd_getfd(thread.fd, number), what)
        return Program.of(fd, what)

    def credentials(self) -> Credentials:
        """What the thread is now. One that is gone or not to be seen has no groups but its own, and no capabilities; so
        has one whose ids in /proc are others: it acts under credentials for the moment (a personality of io_uring,
        say), and what /proc shows are not they.
        """
        room = _USUAL_SIZE
        while True:
            credentials = ffi.new("struct cgfs_credentials *", {"groups": room // _GROUP_SIZE})
            size = check(lib.cgfs_credentials_read(self._struct(), credentials, room), f"asking for thread {self.tid}")
            if size <= room:
                return Credentials.of(credentials)
            room = size

    def user(self) -> int:
        """Whose share of what is limited the thread has: a uid, or a number above all uids (native/mirror/user.c)."""
        return int(lib.cgfs_caller_user(self._struct()))

    def _struct(self) -> Any:
        return ffi.new("struct cgfs_caller *", (self.tid, self.uid, self.gid))


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
    process = Caller(tid, 0, 0).credentials().pid
    if process == 0:
        raise ProcessLookupError(errno.ESRCH, f"there is no thread {tid}")
    return os.pidfd_open(process)
