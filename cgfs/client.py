"""Attach, detach and read a cgroup's filters through the control files of a mirror.

    from cgfs import client

    client.attach("/run/cgfs/my.cgroup/net.egress_filter", "filter.o")
    client.read("/run/cgfs/my.cgroup/net.egress_filter")      # "bpf:5b4b1f0b4e8d6a72\\n"
    client.detach("/run/cgfs/my.cgroup/net.egress_filter")

Owns what is asked of a control file, from the outside: it opens the file and does what native/include/cgfs.h says, so
that the permissions of the file decide, and nothing else. Never touches the cgroup itself.
"""

import errno
import fcntl
import os
from pathlib import Path

from cgfs import bpf, mountinfo
from cgfs.abi import IOC_ATTACH, Attach
from cgfs.control import ControlFile, Mode, by_name
from cgfs.descriptor import Descriptor

_WORDS = {
    errno.EINVAL: "the program is not of the type that this file takes, or the kernel refuses it for this hook",
    errno.EPERM: "this mount demands CAP_NET_ADMIN to attach (option attach_cap), or does not see this process",
    errno.EBUSY: "a filter of another mode is attached here, detach it first; or above, one that allows no other",
    errno.EEXIST: "somebody else has attached this very program here",
    errno.EOPNOTSUPP: "this program cannot be attached for one cgroup only",
    errno.ENODEV: "the cgroup has been removed",
    errno.ENOTTY: "this is no control file of a mirror",
    errno.E2BIG: "64 programs are attached here, and the kernel takes no more",
    errno.EROFS: "the cgroup2 mount that this mirror shows is read-only",
}
"""What an errno of the ioctl means."""

_WORDS_OF_WRITE = {
    **{number: _WORDS[number] for number in (errno.EPERM, errno.EBUSY, errno.ENODEV, errno.E2BIG, errno.EROFS)},
    errno.EINVAL: "no filter for this file: write none, bpf:<tag> of a program in the program store, or a text filter",
}


def attach(
    path: str | Path, program: int | str | Path, *, overridable: bool = False, nonrecursive: bool = False
) -> None:
    """Attach *program* through the control file *path*: what came through it before is replaced.

    *program* is a descriptor (borrowed), or says where the program is: an ELF object, `FILE.o` or `FILE.o:NAME` (of the
    function, or its section); the path of a pinned program; `id:N`. Raises OSError as cgfs.h says, or as opening the
    program does.
    """
    mode = Mode.of(overridable=overridable, nonrecursive=nonrecursive)
    file = _control_file(path)
    with _opened(path, os.O_WRONLY) as control:
        if isinstance(program, int):
            _attach(control, Attach(program, mode), path)
        else:
            with open_program(str(program), file) as opened:
                _attach(control, Attach(opened.fd, mode), path)


def detach(path: str | Path) -> None:
    """Write `none` to the control file *path*: nothing is attached afterwards.

    Raises OSError: EPERM where something else is attached than what came through the file, unless root asks.
    """
    try:
        write(path, "none")
    except OSError as error:
        if error.errno == errno.EPERM:
            words = "what is attached here did not come through this file: only root can remove it"
            raise OSError(errno.EPERM, words, str(path)) from error
        raise


def write(path: str | Path, line: str) -> None:
    """Write one command to the control file *path*. Raises OSError as the file does: EINVAL where it is none."""
    _control_file(path)
    with _opened(path, os.O_WRONLY) as control:
        try:
            os.write(control.fd, line.encode())
        except OSError as error:
            words = _WORDS_OF_WRITE.get(error.errno or 0, error.strerror)
            raise OSError(error.errno, words, str(path)) from error


def read(path: str | Path) -> str:
    """The content of the control file *path*."""
    _control_file(path)
    with _opened(path, os.O_RDONLY) as control, open(control.fd, "rb", closefd=False) as file:
        return file.read().decode()


def open_program(where: str, file: ControlFile) -> bpf.Program:
    """The program of `FILE.o`, `FILE.o:NAME`, `id:N` or a pinned path, to be attached to *file*."""
    kind, _, number = where.partition(":")
    if kind == "id" and number.isascii() and number.isdecimal() and int(number) < 2**32:
        return bpf.Program.by_id(int(number))
    path, name = Path(where), None
    if not path.exists() and ":" in where:
        before, _, name = where.rpartition(":")
        path = Path(before)
    if not path.exists():
        raise OSError(errno.ENOENT, "no such program: name FILE.o, FILE.o:NAME, a pinned path or id:N", where)
    if not mountinfo.is_on(path, "bpf"):
        return bpf.load_object(path, name, prog_type=file.prog_type, attach_type=file.attach_type)
    if name is not None:
        raise OSError(errno.EINVAL, "a pin is one program, and has no others by name", where)
    return bpf.Program.pinned(path)


def _control_file(path: str | Path) -> ControlFile:
    """The row of the table: nothing else is ever written to. Raises OSError if *path* is none of a mirror."""
    file = by_name(Path(path).name)
    if not mountinfo.is_on_mirror(Path(path)):
        raise OSError(errno.EINVAL, _WORDS[errno.ENOTTY], str(path))
    return file


def _opened(path: str | Path, flags: int) -> Descriptor:
    try:
        return Descriptor(os.open(path, flags | os.O_CLOEXEC))
    except PermissionError as error:
        words = "permission denied: the control file's owner and mode decide who may"
        raise OSError(error.errno, words, str(path)) from error


def _attach(control: Descriptor, attach: Attach, path: str | Path) -> None:
    try:
        fcntl.ioctl(control.fd, IOC_ATTACH, attach.pack())
    except OSError as error:
        words = _WORDS.get(error.errno or 0, error.strerror)
        raise OSError(error.errno, words, str(path)) from error
