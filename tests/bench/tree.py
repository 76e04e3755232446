"""What the benchmark makes on the machine beside its mounts, and removes again: a tree of cgroups, a directory.

Sources: cgroups(7); all names begin with `cgfs-`.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cgfs.mountinfo import mounts
from tests.bench.stopping import check
from tests.support.cgroups import remove_cgroup


@contextlib.contextmanager
def tree(cgroup2: Path, children: int) -> Iterator[Path]:
    """A cgroup below *cgroup2* with *children* cgroups `cgfs-0`, `cgfs-1`, ... in it, removed at the end."""
    root = cgroup2 / f"cgfs-bench-{os.getpid()}"
    root.mkdir()
    try:
        for number in range(children):
            check()
            (root / f"cgfs-{number}").mkdir()
        yield root
    finally:
        remove_cgroup(root)


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory for mount points, built programs and what compilers leave behind when they are killed (TMPDIR).

    It is removed if no mount is left in it, and only then: removing goes on below mounts.
    """
    path = Path(tempfile.mkdtemp(prefix="cgfs-bench-")).resolve()
    os.environ["TMPDIR"] = str(path)
    try:
        yield path
    finally:
        left = [mount.mountpoint for mount in mounts() if mount.mountpoint.is_relative_to(path)]
        if left:
            raise OSError(f"still mounted, {path} is left: {', '.join(map(str, left))}")
        shutil.rmtree(path)


def drop_caches() -> None:
    """Drop the kernel's dentries and inodes, cgroup2's and the mirrors' alike, as far as nobody uses them.

    The mirrors' servers are told to forget them, which they do by and by.
    Source: Documentation/admin-guide/sysctl/vm.rst; FUSE_FORGET in fuse(4).
    """
    Path("/proc/sys/vm/drop_caches").write_text("2\n")
