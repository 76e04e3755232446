"""The edge: what the mirror's threads ask about control files, from C to Python and back.

Here every error becomes an errno: that of an OSError; anything else is logged, and is EIO. Source:
native/mirror/mirror.h, struct cgfs_control_operations.
"""

import errno
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, Protocol

from cgfs._native import ffi, lib
from cgfs.caller import Caller, Credentials

log = logging.getLogger(__name__)

_HIGHEST_ERRNO = 511  # what the kernel takes from a FUSE server (fuse_dev_do_write() in fs/fuse/dev.c)


class Snapshot(NamedTuple):
    """What a control file is and says at one moment. *mode*: permission bits; times: nanoseconds of CLOCK_REALTIME."""

    uid: int
    gid: int
    mode: int
    content: bytes
    modified_ns: int
    changed_ns: int
    lasting: bool
    """For as long as nothing else is attached, and the notes and the owner of cgroup.controllers are the same."""


class Control(Protocol):
    """What decides about control files. Called in the mirror's threads, in several at the same time. Each call may
    wait. But for `ended` it has a caller who waits in the kernel meanwhile, also when he was killed, so
    that his thread id is nobody else's. An *opener* is who has opened the file for writing, as he was then: his rights
    decide. The *caller* makes the call now: his are the descriptors, and the turns at computing.
    """

    def snapshot(self, node: int) -> Snapshot: ...

    def setattr(self, node: int, caller: Caller, *, mode: int | None, uid: int | None, gid: int | None) -> None:
        """What is None stays as it is."""

    def write(self, node: int, opener: Credentials, caller: Caller, data: bytes) -> None: ...

    def ioctl(self, node: int, opener: Credentials | None, caller: Caller, command: int, data: bytes) -> None:
        """*opener* is None where the file is not open for writing."""

    def ended(self) -> None:
        """The connection has ended: nothing is asked any more."""


def _errno_of(error: OSError) -> int:
    """The errno that answers a request which raised *error*."""
    return error.errno if error.errno is not None and 0 < error.errno <= _HIGHEST_ERRNO else errno.EIO


def called_from_c(function: Callable[..., int | None]) -> Callable[..., int]:
    """*function* with the handle of a Control as its first argument; it returns 0, *function*'s result, or -errno."""
    name = function.__name__.strip("_")

    @wraps(function)
    def answer(context: Any, *arguments: Any) -> int:
        try:
            return function(ffi.from_handle(context), *arguments) or 0
        except OSError as error:
            return -_errno_of(error)
        except Exception:
            log.exception("%s of a control file", name)
            return -errno.EIO

    return answer


@ffi.def_extern("cgfs_python_snapshot", error=-errno.EIO)
@called_from_c
def _snapshot(control: Control, node: int, answer: Any, content: Any, room: int) -> int:
    snapshot = control.snapshot(node)
    size = len(snapshot.content)
    if size > room:
        raise OSError(errno.EFBIG, f"{size} bytes are more than the mirror takes: {room}")
    ffi.memmove(content, snapshot.content, size)
    answer.uid, answer.gid, answer.mode = snapshot.uid, snapshot.gid, snapshot.mode
    answer.modified_ns, answer.changed_ns = snapshot.modified_ns, snapshot.changed_ns
    answer.lasting = snapshot.lasting
    return size


@ffi.def_extern("cgfs_python_setattr", error=-errno.EIO)
@called_from_c
def _setattr(control: Control, node: int, caller: Any, change: Any) -> None:
    mode, uid, gid = (None if value < 0 else value for value in (change.mode, change.uid, change.gid))
    control.setattr(node, Caller.of(caller), mode=mode, uid=uid, gid=gid)


@ffi.def_extern("cgfs_python_write", error=-errno.EIO)
@called_from_c
def _write(control: Control, node: int, opener: Any, caller: Any, data: Any, size: int) -> None:
    control.write(node, Credentials.of(opener), Caller.of(caller), _bytes(data, size))


@ffi.def_extern("cgfs_python_ioctl", error=-errno.EIO)
@called_from_c
def _ioctl(control: Control, node: int, opener: Any, caller: Any, command: int, data: Any, size: int) -> None:
    who = None if opener == ffi.NULL else Credentials.of(opener)
    control.ioctl(node, who, Caller.of(caller), command, _bytes(data, size))


@ffi.def_extern("cgfs_python_ended", error=-errno.EIO)
@called_from_c
def _ended(control: Control) -> None:
    control.ended()


def _bytes(data: Any, size: int) -> bytes:
    return bytes(ffi.buffer(data, size))


OPERATIONS: Any = ffi.new(
    "struct cgfs_control_operations *",
    {name: getattr(lib, f"cgfs_python_{name}") for name in ("snapshot", "setattr", "write", "ioctl", "ended")},
)
"""C data, for cgfs_mirror_start() in cgfs/mirror.py, with the handle of a Control as the context."""
