"""The life of one mirror: mount, serve, unmount.

Owns the order in which the parts are started and ended, the signals, and the word that the mount answers.
What the parts do is theirs: the mirror's (cgfs/mirror.py), the control files' (cgfs/operations.py).

Whatever ends it, umount(8), a signal or an error, no mount is left behind.
"""

import contextlib
import errno
import logging
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from cgfs import attributes, mountinfo, notes
from cgfs.attached import booted_at_s
from cgfs.changes import Changes, unprivileged_bpf
from cgfs.control import CONTROL_FILES, NONE
from cgfs.locks import LOCKS, LockAmongProcesses, number_of_mirror, number_of_place
from cgfs.mirror import Mirror, Untouched
from cgfs.mount_options import MountOptions
from cgfs.operations import Operations
from cgfs.store import default_store
from cgfs.unmount import unmount, unmount_by_force

log = logging.getLogger(__name__)

MS_RDONLY = 1  # mount(2)
_INITIAL_USER_NAMESPACE = 0xEFFFFFFD  # its inode number, PROC_USER_INIT_INO of include/linux/proc_ns.h
_PATIENCE_S = 2.0
"""How long a signal waits for the last user of the mount, before it ends the mount all the same."""
_PAUSE_S = 0.05
_LONGEST_END_S = 5.0
"""How long the connection may take to end with its mount, before a mount elsewhere is the reason that it does not."""
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_IDLE = (signal.SIGUSR1, signal.SIGUSR2)
"""At these other daemons open their logs anew; ours does so by itself. Its end would leave a dead mirror."""


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
    if Path("/proc/self/ns/user").stat().st_ino != _INITIAL_USER_NAMESPACE:
        raise OSError(errno.EPERM, "only root of the host can mount a mirror, not that of another user namespace")
    mountpoint = mountinfo.without_links(mountpoint)
    _remove_dead_mirror(mountpoint)
    if not mountpoint.is_dir():
        raise OSError(errno.ENOTDIR, f"the mount point has to be a directory that exists, and {mountpoint} is none")
    if source is None and mountinfo.is_cgroup2(mountpoint):
        words = f"{mountpoint} is cgroup2 itself, which the mirror would hide: name a directory elsewhere as MOUNTPOINT"
        raise OSError(errno.EINVAL, words)
    source = mountinfo.cgroup2_mount() if source is None else mountinfo.without_links(source)
    if not source.is_dir() or not mountinfo.is_cgroup2(source):
        words = f"the source has to be a directory of a cgroup2 mount, and {source} is none"
        with contextlib.suppress(OSError):
            words += f"; cgroup2 is mounted at {mountinfo.cgroup2_mount()}"
        raise OSError(errno.EINVAL, words)
    return Settings(source, mountpoint, options)


def _remove_dead_mirror(mountpoint: Path) -> None:
    """If there is one. Raises OSError: EBUSY if there is one that is not dead."""
    there = mountinfo.mount_at(mountpoint)
    if there is None or not there.is_mirror:
        return
    try:
        os.statvfs(mountpoint)  # what the kernel has in its cache it tells also of a dead mirror, but not this
    except OSError as error:
        if error.errno not in (errno.ENOTCONN, errno.ECONNABORTED):
            raise
        unmount(mountpoint, lazily=True)
    else:
        raise OSError(errno.EBUSY, f"{mountpoint} is a mirror already: `cgfs umount {mountpoint}` ends it")


def serve(settings: Settings, ready: Callable[[], None]) -> None:
    """Mount the mirror and serve it until its end, which is umount(8), SIGTERM, SIGINT or SIGHUP.

    *ready* is called once, when every request is answered; what comes earlier waits. Raises OSError where the
    mirror cannot be mounted or served.
    """
    os.chdir("/")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    happens: SimpleQueue[int | None] = SimpleQueue()  # a signal's number; None: the connection has ended
    with _signals(happens.put):
        _serve(settings, happens, ready)


