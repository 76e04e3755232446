"""`cgfs umount`: end a mirror."""

import errno
from pathlib import Path

import click

from cgfs import mountinfo
from cgfs.commands.arguments import PATH
from cgfs.unmount import unmount


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
    try:
        unmount(path, lazily=lazy)
    except OSError as error:
        if error.errno == errno.EBUSY:
            advice = f"`fuser -vm {path}` says by whom; end that, or hide the mirror with --lazy"
            raise OSError(errno.EBUSY, f"{path} is in use: {advice}") from error
        if error.errno == errno.EPERM:
            raise OSError(errno.EPERM, "only root can unmount a mirror: try it with sudo") from error
        raise
