"""Which cgroup a path stands for, and what is in force there: the questions of `cgfs show` and `cgfs tree`.

Owns the way from a path on a mirror to the cgroup behind it, and the attribution of every program in force to
the cgroup that it is attached to. Reads only: what is attached here is what the control file says, what comes
from above is what the kernel says, and it says it to root only. A cgroup that vanishes meanwhile is left out.

Sources: compute_effective_progs() in kernel/bpf/cgroup.c: a cgroup's own programs first, then its ancestors';
fsopen(2) and fsmount(2): a cgroup2 of our own, wherever others are mounted and whatever hides them.
"""

import collections
import contextlib
import ctypes
import errno
import itertools
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cgfs import bpf, guard, mountinfo
from cgfs.cgroup import open_cgroup
from cgfs.control import CONTROL_FILES, ControlFile
from cgfs.descriptor import Descriptor
from cgfs.errors import GONE
from cgfs.text_filter import Counters, counters, text_of

log = logging.getLogger(__name__)

# asm-generic/unistd.h; linux/mount.h
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_CLOEXEC = 1
_FSCONFIG_CMD_CREATE = 6


@dataclass(frozen=True, slots=True)
class InForce:
    """A program that runs for a cgroup.

    *cgroup* is the one that it is attached to, as a path from the root on, or None for one above what can be seen
    here (a cgroup namespace). *line* is what the control file there says of it, None where no mirror shows that;
    *flags* are what it was attached with, None where that cannot be seen. *program* is what runs; *guard_id*, if any,
    what is attached to run it for one cgroup only. *counters* is what a text filter has let through and what not.
    """

    cgroup: str | None
    own: bool
    line: str | None
    flags: bpf.AttachFlags | None
    program: bpf.ProgramInfo
    guard_id: int | None
    counters: Counters | None

    @property
    def is_exclusive(self) -> bool:
        """Whether it was attached with flags 0, as cgfs never does: it binds less than it seems to."""
        return self.flags == bpf.AttachFlags(0)