@contextlib.contextmanager
def _signals(receive: Callable[[int], None]) -> Iterator[None]:
    """While the `with` block runs, *receive* is called for those that end it, and nothing else comes of signals."""
    hung_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN  # else: nohup(1)
    ending = [number for number in _ENDING if number is not signal.SIGHUP or hung_up]
    former = {number: signal.signal(number, lambda number, _: receive(number)) for number in ending}
    former |= {number: signal.signal(number, signal.SIG_IGN) for number in _IDLE}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _serve(settings: Settings, happens: SimpleQueue[int | None], ready: Callable[[], None]) -> None:
    attach_cap = settings.options.attach_cap
    with contextlib.ExitStack() as starting, _mounted(settings, starting) as (mirror, mount):
        changes = Changes(
            mirror,
            attach_cap=unprivileged_bpf if attach_cap is None else lambda: attach_cap,
            store=default_store(make=True),
        )
        with changes.looked_after():
            mirror.start(Operations(mirror, changes, ended=partial(happens.put, None)))
            _wait_for_an_answer(settings.mountpoint)
            starting.close()
            log.info("serving %s on %s", settings.source, settings.mountpoint)
            ready()
            number = happens.get()
            if number is not None:
                log.info("unmounting %s on %s", settings.mountpoint, signal.Signals(number).name)
                mirror.let_go()
                _end(mount, happens)
            mount.has_ended = True
            log.info("the mount at %s has ended", settings.mountpoint)


def _wait_for_an_answer(mountpoint: Path) -> None:
    """Have another process read a control file: a thread of ours that waited for ourselves could not be killed."""
    path = mountpoint / CONTROL_FILES[0].name
    done = subprocess.run(["cat", path], capture_output=True, check=False)
    if done.returncode != 0:
        raise OSError(errno.EIO, f"the mount does not answer: {done.stderr.decode(errors='replace').strip()}")


@contextlib.contextmanager
def _mounted(settings: Settings, starting: contextlib.ExitStack) -> Iterator[tuple[Mirror, "_OwnMount"]]:
    """Until *starting* is closed, no other daemon starts at that place."""
    options, locks = settings.options, LockAmongProcesses(LOCKS)
    starting.enter_context(locks.holding(number_of_place(settings.mountpoint)))
    _remove_dead_mirror(settings.mountpoint)  # what settings_of() saw may be old
    spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)  # that mountinfo can be read when no other can be had
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
    mount = _OwnMount(settings.mountpoint, mirror.device)
    try:
        locks.keep(number_of_mirror(mirror.device))
        yield mirror, mount
    finally:
        os.close(spare)
        if not mount.has_ended:
            mount.unmount_by_force()
        mirror.close()


class _OwnMount:
    """The mount of this daemon, wherever it is since it was mounted at *mountpoint*: others may have renamed a
    directory above, mounted something over it, or another mirror at the same place. *device* is what st_dev is on it.
    """

    def __init__(self, mountpoint: Path, device: int) -> None:
        self.mountpoint = mountpoint
        self._device = device
        self.has_ended = False
        """Its device number may be another's from then on."""

    def places(self) -> list[Path]:
        """Where it is, and nothing is mounted over it."""
        mounts = (mount for mount in mountinfo.mirrors() if mount.device == self._device)
        return [mount.mountpoint for mount in mounts if mountinfo.mount_at(mount.mountpoint) == mount]

    def unmount_by_force(self) -> None:
        for place in self.places():
            unmount_by_force(place)


def _end(mount: _OwnMount, happens: SimpleQueue[int | None]) -> None:
    """Unmount, and return when the connection has ended."""
    if not _unmount_when_unused(mount):
        log.warning("%s is in use: whoever uses it gets ENOTCONN from now on", mount.mountpoint)
        mount.unmount_by_force()
    try:
        while happens.get(timeout=_LONGEST_END_S) is not None:
            pass  # a signal more
    except Empty:
        log.warning("%s is also mounted elsewhere: whoever uses it there gets ENOTCONN from now on", mount.mountpoint)
        logging.shutdown()
        os._exit(0)  # closes /dev/fuse, and that ends the connection


def _unmount_when_unused(mount: _OwnMount) -> bool:
    """Unmount as soon as nobody uses the mount. False where somebody still did after _PATIENCE_S."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        for place in mount.places():
            with contextlib.suppress(OSError):
                unmount(place)
        if not mount.places():
            return True
        time.sleep(_PAUSE_S)
    return False
