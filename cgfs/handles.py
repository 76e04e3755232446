"""Control files as requests name them: by node id and by file handle.

A node id leads to the cgroup's directory, which is opened for each request and closed after it: nothing is held per
cgroup. What is kept per open file is who opened it, since that decides what may be done with it, and what its reader
has begun to read.
"""

import contextlib
import errno
import itertools
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
    """*opener* is None for a file that is open for reading only, opened by the mirror. *snapshot* is what its reader is
    reading.
    """

    node: int
    opener: Credentials | None
    snapshot: Snapshot | None = None


class OpenFiles:
    """The open control files by their file handle. A handle is never used again."""

    def __init__(self) -> None:
        self._files: dict[int, OpenFile] = {}
        self._handles = itertools.count(1)
        self._snapshots: WeakValueDictionary[bytes, Snapshot] = WeakValueDictionary()

    def add(self, file: OpenFile) -> int:
        handle = next(self._handles)
        self._files[handle] = file
        return handle

    def snapshot(self, content: bytes) -> Snapshot:
        """The one for all who are reading this content: however many they are, it costs its memory once."""
        found = self._snapshots.get(content)
        if found is None:
            found = self._snapshots[content] = Snapshot(content)
        return found

    def get(self, handle: int) -> OpenFile:
        """Raises OSError: EBADF if no such file is open."""
        try:
            return self._files[handle]
        except KeyError:
            raise OSError(errno.EBADF, f"no control file is open with handle {handle}") from None

    def readable(self, handle: int, mirror: Mirror) -> OpenFile:
        """As `get`; a file that *mirror* has opened for reading is known from its first read here on."""
        if handle not in self._files:
            node = mirror.reader_node(handle)
            if node:
                self._files[handle] = OpenFile(node, None)
        return self.get(handle)

    def remove(self, handle: int) -> None:
        self._files.pop(handle, None)
