"""What is mounted where, as /proc/self/mountinfo says.

Owns the reading of that file and the questions cgfs has to it: where is cgroup2, which mounts are mirrors.
Changes nothing and opens nothing but that file. Source: proc_pid_mountinfo(5); seq_path() escapes space, tab,
newline and backslash as \\ooo.
"""

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

MIRROR_FSTYPE = "fuse.cgfs"


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo. *device* is what st_dev is on it, *root* the part of it that is shown."""

    mount_id: int
    parent_id: int
    device: int
    root: str
    mountpoint: Path
    fstype: str
    source: str
    options: tuple[str, ...]
    """Those of the file system."""

    @property
    def is_mirror(self) -> bool:
        """By that name, and root's: anybody may mount a file system of his own by that name."""
        return self.fstype == MIRROR_FSTYPE and "user_id=0" in self.options


def mounts() -> list[Mount]:
    """Every mount of this mount namespace; of two at one place the later covers the earlier."""
    text = Path("/proc/self/mountinfo").read_bytes().decode("utf-8", "surrogateescape")
    return [parse_line(line) for line in text.split("\n")[:-1]]  # names may have other ends of lines in them


def parse_line(line: str) -> Mount:
    fields, _, rest = line.partition(" - ")
    mount_id, parent_id, device, root, mountpoint = fields.split(" ")[:5]
    fstype, source, options = rest.split(" ")[:3]
    major, _, minor = device.partition(":")
    return Mount(
        int(mount_id),
        int(parent_id),
        os.makedev(int(major), int(minor)),
        _unescape(root),
        Path(_unescape(mountpoint)),
        fstype,
        _unescape(source),
        tuple(options.split(",")),
    )


def mount_at(path: Path) -> Mount | None:
    """The mount on top at *path* (absolute, without symbolic links), None if there is none."""
    found = None
    for mount in mounts():
        if mount.mountpoint == path:
            found = mount
    return found


def mirrors() -> list[Mount]:
    """The mirrors that are to be seen in this mount namespace."""
    return [mount for mount in mounts() if mount.is_mirror]


def cgroup2_mount() -> Path:
    """Where cgroup2 is mounted: the first such mount that no other mount hides.

    Raises OSError: ENODEV where there is none to be seen.
    """
    for mount in mounts():
        if mount.fstype == "cgroup2" and mount_at(mount.mountpoint) == mount and is_cgroup2(mount.mountpoint):
            return mount.mountpoint
    advice = "mount one with `mount -t cgroup2 none DIR`, or name a directory of one: `cgfs mount SOURCE MOUNTPOINT`"
    raise OSError(errno.ENODEV, f"no cgroup2 mount is to be seen here: {advice}")


def cgroup2_options() -> tuple[str, ...] | None:
    """The options of cgroup2 (Documentation/admin-guide/cgroup-v2.rst), those of all its mounts, hidden or not; None
    where there is no mount of it.
    """
    found = next((mount.options for mount in mounts() if mount.fstype == "cgroup2"), None)
    return None if found is None else tuple(option for option in found if option not in ("rw", "ro"))


def is_on(path: Path, fstype: str) -> bool:
    """Whether *path* is on a mounted file system of that type. Raises OSError where it cannot be reached."""
    return _is_on_any(path, [mount for mount in mounts() if mount.fstype == fstype])


def is_on_mirror(path: Path) -> bool:
    """Whether *path* is on a mirror. Raises OSError where it cannot be reached."""
    return _is_on_any(path, mirrors())


def is_cgroup2(path: Path) -> bool:
    """Whether *path* is on cgroup2 itself. Raises OSError where it cannot be reached."""
    return is_on(path, "cgroup2")


def without_links(path: Path) -> Path:
    """*path* absolute and without symbolic links, the last name not looked at where that can be avoided.

    A mount whose server does not answer can so be named, and unmounted, without a question to that server.
    """
    absolute = path.absolute()
    unlooked = Path(os.path.realpath(absolute.parent)) / absolute.name
    return unlooked if mount_at(unlooked) is not None else Path(os.path.realpath(path))


def _is_on_any(path: Path, candidates: list[Mount]) -> bool:
    device = path.stat().st_dev
    return any(mount.device == device for mount in candidates)


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
