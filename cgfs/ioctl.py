"""The ioctl on control files: takes requests from the mirror's queue, and answers each.

Owns the decision which errno answers what is wrong with a request; the public ABI is native/include/cgfs.h. Each
request is a task of its own, so a slow one holds up no other. Its caller waits in the kernel until it is answered, also
when it was killed: so its thread id is nobody else's, and what is open in it can be taken.
"""

import errno
import logging
from collections.abc import Callable
from functools import partial

import trio

from cgfs.abi import IOC_ATTACH, Attach
from cgfs.caller import Caller
from cgfs.changes import Changes
from cgfs.handles import OpenFiles
from cgfs.mirror import ControlIoctl, Mirror

log = logging.getLogger(__name__)


async def serve(mirror: Mirror, open_files: OpenFiles, changes: Changes) -> None:
    """Answer every ioctl until the connection has ended."""
    async with trio.open_nursery() as nursery:
        while True:
            await trio.lowlevel.wait_readable(mirror.ioctl_fd)
            try:
                request = mirror.next_ioctl()
            except OSError as error:
                if error.errno != errno.ENODEV:
                    raise
                return
            if request is not None:
                nursery.start_soon(_answer, mirror, open_files, changes, request)


async def _answer(mirror: Mirror, open_files: OpenFiles, changes: Changes, request: ControlIoctl) -> None:
    number = await _outcome(open_files, changes, request, partial(mirror.answer, request.unique, 0))
    if number:
        mirror.answer(request.unique, number)


async def _outcome(open_files: OpenFiles, changes: Changes, request: ControlIoctl, succeed: Callable[[], None]) -> int:
    """The errno that answers *request*; 0 for success, which *succeed* has answered then."""
    try:
        await _perform(open_files, changes, request, succeed)
    except OSError as error:
        return error.errno or errno.EIO
    except Exception:
        log.exception("ioctl %#x on a control file", request.command)
        return errno.EIO
    return 0


async def _perform(open_files: OpenFiles, changes: Changes, request: ControlIoctl, succeed: Callable[[], None]) -> None:
    if request.command != IOC_ATTACH:
        raise OSError(errno.ENOTTY, f"there is no ioctl {request.command:#x} on control files")
    file = open_files.get(request.file_handle)
    if file.opener is None:
        raise OSError(errno.EBADF, "the file is not open for writing")
    caller = Caller(request.tid, request.uid, request.gid)
    await changes.attach(request.node, Attach.unpack(request.data), caller, file.opener, succeed)
