"""Control files as requests name them: by node id and by file handle.

A node id leads to the cgroup's directory, which is opened for each request and closed after it: nothing is held per
cgroup. What is kept per open file is who opened it, since that decides what may be done with it, and what its reader
has begun to read.
"""

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakValueDictionary

from cgfs.attached import Target
from cgfs.caller import Credentials
from cgfs.cgroup import open_cgroup
from cgfs.control import CONTROL_FILES
from cgfs.mirror import ROOT_NODE, Mirror, split_control_node


@contextlib.contextmanager
def opened(mirror: Mirror, node: int) -> Iterator[Target]:
    """The control file with that node id, its cgroup's directory open in the `with` block.

    Raises OSError: ENODEV if the cgroup is gone.
    """
    directory, index = split_control_node(node)
    cgroup_id = mirror.source_id if directory == ROOT_NODE else directory
    try:
        descriptor = open_cgroup(mirror.mount_fd, cgroup_id)
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        raise OSError(errno.ENODEV, f"{CONTROL_FILES[index].name}: the cgroup has been removed") from None
    with descriptor:
        yield Target(descriptor.fd, cgroup_id, CONTROL_FILES[index])


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Snapshot:
    """A content that somebody is reading."""

    content: bytes


@dataclass(slots=True)
class OpenFile:
    """*opener* is None for a file that is open for reading only. *snapshot* is what its reader is reading."""

    node: int
    opener: Credentials | None
    snapshot: Snapshot | None = None


class OpenFiles:
    """The open control files by their file handle, as far as anything has to be known of them."""

    def __init__(self) -> None:
        self._files: dict[int, OpenFile] = {}
        self._snapshots: WeakValueDictionary[bytes, Snapshot] = WeakValueDictionary()

    def add(self, handle: int, file: OpenFile) -> None:
        self._files[handle] = file

    def get(self, handle: int) -> OpenFile | None:
        return self._files.get(handle)

    def readable(self, handle: int, node: int) -> OpenFile:
        """The open file; one that is open for reading only is known from here on. It is open on *node*."""
        return self._files.get(handle) or self._files.setdefault(handle, OpenFile(node, None))

    def remove(self, handle: int) -> None:
        self._files.pop(handle, None)

    def snapshot(self, content: bytes) -> Snapshot:
        """The one for all who are reading this content: however many they are, it costs its memory once."""
        found = self._snapshots.get(content)
        if found is None:
            found = self._snapshots[content] = Snapshot(content)
        return found
