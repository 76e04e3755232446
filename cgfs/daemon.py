"""The life of one mirror: mount, serve, unmount.

Owns the order in which the parts are started and ended, the signals, and the word that the mount answers.
What the parts do is theirs: the mirror's (cgfs/mirror.py), the control files' (cgfs/operations.py,
cgfs/ioctl.py).

Whatever ends it, umount(8), a signal or an error, no mount is left behind.
"""

import contextlib
import errno
import logging
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyfuse3
import trio

from cgfs import attributes, ioctl, mountinfo, notes
from cgfs.attached import booted_at_s
from cgfs.changes import Changes, unprivileged_bpf
from cgfs.control import CONTROL_FILES, NONE
from cgfs.handles import OpenFiles
from cgfs.mirror import Mirror, Untouched
from cgfs.mount_options import MountOptions
from cgfs.operations import Operations
from cgfs.store import default_store
from cgfs.unmount import unmount, unmount_by_force

log = logging.getLogger(__name__)

MS_RDONLY = 1  # mount(2)
_PATIENCE_S = 2.0
"""How long a signal waits for the last user of the mount, before it ends the mount all the same."""
_PAUSE_S = 0.05
_LONGEST_END_S = 5.0
"""How long the connection may take to end with its mount, before a mount elsewhere is the reason that it does not."""
_REQUESTS = 1 << 20
"""Of control files at a time: each waits for itself, and must not keep others from being read."""
_IDLE_TASKS = 16
"""Of pyfuse3's, that stay for the next requests. Each has a buffer for the largest one: to get it and to free it costs
more than to answer a request.
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What one daemon serves: both paths absolute and without symbolic links."""

    source: Path
    mountpoint: Path
    options: MountOptions


def settings_of(mountpoint: Path, source: Path | None, options: MountOptions) -> Settings:
    """What is to be served; *source* None is all of cgroup2. Refuses what cannot work, in words that say what would.

    A mirror whose daemon has died is removed from the mount point, so that a daemon can simply be started again.
    Raises OSError.
    """
    if os.geteuid() != 0:
        raise OSError(errno.EPERM, "only root can mount a mirror: try it with sudo")
    mountpoint = mountinfo.without_links(mountpoint)
    there = mountinfo.mount_at(mountpoint)
    if there is not None and there.is_mirror:
        _remove_dead_mirror(mountpoint)
    source = mountinfo.cgroup2_mount() if source is None else mountinfo.without_links(source)
    if not mountpoint.is_dir():
        raise OSError(errno.ENOTDIR, f"the mount point has to be a directory that exists, and {mountpoint} is none")
    if not source.is_dir() or not mountinfo.is_cgroup2(source):
        raise OSError(errno.EINVAL, f"the source has to be a directory of a cgroup2 mount, and {source} is none")
    return Settings(source, mountpoint, options)


def _remove_dead_mirror(mountpoint: Path) -> None:
    try:
        os.statvfs(mountpoint)  # what the kernel has in its cache it tells also of a dead mirror, but not this
    except OSError as error:
        if error.errno not in (errno.ENOTCONN, errno.ECONNABORTED):
            raise
        unmount(mountpoint, lazily=True)
    else:
        raise OSError(errno.EBUSY, f"{mountpoint} is a mirror already: `cgfs umount {mountpoint}` ends it")


def serve(settings: Settings, ready: Callable[[], None]) -> None:
    """Mount the mirror and serve it until its end, which is umount(8), SIGTERM or SIGINT.

    *ready* is called once, when every request is answered; what comes earlier waits. Raises OSError where the
    mirror cannot be mounted or served.
    """
    os.chdir("/")
    os.umask(0o077)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        trio.run(_serve, settings, ready)
    except BaseExceptionGroup as group:
        raise _first_of(group) from group


