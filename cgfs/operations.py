"""What a control file looks like to stat, open, read, write and ioctl.

The mirror answers itself what it knows: files that nobody has touched, an open for reading, that there are no extended
attributes, that an fsync succeeds, and nothing is made or removed. What is in a file is cgfs/attached.py's, and
changing that cgfs/changes.py's. The public ABI of the ioctl is native/include/cgfs.h.

A read at offset 0 asks the kernel; reads behind it go on in the same content. So each reader sees one state whole, also
while it changes. st_size is the length of the content, for those who go by it, and nothing is cached.
"""

import errno
from collections.abc import Callable

from cgfs import attributes
from cgfs.abi import IOC_ATTACH, Attach
from cgfs.attached import observe
from cgfs.caller import Caller, Credentials
from cgfs.changes import Changes
from cgfs.control import parse
from cgfs.edge import ControlAttributes
from cgfs.handles import OpenFile, OpenFiles, opened
from cgfs.mirror import Mirror


class Operations:
    """The control files of *mirror*: a cgfs.edge.Control. *ended* is called when the mirror's connection has ended."""

    def __init__(self, mirror: Mirror, changes: Changes, ended: Callable[[], None]) -> None:
        self._mirror = mirror
        self._open_files = OpenFiles()
        self._changes = changes
        self._ended = ended

    def getattr(self, node: int) -> ControlAttributes:
        with opened(self._mirror, node) as target:
            owner = attributes.read(target.cgroup_fd, target.cgroup_id, target.file)
            state = observe(target)
        changed_at_ns = state.changed_at_ns
        return ControlAttributes(
            uid=owner.uid,
            gid=owner.gid,
            mode=owner.mode,
            size=len(state.content),
            modified_ns=changed_at_ns,
            changed_ns=max(changed_at_ns, owner.changed_at_ns),
        )

    def setattr(self, node: int, caller: Caller, *, mode: int | None, uid: int | None, gid: int | None) -> None:
        self._changes.attributes(node, caller.credentials(), mode=mode, uid=uid, gid=gid)

    def open(self, node: int, file_handle: int, caller: Caller) -> None:
        """Who opens the file decides, now, what may be done with it. O_TRUNC and O_APPEND mean nothing."""
        self._open_files.add(file_handle, OpenFile(node, caller.credentials()))

    def read(self, node: int, file_handle: int, offset: int, size: int) -> bytes:
        file = self._open_files.readable(file_handle, node)
        snapshot = file.snapshot
        if offset == 0 or snapshot is None:
            with opened(self._mirror, node) as target:
                snapshot = file.snapshot = self._open_files.snapshot(observe(target).content)
        return snapshot.content[offset : offset + size]

    def write(self, file_handle: int, data: bytes) -> None:
        """Each write is one command, wherever in the file."""
        file, opener = self._writable(file_handle)
        self._changes.command(file.node, parse(data), opener)

    def ioctl(self, file_handle: int, caller: Caller, command: int, data: bytes) -> None:
        if command != IOC_ATTACH:
            raise OSError(errno.ENOTTY, f"there is no ioctl {command:#x} on control files")
        file, opener = self._writable(file_handle)
        self._changes.attach(file.node, Attach.unpack(data), caller, opener)

    def release(self, file_handle: int) -> None:
        self._open_files.remove(file_handle)

    def ended(self) -> None:
        self._ended()

    def _writable(self, file_handle: int) -> tuple[OpenFile, Credentials]:
        file = self._open_files.get(file_handle)
        if file is None or file.opener is None:
            raise OSError(errno.EBADF, "the file is not open for writing")
        return file, file.opener
