"""Files that a power cut leaves old or new, never half.

Owns the order of write, fsync, rename and fsync of the directory; knows nothing of what is written.
Source: fsync(2), rename(2); the directory has to be synced too for the name to last (ext4, xfs, btrfs).
"""

import contextlib
import os
import tempfile
from pathlib import Path


def write_file(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Put *content* at *path* in one step, with permission bits *mode*. Raises OSError: what the file system says."""
    descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync_directory(path.parent)


def remove_file(path: Path) -> None:
    """Remove *path* for good. Raises OSError: ENOENT where it is not there."""
    path.unlink()
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in directory *path* last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
