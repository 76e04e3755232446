"""What a control file looks like to stat, open, read, write and ioctl.

The mirror answers itself what it knows: what is still as it was said before, an open for reading, that there are no
extended attributes, that an fsync succeeds, and nothing is made or removed. What is in a file is cgfs/attached.py's,
and changing that cgfs/changes.py's. The public ABI of the ioctl is native/include/cgfs.h.

st_size is the length of the content, for those who go by it.
"""

import errno
from collections.abc import Callable
from typing import NamedTuple

from cgfs import attributes
from cgfs.abi import IOC_ATTACH, Attach
from cgfs.attached import observe
from cgfs.caller import Caller, Credentials
from cgfs.changes import Changes
from cgfs.control import parse
from cgfs.edge import Content, ControlAttributes
from cgfs.mirror import Mirror
from cgfs.target import opened


class OpenFile(NamedTuple):
    """A control file that is open for writing: who has opened it decides what may be done with it."""

    node: int
    opener: Credentials


class Operations:
    """The control files of *mirror*: a cgfs.edge.Control. *ended* is called when the mirror's connection has ended."""

    def __init__(self, mirror: Mirror, changes: Changes, ended: Callable[[], None]) -> None:
        self._mirror = mirror
        self._open_files: dict[int, OpenFile] = {}  # by file handle; those open for writing
        self._changes = changes
        self._ended = ended

    def getattr(self, node: int) -> ControlAttributes:
        with opened(self._mirror, node) as target:
            owner = attributes.read(target.cgroup_fd, target.file)
            state = observe(target)
        changed_at_ns = state.changed_at_ns
        return ControlAttributes(
            uid=owner.uid,
            gid=owner.gid,
            mode=owner.mode,
            size=len(state.content),
            modified_ns=changed_at_ns,
            changed_ns=max(changed_at_ns, owner.changed_at_ns),
            lasting=state.lasting,
        )

    def content(self, node: int) -> Content:
        with opened(self._mirror, node) as target:
            state = observe(target)
        return Content(state.content, state.lasting)

    def setattr(self, node: int, caller: Caller, *, mode: int | None, uid: int | None, gid: int | None) -> None:
        self._changes.attributes(node, caller.credentials(), mode=mode, uid=uid, gid=gid)

    def open(self, node: int, file_handle: int, caller: Caller) -> None:
        """Who opens the file decides, now, what may be done with it. O_TRUNC and O_APPEND mean nothing."""
        self._open_files[file_handle] = OpenFile(node, caller.credentials())

    def write(self, file_handle: int, data: bytes) -> None:
        """Each write is one command, wherever in the file."""
        file = self._file(file_handle)
        self._changes.command(file.node, parse(data), file.opener)

    def ioctl(self, file_handle: int, caller: Caller, command: int, data: bytes) -> None:
        if command != IOC_ATTACH:
            raise OSError(errno.ENOTTY, f"there is no ioctl {command:#x} on control files")
        file = self._file(file_handle)
        self._changes.attach(file.node, Attach.unpack(data), caller, file.opener)

    def release(self, file_handle: int) -> None:
        self._open_files.pop(file_handle, None)

    def ended(self) -> None:
        self._ended()

    def _file(self, file_handle: int) -> OpenFile:
        file = self._open_files.get(file_handle)
        if file is None:
            raise OSError(errno.EBADF, "the file is not open for writing")
        return file
