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


# What each word changes. Those that change nothing say what is so anyway, or are mount(8)'s own (fstab(5)).
_WORDS: dict[str, dict[str, Any]] = {
    "allow_other": {"allow_other": True},
    "noallow_other": {"allow_other": False},
    "attach_cap": {"attach_cap": True},
    "noattach_cap": {"attach_cap": False},
    "passthrough": {"passthrough": True},
    "nopassthrough": {"passthrough": False},
    "ro": {"read_only": True},
    "rw": {"read_only": False},
    "defaults": {},
    "default_permissions": {},
    "nosuid": {},
    "nodev": {},
    "noexec": {},
    "relatime": {},
    "auto": {},
    "noauto": {},
    "nofail": {},
    "_netdev": {},
}
_ALWAYS = {"suid": "nosuid", "dev": "nodev", "exec": "noexec"}


def parse(text: str) -> MountOptions:
    """What a comma-separated list says; a later word wins. Raises OSError: EINVAL, with the wrong word."""
    options = MountOptions()
    for word in text.split(","):
        name = word.strip()
        if name in _ALWAYS:
            raise OSError(errno.EINVAL, f"-o {name}: a mirror is always {_ALWAYS[name]}")
        if name not in _WORDS and name and not name.startswith("x-"):
            raise OSError(errno.EINVAL, f"-o {name}: no such option; there are {', '.join(_WORDS)}")
        options = replace(options, **_WORDS.get(name, {}))
    return options
