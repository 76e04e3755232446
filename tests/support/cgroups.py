"""Real cgroups for tests: made on the cgroup2 mount, removed with the processes and cgroups in them.

Every cgroup of the tests has a name that begins with `cgfs-`, and nothing else is ever touched. Paths are
those of the cgroup2 mount itself, never the mirror's, unless a parameter says so.
Source: Documentation/admin-guide/cgroup-v2.rst (cgroup.kill, cgroup.events, cgroup.freeze).
"""

import contextlib
import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from tests.support.waiting import until

_serial = itertools.count()


def cgroup2_mount() -> Path:
    """Where the whole cgroup2 hierarchy is mounted: the first such line of /proc/self/mountinfo."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="ascii").splitlines():
        fields, _, rest = line.partition(" - ")
        root, mountpoint = fields.split()[3:5]
        if rest.split()[0] == "cgroup2" and root == "/":
            return Path(mountpoint.encode("ascii").decode("unicode_escape"))
    raise AssertionError("no cgroup2 mount in /proc/self/mountinfo: the tests need one")


@contextlib.contextmanager
def temporary_cgroup(parent: Path | None = None, name: str = "cgfs-test") -> Iterator[Path]:
    """A new, empty cgroup below *parent* (default: the root), removed afterwards with all that is in it."""
    base = cgroup2_mount() if parent is None else parent
    path = base / f"{name}-{os.getpid()}-{next(_serial)}"
    path.mkdir()
    try:
        yield path
    finally:
        remove_cgroup(path)


LONG_NAME = 250 * "x"


@contextlib.contextmanager
def deep_cgroups(path: Path) -> Iterator[int]:
    """Cgroups in each other in *path*, each LONG_NAME, so many that the kernel says the path of the last to nobody."""
    parents = [os.open(path, os.O_RDONLY)]
    for _ in range(18):
        os.mkdir(LONG_NAME, dir_fd=parents[-1])
        parents.append(os.open(LONG_NAME, os.O_RDONLY, dir_fd=parents[-1]))
    try:
        yield len(parents) - 1
    finally:
        os.close(parents.pop())
        while parents:
            os.rmdir(LONG_NAME, dir_fd=parents[-1])
            os.close(parents.pop())


def remove_cgroup(path: Path) -> None:
    """Kill the processes in and below *path*, wait until they are gone, and remove the cgroups, the deepest
    first.
    """
    if not path.exists():
        return
    kill_processes(path)
    for directory, _, _ in os.walk(path, topdown=False):
        rmdir_when_empty(Path(directory))


def kill_processes(path: Path) -> None:
    """Kill every process in and below *path* and wait until the kernel says that none is left."""
    for directory, _, _ in os.walk(path):
        assert 1 not in processes_or_threads(Path(directory)), f"the machine's first process is in {directory}"
    (path / "cgroup.kill").write_text("1")
    until(lambda: not is_populated(path), f"the killed processes of {path} are gone")


def rmdir_when_empty(path: Path) -> None:
    """rmdir, waiting while the kernel still counts an exiting process; a cgroup that is gone is fine."""

    def removed() -> bool:
        try:
            path.rmdir()
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False
        return True

    until(removed, f"{path} can be removed")


def is_populated(path: Path) -> bool:
    return "populated 1" in (path / "cgroup.events").read_text()


def is_frozen(path: Path) -> bool:
    return "frozen 1" in (path / "cgroup.events").read_text()


def processes(path: Path) -> list[int]:
    """The pids in *path*'s cgroup.procs."""
    return [int(line) for line in (path / "cgroup.procs").read_text().split()]


def processes_or_threads(path: Path) -> list[int]:
    """Who is in *path*, also where it is threaded and cgroup.procs cannot be read."""
    try:
        return processes(path)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return [int(line) for line in (path / "cgroup.threads").read_text().split()]


def cgroup_of(pid: int | None = None) -> str:
    """The cgroup2 path of *pid* (None: the caller) as /proc says it, in the caller's cgroup namespace."""
    who = "self" if pid is None else str(pid)
    for line in Path(f"/proc/{who}/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line[3:]
    raise AssertionError(f"process {who} is in no cgroup2 cgroup")


def cgroup_id(path: Path) -> int:
    """The cgroup's id: the inode number of its directory."""
    return path.stat().st_ino
