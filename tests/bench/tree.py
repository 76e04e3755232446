"""The tree of cgroups that the benchmark makes, and removes again.

Sources: cgroups(7); all names begin with `cgfs-`.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def tree(cgroup2: Path, children: int) -> Iterator[Path]:
    """A cgroup below *cgroup2* with *children* cgroups `cgfs-0`, `cgfs-1`, ... in it, removed at the end."""
    root = cgroup2 / f"cgfs-bench-{os.getpid()}"
    root.mkdir()
    try:
        for number in range(children):
            (root / f"cgfs-{number}").mkdir()
        yield root
    finally:
        for child in root.iterdir():
            if child.is_dir():
                child.rmdir()
        root.rmdir()


def drop_caches() -> None:
    """Drop the kernel's dentries and inodes, as far as nobody uses them (Documentation/admin-guide/sysctl/vm.rst)."""
    Path("/proc/sys/vm/drop_caches").write_text("2\n")