@dataclass(frozen=True, slots=True)
class Filters:
    """A control file of a cgroup: the lines in it, and what runs there (None: only root is told)."""

    file: ControlFile
    lines: tuple[str, ...]
    in_force: tuple[InForce, ...] | None


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A directory of a mirror, with the content of those of its control files in which there are filters."""

    path: Path
    filters: dict[str, tuple[str, ...]]


def cgroup_at(path: Path) -> Path:
    """*path* without links, if it is a cgroup's directory on a mirror.

    Raises OSError with what would be right: ENOENT, ENOTDIR, or EINVAL where it is on no mirror.
    """
    found = Path(os.path.realpath(path))
    try:
        on_mirror = mountinfo.is_on_mirror(found)
    except FileNotFoundError as error:
        there = _on_mirrors(found)
        words = f"{error.strerror}; on a mirror that is {' or '.join(there)}" if there else error.strerror
        raise OSError(error.errno, words, str(path)) from error
    except OSError as error:
        if error.errno not in (errno.ENOTCONN, errno.ECONNABORTED):
            raise
        words = "the daemon of this mirror has ended: `cgfs mount` starts another"
        raise OSError(error.errno, words, str(path)) from error
    if not on_mirror:
        raise OSError(errno.EINVAL, f"{path} is on no mirror: {_advice(found if found.is_dir() else found.parent)}")
    if not found.is_dir():
        raise OSError(errno.ENOTDIR, f"{path} is no cgroup: name its directory, {found.parent}")
    return found


def only_mirror() -> Path:
    """The mirror that is mounted. Raises OSError: ENOENT where there is none, EINVAL where there are more."""
    found = sorted({mirror.mountpoint for mirror in mountinfo.mirrors()})
    if not found:
        raise OSError(errno.ENOENT, "no mirror is mounted: `cgfs mount DIR` mounts one")
    if len(found) > 1:
        raise OSError(errno.EINVAL, f"there are several mirrors, name one: {', '.join(map(str, found))}")
    return found[0]


def filters_of(cgroup: Path) -> list[Filters]:
    """What is attached to *cgroup* (a directory of a mirror) and what is in force there, file by file."""
    lines = {file: read_lines(cgroup / file.name) for file in CONTROL_FILES}
    try:
        with _ancestors(cgroup) as chain:
            return [Filters(file, lines[file], tuple(_in_force(chain, file))) for file in CONTROL_FILES]
    except PermissionError:
        return [Filters(file, lines[file], None) for file in CONTROL_FILES]


def read_lines(path: Path) -> tuple[str, ...]:
    return tuple(path.read_text(encoding="utf-8", errors="surrogateescape").splitlines())


def filtered_cgroups(top: Path) -> Iterator[Cgroup]:
    """Those of *top* (a directory of a mirror) and the cgroups below it that have filters, parents first."""
    for path in subtree(top):
        try:
            filters = {file.name: read_lines(path / file.name) for file in CONTROL_FILES}
        except OSError as error:
            if not leaves_out(error, path, top):
                raise
            continue
        filters = {name: lines for name, lines in filters.items() if lines != ("none",)}
        if filters:
            yield Cgroup(path, filters)


def subtree(top: Path) -> Iterator[Path]:
    """*top* and the cgroups below it, parents first, but for those that leaves_out() names. Raises OSError."""
    waiting = [top]
    while waiting:
        cgroup = waiting.pop()
        try:
            children = _children_of(cgroup)
        except OSError as error:
            if not leaves_out(error, cgroup, top):
                raise
            continue
        yield cgroup
        waiting.extend(reversed(children))


def leaves_out(error: OSError, cgroup: Path, top: Path) -> bool:
    """Whether who looks at all cgroups from *top* on leaves *cgroup* out, of which he is told *error*: it has vanished
    meanwhile; or, with a warning, its path is too long: or whoever makes one would hide all others.
    """
    if cgroup == top:
        return False
    if error.errno == errno.ENAMETOOLONG:
        log.warning("a cgroup below %s is left out: its path is too long", top)
    return error.errno in (*GONE, errno.ENAMETOOLONG)


def _children_of(cgroup: Path) -> list[Path]:
    """The cgroups right below *cgroup*, by name. Raises OSError."""
    with os.scandir(cgroup) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))


def _advice(path: Path) -> str:
    """Where the cgroup of *path* can be named instead."""
    mirrors = mountinfo.mirrors()
    if not mirrors:
        return "`cgfs mount DIR` mounts one"
    there = _on_mirrors(path)
    if there:
        return f"the same cgroup on a mirror is {' or '.join(there)}"
    return f"name a directory of {' or '.join(str(mirror.mountpoint) for mirror in mirrors)}"


def _on_mirrors(path: Path) -> list[str]:
    """Where mirrors show the cgroup at *path* on cgroup2; if nothing is there, what /proc/PID/cgroup calls *path*. No
    mirror is asked: one may not answer.
    """
    found = []
    with contextlib.suppress(OSError):
        native = path if path.exists() else mountinfo.cgroup2_mount() / path.relative_to("/")
        if not mountinfo.is_cgroup2(native):
            return []
        for mirror in mountinfo.mirrors():
            shown = Path(f"{mirror.source}{mirror.root}")
            if native.is_relative_to(shown):
                found.append(str(mirror.mountpoint / native.relative_to(shown)))
    return found


@dataclass(frozen=True, slots=True)
class _Ancestor:
    fd: int
    path: str
    mirror: Path | None


@contextlib.contextmanager
def _ancestors(cgroup: Path) -> Iterator[list[_Ancestor]]:
    """*cgroup* (on a mirror), its parent, and so on to the root, each opened. Raises OSError: EPERM if not root."""
    device = cgroup.stat().st_dev
    on_mirror = itertools.takewhile(lambda path: path.stat().st_dev == device, (cgroup, *cgroup.parents))
    with contextlib.ExitStack() as stack:
        root = _cgroup2()
        stack.callback(os.close, root)
        fd = stack.enter_context(open_cgroup(root, cgroup.stat().st_ino)).fd
        chain = [_Ancestor(fd, _path_of(fd), next(on_mirror))]
        while chain[-1].path != "/":
            fd = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
            stack.callback(os.close, fd)
            chain.append(_Ancestor(fd, _path_of(fd), next(on_mirror, None)))
        yield chain


def _path_of(fd: int) -> str:
    return str(Path(f"/proc/self/fd/{fd}").readlink())


def _cgroup2() -> int:
    """A descriptor of a cgroup2 mount that is at no place. Raises OSError: EPERM without CAP_SYS_ADMIN."""
    context = _syscall(_FSOPEN, b"cgroup2", _CLOEXEC)
    try:
        _syscall(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        with Descriptor(_syscall(_FSMOUNT, context, _CLOEXEC, 0)) as mount:  # O_PATH: no base for file handles
            return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount.fd)
    finally:
        os.close(context)


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _in_force(chain: list[_Ancestor], file: ControlFile) -> Iterator[InForce]:
    """The kernel's list of what runs for chain[0], each with the nearest cgroup that it is attached to."""
    shares = [_Share(ancestor, file) for ancestor in chain]
    for prog_id in bpf.query(chain[0].fd, file.attach_type, effective=True):
        share = next((share for share in shares if share.holds(prog_id)), None)
        line = None if share is None else share.take(prog_id)
        try:
            program = bpf.Program.by_id(prog_id)
        except FileNotFoundError:  # it was let go
            continue
        with program:
            inside = None if share is None else guard.inside_of(program, file, share.cgroup_id)
            if share is not None and share is not shares[0] and (inside or _is_for(share.cgroup_id, program)):
                continue  # the kernel runs it here as well, and it lets everything through
            yield InForce(
                cgroup=None if share is None else share.path,
                own=share is shares[0],
                line=line,
                flags=None if share is None else share.flags,
                program=inside or program.info(),
                guard_id=None if inside is None else prog_id,
                counters=counters(program),
            )


def _is_for(cgroup_id: int, program: bpf.Program) -> bool:
    """Whether *program* is a text filter for that cgroup's own members only."""
    stored = text_of(program)
    return stored is not None and stored.only_cgroup_id == cgroup_id


def _attached(cgroup_fd: int, file: ControlFile) -> bpf.AttachedPrograms:
    while True:
        with contextlib.suppress(BlockingIOError):  # a program was let go meanwhile
            return bpf.attached(cgroup_fd, file.attach_type)


class _Share:
    """What is attached to one of the ancestors, taken one by one in the order in which it runs."""

    def __init__(self, ancestor: _Ancestor, file: ControlFile) -> None:
        found = _attached(ancestor.fd, file)
        self.path = ancestor.path
        self.cgroup_id = os.fstat(ancestor.fd).st_ino
        self.flags = found.flags
        self._left = collections.Counter(program.id for program in found.programs)
        lines = () if ancestor.mirror is None else read_lines(ancestor.mirror / file.name)
        self._lines = iter(lines if len(lines) == self._left.total() else ())

    def holds(self, prog_id: int) -> bool:
        return self._left[prog_id] > 0

    def take(self, prog_id: int) -> str | None:
        self._left[prog_id] -= 1
        return next(self._lines, None)
