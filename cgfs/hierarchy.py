"""Which cgroup a path stands for, and what is attached there and below: the questions of `cgfs show` and `cgfs tree`.

Owns the way from a path on a mirror to the cgroup behind it, and the walk over cgroups. Reads only. A cgroup that
vanishes meanwhile is left out. What is in force is cgfs/effective.py's.
"""

import contextlib
import errno
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cgfs import mountinfo
from cgfs.control import CONTROL_FILES, ControlFile
from cgfs.effective import InForce, ancestors, in_force
from cgfs.errors import GONE

log = logging.getLogger(__name__)

TOLD_TO_ROOT = "what is in force from above is told to root only"

_DEAD = (errno.ENOTCONN, errno.ECONNABORTED)


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
    try:
        found = Path(os.path.realpath(path))
    except FileNotFoundError as error:
        words = "the current directory is gone: its cgroup was removed, or its mirror unmounted"
        raise OSError(error.errno, words, str(path)) from error
    try:
        on_mirror = mountinfo.is_on_mirror(found)
        os.statvfs(found)  # what the kernel has in its cache it tells also of a dead mirror, but not this
    except FileNotFoundError as error:
        there = _shown_at_by_name(found)
        elsewhere = f"; on a mirror that is {_or(there)}" if there else ""
        raise OSError(error.errno, f"{error.strerror}{elsewhere}", str(path)) from error
    except OSError as error:
        if error.errno not in _DEAD:
            raise
        words = "the daemon of this mirror has ended: `cgfs mount` starts another"
        raise OSError(error.errno, words, str(path)) from error
    if not on_mirror:
        raise OSError(errno.EINVAL, f"{path} is on no mirror: {_advice(found if found.is_dir() else found.parent)}")
    if not found.is_dir():
        raise OSError(errno.ENOTDIR, f"{path} is no cgroup: name its directory, {found.parent}")
    return found


def shown_at(path: Path) -> Path:
    """Where a mirror that answers shows the cgroup that /proc/PID/cgroup calls *path*. Raises OSError."""
    for place in _shown_at_by_name(path):
        with contextlib.suppress(OSError):
            found = cgroup_at(place)
            if found.stat().st_ino == (mountinfo.cgroup2_mount() / path.relative_to("/")).stat().st_ino:
                return found
    raise OSError(errno.ENOENT, "no mirror shows this cgroup: `cgfs mount DIR` mounts one that does", str(path))


def only_mirror() -> Path:
    """The mirror that is mounted. Raises OSError: ENOENT where there is none, EINVAL where there are more."""
    found = sorted({mirror.mountpoint for mirror in mountinfo.mirrors()})
    if not found:
        raise OSError(errno.ENOENT, "no mirror is mounted: `cgfs mount DIR` mounts one")
    if len(found) > 1:
        raise OSError(errno.EINVAL, f"there are several mirrors, name one: {', '.join(map(str, found))}")
    return found[0]


def read_lines(path: Path) -> tuple[str, ...]:
    """The lines of the control file *path*. Raises OSError."""
    return tuple(path.read_text(encoding="utf-8", errors="surrogateescape").splitlines())


def filters_of(cgroup: Path) -> list[Filters]:
    """What is attached to *cgroup* (a directory of a mirror) and what is in force there, file by file."""
    lines = {file: read_lines(cgroup / file.name) for file in CONTROL_FILES}
    try:
        with ancestors(cgroup) as chain:
            return [Filters(file, lines[file], tuple(in_force(chain, file))) for file in CONTROL_FILES]
    except PermissionError:
        return [Filters(file, lines[file], None) for file in CONTROL_FILES]


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
    there = _shown_at(path)
    if there:
        return f"the same cgroup on a mirror is {_or(there)}"
    return f"name a directory of {_or(mirror.mountpoint for mirror in mirrors)}"


def _shown_at(native: Path) -> list[Path]:
    """Where mirrors show the cgroup at *native* on cgroup2. No mirror is asked: one may not answer."""
    with contextlib.suppress(OSError):
        if mountinfo.is_cgroup2(native):
            shown = ((Path(f"{mirror.source}{mirror.root}"), mirror.mountpoint) for mirror in mountinfo.mirrors())
            return [place / native.relative_to(source) for source, place in shown if native.is_relative_to(source)]
    return []


def _shown_at_by_name(path: Path) -> list[Path]:
    """The same for the cgroup that /proc/PID/cgroup calls *path*."""
    with contextlib.suppress(OSError):
        return _shown_at(mountinfo.cgroup2_mount() / path.relative_to("/"))
    return []


def _or(places: Iterable[Path]) -> str:
    return " or ".join(map(str, places))
