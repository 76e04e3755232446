"""Directories that every user can reach: pytest's own are for root only, and each new run makes them so again.

They are below one directory for the test run, which is removed at its end.
"""

import functools
import itertools
import shutil
import tempfile
from pathlib import Path

_serial = itertools.count()


@functools.cache
def _of_this_run() -> Path:
    path = Path(tempfile.mkdtemp(prefix="cgfs-test-")).resolve()
    path.chmod(0o755)
    return path


def public_directory() -> Path:
    """A new, empty directory."""
    path = _of_this_run() / str(next(_serial))
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    return path


def remove_public_directories() -> None:
    """At the end of the run; what a mount is in is left alone: removing goes on below mounts."""
    if not _of_this_run.cache_info().currsize:
        return
    top = _of_this_run()
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    if not any(Path(mount).is_relative_to(top) for mount in mounts):
        shutil.rmtree(top)
