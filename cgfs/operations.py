"""pyfuse3's handlers for control files: the only place that raises FUSEError.

The mirror sends what concerns control files, and answers itself what it knows: files that nobody has touched, an open
for reading, that there are no extended attributes, that an fsync succeeds, and nothing is made or removed. Owns what a
control file looks like to stat, open, read and write. What is in it is cgfs/attached.py's, and changing that
cgfs/changes.py's.

A read at offset 0 asks the kernel; reads behind it go on in the same content. So each reader sees one state whole, also
while it changes. st_size is the length of the content, for those who go by it, and nothing is cached.
"""

import errno
import logging
import stat
from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import pyfuse3
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, RequestContext, SetattrFields

from cgfs import attributes
from cgfs.attached import State, observe
from cgfs.attributes import Attributes
from cgfs.caller import Caller
from cgfs.changes import Changes
from cgfs.control import CONTROL_FILES, index_of, parse
from cgfs.handles import OpenFile, OpenFiles, opened
from cgfs.mirror import Mirror, control_node
from cgfs.threads import in_thread

log = logging.getLogger(__name__)

_NAME_VALID_S = 86400
"""A control file is there as long as its directory, and goes with it."""
_HIGHEST_ERRNO = 511  # what fuse_reply_err() of libfuse takes

P = ParamSpec("P")
T = TypeVar("T")
Handler = Callable[Concatenate["Operations", P], Coroutine[Any, Any, T]]


def at_the_edge(handler: Handler[P, T]) -> Handler[P, T]:
    """Turns what a handler raises into what pyfuse3 takes; any other exception would end the mount."""

    @wraps(handler)
    async def handle(self: "Operations", /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await handler(self, *args, **kwargs)
        except OSError as error:
            number = error.errno or errno.EIO
            raise FUSEError(number if 0 < number <= _HIGHEST_ERRNO else errno.EIO) from error
        except Exception as error:
            log.exception("%s of a control file", handler.__name__)
            raise FUSEError(errno.EIO) from error

    return handle


class Operations(pyfuse3.Operations):
    """The control files of *mirror*."""

    supports_dot_lookup = False

    def __init__(self, mirror: Mirror, open_files: OpenFiles, changes: Changes) -> None:
        super().__init__()
        self._mirror = mirror
        self._open_files = open_files
        self._changes = changes

    @at_the_edge
    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        for file in CONTROL_FILES:
            if file.name.encode() == name:
                return await self._attributes(control_node(parent_inode, index_of(file)), ctx)
        raise OSError(errno.ENOENT, f"{name!r} is no control file")

    @at_the_edge
    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        return await self._attributes(inode, ctx)

    @at_the_edge
    async def setattr(
        self, inode: int, attr: EntryAttributes, fields: SetattrFields, fh: int | None, ctx: RequestContext
    ) -> EntryAttributes:
        """Owner, group and mode. A new size or time is accepted and means nothing, as cgroup2 does with sizes."""
        if fields.update_mode or fields.update_uid or fields.update_gid:
            await self._changes.attributes(
                inode,
                Caller(ctx.pid, ctx.uid, ctx.gid).credentials(),
                mode=attr.st_mode if fields.update_mode else None,
                uid=attr.st_uid if fields.update_uid else None,
                gid=attr.st_gid if fields.update_gid else None,
            )
        return await self._attributes(inode, ctx)

    @at_the_edge
    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        """For writing: who opens the file decides, now, what may be done with it. O_TRUNC and O_APPEND mean nothing."""
        opener = Caller(ctx.pid, ctx.uid, ctx.gid).credentials()
        return FileInfo(fh=self._open_files.add(OpenFile(inode, opener)), direct_io=True)

    @at_the_edge
    async def read(self, fh: int, off: int, size: int) -> bytes:
        file = self._open_files.readable(fh, self._mirror)
        if off == 0 or file.snapshot is None:
            with opened(self._mirror, file.node) as target:
                file.snapshot = self._open_files.snapshot(observe(target).content)
        return file.snapshot.content[off : off + size]

    @at_the_edge
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Each write is one command, wherever in the file."""
        file = self._open_files.get(fh)
        if file.opener is None:
            raise OSError(errno.EBADF, "the file is not open for writing")
        await self._changes.command(file.node, parse(buf), file.opener)
        return len(buf)

    @at_the_edge
    async def release(self, fh: int) -> None:
        self._open_files.remove(fh)

    async def _attributes(self, node: int, ctx: RequestContext) -> EntryAttributes:
        try:
            try:
                return self._entry(node, wait=False)
            except BlockingIOError:
                return await in_thread(ctx.uid, partial(self._entry, node, wait=True))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            # The kernel looks the path up again, and finds that it is not there.
            raise OSError(errno.ESTALE, error.strerror) from error

    def _entry(self, node: int, *, wait: bool) -> EntryAttributes:
        """Raises OSError: EAGAIN if it would take long and must not *wait*."""
        with opened(self._mirror, node) as target:
            owner = attributes.read(target.cgroup_fd, target.cgroup_id, target.file, wait=wait)
            state = observe(target)
        return _entry(node, owner, state)


def _entry(node: int, owner: Attributes, state: State) -> EntryAttributes:
    entry = EntryAttributes()
    entry.st_ino = node
    entry.entry_timeout = _NAME_VALID_S
    entry.attr_timeout = 0
    entry.st_mode = stat.S_IFREG | owner.mode
    entry.st_nlink = 1
    entry.st_uid, entry.st_gid = owner.uid, owner.gid
    entry.st_size = len(state.content)
    entry.st_blksize = 4096
    entry.st_atime_ns = entry.st_mtime_ns = state.changed_at_ns
    entry.st_ctime_ns = max(state.changed_at_ns, owner.changed_at_ns)
    return entry