async def _serve(settings: Settings, ready: Callable[[], None]) -> None:
    with (
        trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals,
        _mounted(settings) as mirror,
        _control_files(mirror, settings.options) as (open_files, changes),
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_unmount_on_signal, signals, mirror, settings.mountpoint)
            nursery.start_soon(partial(pyfuse3.main, min_tasks=_IDLE_TASKS, max_tasks=_REQUESTS))
            await trio.to_thread.run_sync(mirror.start)
            await _wait_for_an_answer(settings.mountpoint)
            log.info("serving %s on %s", settings.source, settings.mountpoint)
            ready()
            nursery.start_soon(changes.tell_for_ever)
            nursery.start_soon(changes.sweep_for_ever)
            await ioctl.serve(mirror, open_files, changes)  # until the connection has ended
            nursery.cancel_scope.cancel()


async def _wait_for_an_answer(mountpoint: Path) -> None:
    """Have another process read a control file: a thread of ours that waited for ourselves could not be killed."""
    path = mountpoint / CONTROL_FILES[0].name
    done = await trio.run_process(["cat", path], capture_stdout=True, capture_stderr=True, check=False)
    if done.returncode != 0:
        raise OSError(errno.EIO, f"the mount does not answer: {done.stderr.decode(errors='replace').strip()}")


@contextlib.contextmanager
def _mounted(settings: Settings) -> Iterator[Mirror]:
    options = settings.options
    mirror = Mirror(
        settings.source,
        settings.mountpoint,
        control_names=[file.name for file in CONTROL_FILES],
        control_attach_types=[file.attach_type for file in CONTROL_FILES],
        untouched=Untouched(
            content=NONE,
            note_names=[(notes.attribute(file), attributes.attribute(file)) for file in CONTROL_FILES],
            mode=attributes.MODE,
            time_s=booted_at_s(),
        ),
        fsname=str(settings.source),
        allow_other=options.allow_other,
        passthrough=options.passthrough,
        mount_flags=MS_RDONLY if options.read_only else 0,
    )
    ours = mountinfo.mount_at(settings.mountpoint)
    try:
        yield mirror
    finally:
        if ours is not None and mountinfo.mount_at(settings.mountpoint) == ours:
            unmount_by_force(settings.mountpoint)
        mirror.close()


@contextlib.contextmanager
def _control_files(mirror: Mirror, options: MountOptions) -> Iterator[tuple[OpenFiles, Changes]]:
    """pyfuse3 at the relay's other end: it takes a descriptor for a mount point, and closes it."""
    attach_cap = unprivileged_bpf() if options.attach_cap is None else options.attach_cap
    open_files, changes = OpenFiles(), Changes(mirror, attach_cap=attach_cap, store=default_store(make=True))
    operations = Operations(mirror, open_files, changes)
    pyfuse3.init(operations, f"/dev/fd/{os.dup(mirror.relay_fd)}", options=set())
    try:
        yield open_files, changes
    finally:
        pyfuse3.close(unmount=False)


async def _unmount_on_signal(signals: AsyncIterator[int], mirror: Mirror, mountpoint: Path) -> None:
    """The connection ends with the mount, and with the connection everything else."""
    number = await anext(aiter(signals))
    log.info("unmounting %s on %s", mountpoint, signal.Signals(number).name)
    await trio.to_thread.run_sync(mirror.let_go)
    if not await _unmount_when_unused(mountpoint):
        log.warning("%s is in use: whoever uses it gets ENOTCONN from now on", mountpoint)
        await trio.to_thread.run_sync(unmount_by_force, mountpoint)
    await trio.sleep(_LONGEST_END_S)
    log.warning("%s is also mounted elsewhere: whoever uses it there gets ENOTCONN from now on", mountpoint)
    logging.shutdown()
    os._exit(0)  # closes /dev/fuse, and that ends the connection


async def _unmount_when_unused(mountpoint: Path) -> bool:
    """Unmount as soon as nobody uses the mount. False where somebody still did after _PATIENCE_S."""
    with trio.move_on_after(_PATIENCE_S):
        while True:
            try:
                await trio.to_thread.run_sync(unmount, mountpoint)
                return True
            except OSError as error:
                if error.errno != errno.EBUSY:
                    return True  # unmounted by somebody else
            await trio.sleep(_PAUSE_S)
    return False


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first
