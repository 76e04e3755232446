"""`cgfs umount`: end a mirror."""

import errno
import os
import time
from pathlib import Path

import click

from cgfs import mountinfo
from cgfs.commands.arguments import PATH
from cgfs.locks import LOCKS, LockAmongProcesses, number_of_mirror
from cgfs.unmount import unmount

_LONGEST_S = 1.0
_PAUSE_S = 0.01


@click.command("umount", short_help="Unmount a mirror.")
@click.argument("mountpoint", type=PATH)
@click.option("-l", "--lazy", is_flag=True, help="Hide it now; its last user ends it.")
def command(mountpoint: Path, lazy: bool) -> None:
    """Unmount the mirror at MOUNTPOINT; its daemon ends by itself. The filters stay in force."""
    path = mountinfo.without_links(mountpoint)
    there = mountinfo.mount_at(path)
    if there is None or not there.is_mirror:
        mirrors = ", ".join(str(mirror.mountpoint) for mirror in mountinfo.mirrors())
        raise OSError(
            errno.EINVAL, f"{path} is no mirror; " + (f"these are: {mirrors}" if mirrors else "there is none")
        )
    locks = LockAmongProcesses(LOCKS) if os.geteuid() == 0 else None
    try:
        unmount(path, lazily=lazy)
    except OSError as error:
        if error.errno == errno.EBUSY:
            advice = f"`fuser -vm {path}` says by whom; end that, or hide the mirror with --lazy"
            raise OSError(errno.EBUSY, f"{path} is in use: {advice}") from error
        if error.errno == errno.EPERM:
            raise OSError(errno.EPERM, "only root can unmount a mirror: try it with sudo") from error
        raise
    if locks is not None and not lazy and all(mirror.device != there.device for mirror in mountinfo.mirrors()):
        _wait_for_daemon(locks, number_of_mirror(there.device))


def _wait_for_daemon(locks: LockAmongProcesses, number: int) -> None:
    """Until it has let go what it has open of cgroup2, but not for long: other mount namespaces may have the mirror."""
    deadline = time.monotonic() + _LONGEST_S
    while locks.is_held(number) and time.monotonic() < deadline:
        time.sleep(_PAUSE_S)
