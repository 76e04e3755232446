"""The options of a mount, as `-o` takes them and as the daemon goes by them.

One table says what every word means. Knows nothing of how it is carried out.
Source: mount(8), "Filesystem-independent mount options".
"""

import errno
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class MountOptions:
    """*attach_cap* None: as the kernel's setting for unprivileged BPF demands it."""

    allow_other: bool = True
    attach_cap: bool | None = None
    passthrough: bool = True
    read_only: bool = False


_WORDS: dict[str, dict[str, Any]] = {
    "allow_other": {"allow_other": True},
    "noallow_other": {"allow_other": False},
    "attach_cap": {"attach_cap": True},
    "noattach_cap": {"attach_cap": False},
    "passthrough": {"passthrough": True},
    "nopassthrough": {"passthrough": False},
    "ro": {"read_only": True},
    "rw": {"read_only": False},
}
"""What each word changes."""

_NOTHING = frozenset((
    "_netdev", "async", "atime", "auto", "defaults", "default_permissions", "diratime", "dirsync", "group", "iversion",
    "lazytime", "loud", "mand", "noatime", "noauto", "nodev", "nodiratime", "noexec", "nofail", "noiversion",
    "nolazytime", "nomand", "norelatime", "nostrictatime", "nosuid", "nosymfollow", "nouser", "owner", "relatime",
    "silent", "strictatime", "sync", "user", "users",
))  # fmt: skip
"""Words of mount(8) and fstab(5) that change nothing: they say what is so anyway, what means nothing here, or are its
own.
"""

_REFUSED = {
    "suid": "a mirror is always nosuid",
    "dev": "a mirror is always nodev",
    "exec": "a mirror is always noexec",
    "remount": "only the kernel can do that: mount -i -o remount,ro MOUNTPOINT; else unmount it, and mount it anew",
}


def parse(text: str, *, sloppily: bool = False) -> MountOptions:
    """What a comma-separated list says; a later word wins. *sloppily* words that are not known change nothing.

    Raises OSError: EINVAL, with the wrong word.
    """
    options = MountOptions()
    for word in text.split(","):
        name = word.strip()
        if name in _REFUSED:
            raise OSError(errno.EINVAL, f"-o {name}: {_REFUSED[name]}")
        known = name in _WORDS or name in _NOTHING or not name or name.lower().startswith("x-")
        if not known and not sloppily:
            raise OSError(errno.EINVAL, f"-o {name}: no such option; there are {', '.join(_WORDS)}")
        options = replace(options, **_WORDS.get(name, {}))
    return options
