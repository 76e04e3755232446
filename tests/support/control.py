"""The public ABI of the control files, written down again from native/include/cgfs.h: a test that goes by cgfs's own
client would not see that both are wrong.
"""

import contextlib
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.programs import CONTROL_FILE, DENY, Hook, fdinfo_tag, program

IOC_ATTACH = 1 << 30 | 24 << 16 | 0xC6 << 8 | 1
OVERRIDABLE = 1
NONRECURSIVE = 2


def attach_argument(prog_fd: int, flags: int = 0, reserved: tuple[int, int] = (0, 0)) -> bytearray:
    """struct cgfs_attach."""
    return bytearray(struct.pack("=iIQQ", prog_fd, flags, *reserved))


def attach_fd(control_fd: int, prog_fd: int, flags: int = 0) -> None:
    """CGFS_IOC_ATTACH on an open control file."""
    fcntl.ioctl(control_fd, IOC_ATTACH, attach_argument(prog_fd, flags))


def attach(path: Path, prog_fd: int, flags: int = 0) -> None:
    """Open the control file *path* for writing and attach *prog_fd*."""
    control_fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        attach_fd(control_fd, prog_fd, flags)
    finally:
        os.close(control_fd)


@contextlib.contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """A descriptor of *path*."""
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def error_of(act: Callable[[], object]) -> int:
    """The errno with which *act* fails, 0 if it does not."""
    try:
        act()
    except OSError as error:
        return error.errno or -1
    return 0


def shown(prog_fd: int) -> str:
    """What a control file says when *prog_fd* is the one program there, in the default mode."""
    return f"bpf:{fdinfo_tag(prog_fd)}\n"


@contextlib.contextmanager
def filtered(mirrored_cgroup: Path, hook: Hook, value: int = DENY, *, flags: int = 0, salt: int = 0) -> Iterator[str]:
    """A program attached through the control file of *hook*, cleared at the end; gives what the file says."""
    path = mirrored_cgroup / CONTROL_FILE[hook]
    with program(hook, value, salt=salt) as prog_fd:
        attach(path, prog_fd, flags)
        yield shown(prog_fd)
    path.write_text("none\n")
