"""What a control file looks like to stat, open, read, write and ioctl.

The mirror answers itself what it knows: what is still as it was said before, an open, that there are no extended
attributes, that an fsync succeeds, and nothing is made or removed. What is in a file is cgfs/attached.py's, and
changing that cgfs/changes.py's. The public ABI of the ioctl is native/include/cgfs.h.

st_size is the length of the content, for those who go by it.
"""

import errno
from collections.abc import Callable

from cgfs import attributes
from cgfs.abi import IOC_ATTACH, Attach
from cgfs.attached import observe
from cgfs.caller import Caller, Credentials
from cgfs.changes import Changes
from cgfs.control import parse
from cgfs.edge import Snapshot
from cgfs.mirror import Mirror
from cgfs.target import opened


class Operations:
    """The control files of *mirror*: a cgfs.edge.Control. *ended* is called when the mirror's connection has ended."""

    def __init__(self, mirror: Mirror, changes: Changes, ended: Callable[[], None]) -> None:
        self._mirror = mirror
        self._changes = changes
        self._ended = ended

    def snapshot(self, node: int) -> Snapshot:
        with opened(self._mirror, node) as target:
            owner = attributes.read(target.cgroup_fd, target.file)
            state = observe(target)
        changed_at_ns = state.changed_at_ns
        return Snapshot(
            uid=owner.uid,
            gid=owner.gid,
            mode=owner.mode,
            content=state.content,
            modified_ns=changed_at_ns,
            changed_ns=max(changed_at_ns, owner.changed_at_ns),
            lasting=state.lasting,
        )

    def setattr(self, node: int, caller: Caller, *, mode: int | None, uid: int | None, gid: int | None) -> None:
        self._changes.attributes(node, caller, mode=mode, uid=uid, gid=gid)

    def write(self, node: int, opener: Credentials, caller: Caller, data: bytes) -> None:
        """Each write is one command, wherever in the file."""
        try:
            command = parse(data)
        except OSError as error:
            self._changes.log_refused(node, opener, caller, data.decode("ascii", "replace"), error)
            raise
        self._changes.command(node, command, caller, opener)

    def ioctl(self, node: int, opener: Credentials | None, caller: Caller, command: int, data: bytes) -> None:
        if command != IOC_ATTACH:
            raise OSError(errno.ENOTTY, f"there is no ioctl {command:#x} on control files")
        if opener is None:
            raise OSError(errno.EBADF, "the file is not open for writing")
        try:
            wanted = Attach.unpack(data)
        except OSError as error:
            self._changes.log_refused(node, opener, caller, "attach", error)
            raise
        self._changes.attach(node, wanted, caller, opener)

    def ended(self) -> None:
        self._ended()
